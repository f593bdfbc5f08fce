/** What a tool-call format is. One file per format, listed in ./index.ts. */
import type { ChatDelta, ToolSpec } from "../api.ts";

export interface ToolFormat {
  readonly name: string;
  /** Whether a chat template writes calls in this format. */
  matches(template: string): boolean;
  /** Markers in the model's text that open one or more calls. */
  readonly openers: readonly string[];
  /** Markers that end calls; the reader takes them, and where one is left over it is dropped. */
  readonly closers: readonly string[];
  /** Calls may also stand without a marker at the beginning of the answer, as JSON. */
  readonly bare: boolean;
  /** Reads what follows `opener` ("" for a bare call, whose "{" or "[" is the first that it gets). */
  reader(opener: string, calls: CallSink): CallReader;
  /** Calls as the model would write them, for templates that list tools but leave earlier calls out. */
  write(calls: readonly WrittenCall[]): string;
}

export interface WrittenCall {
  name: string;
  /** JSON text. */
  arguments: string;
}

/** Incremental reader of the text behind an opener. */
export interface CallReader {
  push(text: string): ReaderState;
  /** End of output. `rest` is text behind the calls; `failed` is an unfinished call as the model wrote it. */
  finish(): ReaderState;
}

/** Nothing set: more text is needed. `rest`: the calls are over, this follows. `failed`: not a call; this was the text. */
export interface ReaderState {
  rest?: string;
  failed?: string;
}

/** Where readers put what they find. */
export class CallSink {
  private deltas: ChatDelta[] = [];
  private next = 0;

  constructor(
    private readonly tools: readonly ToolSpec[],
    private readonly newId: () => string,
  ) {}

  isTool(name: string): boolean {
    return this.tools.some((t) => t.name === name);
  }

  start(name: string): void {
    this.deltas.push({ type: "tool_call_start", index: this.next, id: this.newId(), name });
  }

  arguments(text: string): void {
    if (text !== "") this.deltas.push({ type: "tool_call_arguments", index: this.next, text });
  }

  end(): void {
    this.deltas.push({ type: "tool_call_end", index: this.next++ });
  }

  /** A call that was started and will not end: the next one gets a number of its own. */
  abandon(): void {
    this.next++;
  }

  /** Takes out what has come in. */
  take(): ChatDelta[] {
    const deltas = this.deltas;
    this.deltas = [];
    return deltas;
  }
}
