/** The way of generated tokens to the client: bytes to text, stop strings, then reasoning, tool calls and content apart. */
import type { ChatDelta, OutputParser } from "../chat/api.ts";
import type { TokenStream } from "../tokenizer/api.ts";
import type { GenerateEvent, TokenLogprob } from "./api.ts";
import type { StopFilter } from "./parts.ts";

export interface OutputOptions {
  stream: TokenStream;
  stops: StopFilter;
  /** Stop strings that belong to the chat format: they end the answer, and are nobody's business. */
  hiddenStops: readonly string[];
  /** Undefined: all text is content. */
  parser?: OutputParser;
  startsInReasoning: boolean;
  /** The answer is over with its first call. */
  single?: boolean;
  emit(event: GenerateEvent): void;
}

export class Output {
  /** Tokens that went into reasoning, markers included. */
  reasoningTokens = 0;
  /** Whether a whole tool call came out. */
  calledTool = false;
  /** The client's stop string that ended the answer. */
  stop: string | undefined;
  private stopped = false;
  private inReasoning: boolean;
  /** Tokens whose text has not come out yet. */
  private held = 0;
  /** The only call that there may be is over: what follows is nobody's business. */
  private complete = false;
  private logprobs: TokenLogprob[] = [];

  constructor(private readonly o: OutputOptions) {
    this.inReasoning = o.startsInReasoning;
  }

  /** Takes one token; true when it completed a stop string, or the only call. */
  push(token: number, logprob?: TokenLogprob): boolean {
    this.held++;
    if (logprob) this.logprobs.push(logprob);
    const { text, stop } = this.o.stops.push(this.o.stream.push(token));
    this.emit(this.parse(text));
    this.found(stop);
    return this.stopped;
  }

  /** End of output. What might have become a stop string is part of the answer unless one was found. */
  finish(): void {
    if (!this.stopped) {
      const last = this.o.stops.push(this.o.stream.flush());
      this.found(last.stop);
      this.emit(this.parse(this.stopped ? last.text : last.text + this.o.stops.finish()));
    }
    this.emit(this.o.parser?.finish() ?? []);
    if (this.inReasoning) this.reasoningTokens += this.held;
    if (this.logprobs.length > 0) this.emit([{ type: "text", text: "" }]);
  }

  private found(stop: string | undefined): void {
    if (stop === undefined) return;
    this.stopped = true;
    if (!this.o.hiddenStops.includes(stop)) this.stop = stop;
  }

  private parse(text: string): ChatDelta[] {
    if (text === "") return [];
    return this.o.parser ? this.o.parser.push(text) : [{ type: "text", text }];
  }

  private emit(deltas: ChatDelta[]): void {
    if (deltas.length === 0 || this.complete) return;
    if (deltas.some((d) => d.type === "reasoning")) this.inReasoning = true;
    if (this.inReasoning) this.reasoningTokens += this.held;
    this.held = 0;
    this.inReasoning = deltas.at(-1)!.type === "reasoning";
    for (const delta of deltas) {
      if (delta.type === "tool_call_end") this.calledTool = true;
      const logprobs = this.logprobs.length > 0 ? this.logprobs : undefined;
      this.logprobs = [];
      this.o.emit(logprobs ? { type: "delta", delta, logprobs } : { type: "delta", delta });
      if (this.o.single && this.calledTool) {
        this.complete = this.stopped = true;
        return;
      }
    }
  }
}
