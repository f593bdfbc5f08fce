/** Model output, as it arrives, apart into content, reasoning and tool calls. */
import type { ChatDelta, OutputParser } from "./api.ts";
import { callId, CallSink, type CallReader, type MarkedFormat, type ParserOptions, type ReaderState } from "./formats/format.ts";
import { beginningAtEnd } from "./stop.ts";

/** The parser of a format: its own, or the scanner for markers. */
export function outputParser(options: ParserOptions): OutputParser {
  const { format } = options;
  return "parser" in format ? format.parser(options) : new TurnParser({ ...options, format });
}

export class TurnParser implements OutputParser {
  private mode: "text" | "reasoning" = "text";
  /** Reads the call that has begun. */
  private reader: CallReader | undefined;
  /** The marker that opened it, with the white space before. */
  private opening = "";
  private readonly calls: CallSink;
  private readonly openers: readonly string[];
  /** What is looked for in text, and in reasoning. */
  private readonly markers: Record<"text" | "reasoning", readonly string[]>;
  private readonly bare: boolean;
  private out: ChatDelta[] = [];
  /** Text that could be the beginning of a marker, and white space that may stand before one. */
  private held = "";
  /** White space is dropped until text comes. */
  private skipSpace = false;
  /** Nothing but white space so far, outside of reasoning. */
  private atStart = true;
  private final = false;

  constructor(private readonly options: ParserOptions & { format: MarkedFormat }) {
    const { tools, format, reasoning, startsInReasoning } = options;
    const { noise = [], callsEndReasoning = false } = format;
    const withTools = tools.length > 0;
    this.calls = new CallSink(tools, options.newId ?? callId);
    this.openers = withTools ? format.openers : [];
    this.bare = withTools && format.bare === true;
    const calls = withTools ? [...format.openers, ...format.closers] : [];
    const thinking = reasoning ? [reasoning.close, reasoning.open] : [];
    this.markers = {
      text: [...calls, ...thinking, ...noise],
      reasoning: [...thinking, ...(callsEndReasoning ? calls : []), ...noise],
    };
    if (startsInReasoning && reasoning) this.mode = "reasoning";
    this.skipSpace = this.mode === "reasoning";
  }

  push(text: string): ChatDelta[] {
    this.run(text);
    return this.take();
  }

  finish(): ChatDelta[] {
    this.final = true;
    this.run("");
    // The text of an unfinished call may hold the marker of another one.
    while (this.reader) this.run(this.leaveCall(this.reader.finish()));
    return this.take();
  }

  private take(): ChatDelta[] {
    const out = this.out;
    this.out = [];
    return out;
  }

  private run(text: string): void {
    let rest: string | undefined = text;
    do rest = this.reader ? this.inCall(rest) : this.outside(rest);
    while (rest !== undefined && (rest !== "" || (this.final && !this.reader && this.held !== "")));
  }

  /** Takes text of a call; returns what follows it. */
  private inCall(text: string): string | undefined {
    if (text === "") return undefined;
    const state = (this.reader as CallReader).push(text);
    return state.rest === undefined && state.failed === undefined ? this.takeCalls() : this.leaveCall(state);
  }

  private takeCalls(): undefined {
    if (this.calls.started) {
      this.mode = "text";
      this.atStart = false;
    }
    this.out.push(...this.calls.take());
  }

  private leaveCall(state: ReaderState): string {
    this.takeCalls();
    this.reader = undefined;
    if (state.failed === undefined) {
      this.skipSpace = true;
      return state.rest ?? "";
    }
    // What looked like a call is text: no second look for a bare call, but for markers.
    this.atStart = false;
    if (this.options.format.wordOpeners) this.emit(this.opening);
    return state.failed;
  }

  private outside(text: string): string | undefined {
    const all = this.held + text;
    this.held = "";
    if (this.bare && this.atStart && this.mode === "text") {
      const start = all.trimStart();
      if (start === "" && !this.final) {
        this.held = all;
        return undefined;
      }
      // "[" may also begin a marker.
      const marked = this.markers.text.some((m) => start.startsWith(m) || (!this.final && m.startsWith(start)));
      if ((start[0] === "{" || start[0] === "[") && !marked) return this.enterCall("", start);
    }
    const markers = this.markers[this.mode];
    const found = first(all, markers, this.final);
    if (typeof found === "number") {
      this.hold(all, found);
      return undefined;
    }
    return this.atMarker(all, found.at, found.marker);
  }

  private atMarker(all: string, at: number, marker: string): string {
    const before = all.slice(0, at);
    const rest = all.slice(at + marker.length);
    const { reasoning } = this.options;
    if (this.mode === "reasoning" && marker !== reasoning?.close && !this.openers.includes(marker)) {
      // An opening marker inside is the model repeating what the prompt has opened already.
      this.emit(before);
      return rest;
    }
    const text = before.trimEnd();
    this.emit(text);
    if (this.openers.includes(marker)) {
      this.opening = before.slice(text.length) + marker;
      return this.enterCall(marker, rest);
    }
    this.skipSpace = true;
    this.mode = this.mode === "text" && marker === reasoning?.open ? "reasoning" : "text";
    return rest;
  }

  private enterCall(opener: string, rest: string): string {
    this.atStart = false;
    this.skipSpace ||= !this.options.format.wordOpeners;
    this.reader = this.options.format.reader(opener, this.calls);
    return rest;
  }

  /** Emits what certainly is no part of a marker (all before `certain`) nor white space before one. */
  private hold(all: string, certain: number): void {
    const text = this.final || this.markers[this.mode].length === 0 ? all : all.slice(0, certain).trimEnd();
    this.emit(text);
    this.held = all.slice(text.length);
  }

  private emit(text: string): void {
    const shown = this.skipSpace ? text.trimStart() : text;
    if (shown === "") return;
    this.skipSpace = false;
    const type = this.mode;
    if (type === "text" && shown.trim() !== "") this.atStart = false;
    const last = this.out.at(-1);
    if (last?.type === type) last.text += shown;
    else this.out.push({ type, text: shown });
  }
}

/**
 * The marker that comes first in the text, of several at one place the longest. A number: none is certain yet, and text up
 * to there is not part of one.
 */
function first(text: string, markers: readonly string[], final: boolean): { at: number; marker: string } | number {
  let found: { at: number; marker: string } | undefined;
  for (const marker of markers) {
    const at = text.indexOf(marker);
    if (at >= 0 && (!found || at < found.at || (at === found.at && marker.length > found.marker.length))) found = { at, marker };
  }
  const open = final ? text.length : text.length - markers.reduce((n, m) => Math.max(n, beginningAtEnd(text, m)), 0);
  return found && found.at < open ? found : open;
}
