/** Answers made of messages, each with a header that says what it is: the marker scanner's counterpart for such families. */
import type { ChatDelta, OutputParser } from "../api.ts";
import { beginningAtEnd } from "../stop.ts";
import { callId, CallSink, type CallReader, type ParserOptions } from "./format.ts";
import { JsonCalls } from "./json-calls.ts";

export interface SegmentSyntax {
  /** Markers that begin a header, and belong to it. */
  starts: readonly string[];
  /** Ends a header. */
  body: string;
  /** Markers that end a body. */
  ends: readonly string[];
  /** What a header announces; undefined: this is no header. `tools` are the names that can be called. */
  read(header: string, tools: readonly string[]): Segment | undefined;
  /** Whether text may still become, or is, a header with the end of headers behind it. */
  possible(header: string, tools: readonly string[]): boolean;
  /** Text that only looked like a header keeps its marker. */
  keepMarkers: boolean;
}

export type Segment = { kind: "text" | "reasoning" } | { kind: "call"; name: string };

export class SegmentParser implements OutputParser {
  private state: "header" | "text" | "reasoning" | "call" = "header";
  private buffer = "";
  /** The marker that began the header. */
  private marker = "";
  private call: CallReader | undefined;
  private readonly calls: CallSink;
  private readonly tools: readonly string[];
  private out: ChatDelta[] = [];
  private final = false;

  constructor(
    private readonly syntax: SegmentSyntax,
    options: Omit<ParserOptions, "format">,
  ) {
    this.calls = new CallSink(options.tools, options.newId ?? callId);
    this.tools = this.calls.names;
    if (options.startsInReasoning) this.state = "reasoning";
  }

  push(text: string): ChatDelta[] {
    this.buffer += text;
    while (this.step());
    const out = this.out;
    this.out = [];
    return out;
  }

  finish(): ChatDelta[] {
    this.final = true;
    return this.push("");
  }

  /** True when something was done and there may be more to do. */
  private step(): boolean {
    if (this.state === "header") return this.inHeader();
    if (this.state === "call") return this.inCall();
    return this.inBody();
  }

  private inHeader(): boolean {
    const { syntax, tools } = this;
    const at = this.buffer.indexOf(syntax.body);
    const header = this.marker + (at < 0 ? this.buffer : this.buffer.slice(0, at));
    const possible = syntax.possible(at < 0 ? header : header + syntax.body, tools);
    const segment = at < 0 || !possible ? undefined : syntax.read(header, tools);
    if (segment) {
      this.buffer = this.buffer.slice(at + syntax.body.length);
      this.marker = "";
      if (segment.kind === "call") this.call = new JsonCalls(this.calls, { name: segment.name });
      this.state = segment.kind;
      return true;
    }
    if (at < 0 && possible) {
      if (!this.final) return false;
      // A header that the end of output cut off is no text.
      if (!syntax.keepMarkers && syntax.starts.some((s) => header.includes(s))) this.buffer = "";
    }
    if (syntax.keepMarkers) this.emit("text", this.marker);
    this.marker = "";
    this.state = "text";
    return true;
  }

  private inCall(): boolean {
    const call = this.call as CallReader;
    const text = this.buffer;
    this.buffer = "";
    if (text === "" && !this.final) return false;
    let state = call.push(text);
    if (this.final && state.rest === undefined && state.failed === undefined) state = call.finish();
    this.out.push(...this.calls.take());
    if (state.rest === undefined && state.failed === undefined) return false;
    this.call = undefined;
    // What failed is text. Behind a call only another message can come.
    this.buffer = state.failed ?? (state.rest as string).trimStart();
    this.state = state.failed === undefined ? "header" : "text";
    return true;
  }

  private inBody(): boolean {
    const markers = [...this.syntax.starts, ...this.syntax.ends];
    let found: { at: number; marker: string } | undefined;
    for (const marker of markers) {
      const at = this.buffer.indexOf(marker);
      if (at >= 0 && (!found || at < found.at)) found = { at, marker };
    }
    if (!found) {
      const held = this.final ? 0 : markers.reduce((n, m) => Math.max(n, beginningAtEnd(this.buffer, m)), 0);
      this.emit(this.state as "text", this.buffer.slice(0, this.buffer.length - held));
      this.buffer = this.buffer.slice(this.buffer.length - held);
      return false;
    }
    this.emit(this.state as "text", this.buffer.slice(0, found.at));
    this.buffer = this.buffer.slice(found.at + found.marker.length);
    this.marker = this.syntax.starts.includes(found.marker) ? found.marker : "";
    this.state = "header";
    return true;
  }

  private emit(type: "text" | "reasoning", text: string): void {
    if (text === "") return;
    const last = this.out.at(-1);
    if (last?.type === type) last.text += text;
    else this.out.push({ type, text });
  }
}
