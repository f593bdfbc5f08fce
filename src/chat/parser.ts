/** Model output, as it arrives, apart into content, reasoning and tool calls. */
import type { ChatDelta, OutputParser, ToolSpec } from "./api.ts";
import { CallSink, type CallReader, type ReaderState, type ToolFormat } from "./formats/format.ts";
import type { ReasoningMarkers } from "./reasoning.ts";
import { beginningAtEnd } from "./stop.ts";

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

export class TurnParser implements OutputParser {
  private mode: "text" | "reasoning" | "call";
  private reader: CallReader | undefined;
  private readonly calls: CallSink;
  private readonly openers: readonly string[];
  private readonly markers: readonly string[];
  private readonly bare: boolean;
  private out: ChatDelta[] = [];
  /** Text that could be the beginning of a marker, and white space that may stand before one. */
  private held = "";
  /** White space is dropped until text comes. */
  private skipSpace = false;
  /** Nothing but white space so far, outside of reasoning. */
  private atStart = true;

  constructor(private readonly options: ParserOptions) {
    const { tools, format, reasoning, startsInReasoning } = options;
    this.calls = new CallSink(tools, options.newId ?? callId);
    this.openers = tools.length > 0 ? format.openers : [];
    this.bare = tools.length > 0 && format.bare;
    this.markers = [...this.openers, ...(tools.length > 0 ? format.closers : []), ...(reasoning ? [reasoning.open, reasoning.close] : [])];
    this.mode = startsInReasoning && reasoning ? "reasoning" : "text";
    this.skipSpace = this.mode === "reasoning";
  }

  push(text: string): ChatDelta[] {
    this.run(text);
    return this.take();
  }

  finish(): ChatDelta[] {
    // The text of an unfinished call may hold the marker of another one.
    while (this.mode === "call") this.run(this.leaveCall((this.reader as CallReader).finish()) ?? "");
    const held = this.held;
    this.held = "";
    if (!(this.skipSpace && held.trim() === "")) this.emit(held);
    return this.take();
  }

  private take(): ChatDelta[] {
    const out = this.out;
    this.out = [];
    return out;
  }

  private run(text: string): void {
    for (let rest: string | undefined = text; rest !== undefined && rest !== "";) {
      rest = this.mode === "call" ? this.inCall(rest) : this.mode === "reasoning" ? this.inReasoning(rest) : this.inText(rest);
    }
  }

  /** Takes text of a call; returns what follows it. */
  private inCall(text: string): string | undefined {
    const state = (this.reader as CallReader).push(text);
    this.out.push(...this.calls.take());
    return state.rest === undefined && state.failed === undefined ? undefined : this.leaveCall(state);
  }

  private leaveCall(state: ReaderState): string | undefined {
    this.out.push(...this.calls.take());
    this.mode = "text";
    this.reader = undefined;
    if (state.failed !== undefined) {
      // What looked like a call is text: no second look for a bare call, but for markers.
      this.atStart = false;
      return state.failed;
    }
    this.skipSpace = true;
    return state.rest;
  }

  private inReasoning(text: string): string | undefined {
    const { open, close } = this.options.reasoning as ReasoningMarkers;
    const all = this.held + text;
    this.held = "";
    const found = first(all, [close, open]);
    if (!found) {
      this.hold(all, [close, open]);
      return undefined;
    }
    const ends = found.marker === close;
    // An opening marker inside is the model repeating what the prompt has opened already.
    const before = all.slice(0, found.at);
    this.emit(ends ? before.trimEnd() : before);
    if (ends) {
      this.mode = "text";
      this.skipSpace = true;
    }
    return all.slice(found.at + found.marker.length);
  }

  private inText(text: string): string | undefined {
    const all = this.held + text;
    this.held = "";
    if (this.bare && this.atStart) {
      const start = all.trimStart();
      if (start === "") {
        this.held = all;
        return undefined;
      }
      if (start[0] === "{" || start[0] === "[") {
        // "[" may also begin a marker.
        if (this.markers.some((m) => start.startsWith(m) || m.startsWith(start))) return this.scan(all);
        return this.enterCall("", start);
      }
    }
    return this.scan(all);
  }

  private scan(all: string): string | undefined {
    const found = first(all, this.markers);
    if (!found) {
      this.hold(all, this.markers);
      return undefined;
    }
    const { at, marker } = found;
    const before = all.slice(0, at);
    const rest = all.slice(at + marker.length);
    this.emit(before.trimEnd());
    this.skipSpace = true;
    if (this.openers.includes(marker)) return this.enterCall(marker, rest);
    if (marker === this.options.reasoning?.open) this.mode = "reasoning";
    return rest;
  }

  private enterCall(opener: string, rest: string): string {
    this.mode = "call";
    this.atStart = false;
    this.reader = this.options.format.reader(opener, this.calls);
    return rest;
  }

  /** Emits what certainly is no part of a marker nor white space before one. */
  private hold(all: string, markers: readonly string[]): void {
    if (markers.length === 0) {
      this.emit(all);
      return;
    }
    const tail = markers.reduce((n, m) => Math.max(n, beginningAtEnd(all, m)), 0);
    const certain = all.slice(0, all.length - tail).trimEnd();
    this.emit(certain);
    this.held = all.slice(certain.length);
  }

  private emit(text: string): void {
    const shown = this.skipSpace ? text.trimStart() : text;
    if (shown === "") return;
    this.skipSpace = false;
    const type = this.mode === "reasoning" ? "reasoning" : "text";
    if (type === "text" && shown.trim() !== "") this.atStart = false;
    const last = this.out.at(-1);
    if (last?.type === type) last.text += shown;
    else this.out.push({ type, text: shown });
  }
}

/** The marker that comes first in the text; of two at the same place the longer. */
function first(text: string, markers: readonly string[]): { at: number; marker: string } | undefined {
  let found: { at: number; marker: string } | undefined;
  for (const marker of markers) {
    const at = text.indexOf(marker);
    if (at >= 0 && (!found || at < found.at || (at === found.at && marker.length > found.marker.length))) found = { at, marker };
  }
  return found;
}
