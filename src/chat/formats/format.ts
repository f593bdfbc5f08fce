/** What a tool-call format is. One file per family, listed in ./index.ts. */
import type { ChatDelta, OutputParser, ToolSpec } from "../api.ts";
import type { ReasoningMarkers } from "../reasoning.ts";
import type { CallGrammar } from "./grammar.ts";

/** What all formats have. */
interface Family {
  readonly name: string;
  /** Whether a chat template writes calls in this format. `isToken` asks the vocabulary, for templates that leave calls out. */
  matches(template: string, isToken: (text: string) => boolean): boolean;
  /** Markers in the model's text that open one or more calls. */
  readonly openers: readonly string[];
  /** How the family marks reasoning, where its template alone does not tell. */
  readonly reasoning?: ReasoningMarkers;
  /** Strings that end the answer, for vocabularies that do not declare them as end tokens. */
  readonly stops?: readonly string[];
  /** How calls are written: for templates that leave earlier calls out, and for grammars that force calls. */
  readonly grammar: CallGrammar;
  /** Ids of calls that the templates expect: they write them where others write the name. `index` counts through the conversation. */
  callId?(name: string, index: number): string;
  /** The text by which the family learns of tools, where a template knows its calls but lists no tools. */
  instructions?(tools: readonly ToolSpec[]): string;
}

/** Calls stand between markers in the text. */
export interface MarkedFormat extends Family {
  /** Markers around and inside of calls that are dropped where no reader has taken them. */
  readonly closers: readonly string[];
  /** Markup of answers that is no text, dropped with and without tools. */
  readonly noise?: readonly string[];
  /** Calls may also stand without a marker at the beginning of the answer, as JSON. */
  readonly bare?: boolean;
  /** The openers are ordinary words and come out as text when no call follows. */
  readonly wordOpeners?: boolean;
  /** A call inside of reasoning ends it. Only for families whose models forget to end it. */
  readonly callsEndReasoning?: boolean;
  /** Reads what follows `opener` ("" for a bare call, whose "{" or "[" is the first that it gets). */
  reader(opener: string, calls: CallSink): CallReader;
}

/** Answers are made of messages with headers. */
export interface MessageFormat extends Family {
  parser(options: Omit<ParserOptions, "format">): OutputParser;
}

export type ToolFormat = MarkedFormat | MessageFormat;

export interface ParserOptions {
  /** Calls are looked for only when there are tools. */
  tools: readonly ToolSpec[];
  format: ToolFormat;
  reasoning?: ReasoningMarkers;
  startsInReasoning: boolean;
  /** Makes the id of a call; for tests. */
  newId?: () => string;
}

/** "call_" and 24 hex digits. */
export const callId = () => `call_${crypto.randomUUID().replaceAll("-", "").slice(0, 24)}`;

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
  /** A call has been started since the last `take`. */
  started = false;
  private deltas: ChatDelta[] = [];
  private next = 0;

  constructor(
    private readonly tools: readonly ToolSpec[],
    private readonly newId: () => string,
  ) {}

  isTool(name: string): boolean {
    return this.tool(name) !== undefined;
  }

  tool(name: string): ToolSpec | undefined {
    return this.tools.find((t) => t.name === name);
  }

  /** Names of the tools. */
  get names(): string[] {
    return this.tools.map((t) => t.name);
  }

  start(name: string): void {
    this.started = true;
    this.deltas.push({ type: "tool_call_start", index: this.next, id: this.newId(), name });
  }

  arguments(text: string): void {
    if (text === "") return;
    const last = this.deltas.at(-1);
    if (last?.type === "tool_call_arguments") last.text += text;
    else this.deltas.push({ type: "tool_call_arguments", index: this.next, text });
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
    this.started = false;
    return deltas;
  }
}
