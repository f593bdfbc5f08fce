/** Calls with one element per argument: values stand between tags without quotes, and become JSON by the tool's schema. */
import { beginningAtEnd } from "../stop.ts";
import type { CallReader, CallSink, ReaderState } from "./format.ts";
import { type JsonType, SchemaView } from "./schema.ts";
import { escaped, jsonValue, wholeLength } from "./values.ts";

export interface TagSyntax {
  /** All before the first parameter; the first group is the tool. It must not match before it is complete. */
  call: RegExp;
  /** How a parameter begins. */
  parameter: string;
  /** A parameter's tags before the value; groups: the key, and "true" or "false" for whether it is a string. */
  key: RegExp;
  /** Ends a value. */
  close: string;
  /** The value stands on lines of its own. */
  lines: boolean;
  /** What ends the call; the first one is the proper one. */
  ends: readonly string[];
  /** What stands behind the proper end, if it is known: then a value may hold that end, too. */
  behind?: readonly string[];
}

const ANY: ReadonlySet<JsonType> = new Set();
const TEXT: ReadonlySet<JsonType> = new Set(["string"]);
/** Longest text of the tags before a value. */
const MAX_TAG = 400;

export class TaggedCall implements CallReader {
  /** All so far, for the case that it is no call. */
  private raw = "";
  private buffer = "";
  private phase: "call" | "parameters" | "value" = "call";
  private schema = SchemaView.of(undefined);
  private types: ReadonlySet<JsonType> = new Set();
  private streamed = false;
  private first = true;
  private final = false;
  /** The line break before a value has been looked for. */
  private begun = false;

  constructor(
    private readonly calls: CallSink,
    private readonly syntax: TagSyntax,
  ) {}

  push(text: string): ReaderState {
    this.raw += text;
    this.buffer += text;
    for (;;) {
      const state = this.phase === "call" ? this.inHead() : this.phase === "parameters" ? this.inParameters() : this.inValue();
      if (state === "failed") return this.fail();
      if (state === "wait") return {};
      if (state === "ended") return { rest: this.buffer };
    }
  }

  finish(): ReaderState {
    if (this.phase !== "value" || this.final) return this.fail();
    // What should stand behind the end has not come.
    this.final = true;
    const state = this.push("");
    return state.rest === undefined && state.failed === undefined ? this.fail() : state;
  }

  private fail(): ReaderState {
    if (this.phase !== "call") this.calls.abandon();
    return { failed: this.raw };
  }

  private inHead(): "moved" | "wait" | "failed" {
    const match = this.syntax.call.exec(this.buffer);
    if (!match) return this.buffer.length > MAX_TAG ? "failed" : "wait";
    this.buffer = this.buffer.slice(match[0].length);
    this.calls.start(match[1]);
    this.schema = SchemaView.of(this.calls.tool(match[1]));
    this.phase = "parameters";
    return "moved";
  }

  /** Whether the buffer may still become something that begins with one of the texts. */
  private couldBe(texts: readonly string[]): "wait" | "failed" {
    const s = this.buffer.trimStart();
    return s.length <= MAX_TAG && texts.some((t) => t.startsWith(s) || s.startsWith(t)) ? "wait" : "failed";
  }

  private inParameters(): "moved" | "wait" | "failed" | "ended" {
    const s = this.buffer.trimStart();
    const end = this.syntax.ends.find((e) => s.startsWith(e));
    if (end !== undefined) {
      this.buffer = s.slice(end.length);
      this.calls.arguments(this.first ? "{}" : "}");
      this.calls.end();
      return "ended";
    }
    const match = s.startsWith(this.syntax.parameter) ? this.syntax.key.exec(s) : null;
    if (!match) return this.couldBe([this.syntax.parameter, ...this.syntax.ends]);
    this.buffer = s.slice(match[0].length);
    this.types = match[2] === undefined ? this.schema.property(match[1]).types : match[2] === "true" ? TEXT : ANY;
    // Only what is certainly a string can go out before it is whole.
    this.streamed = this.types.size === 1 && this.types.has("string");
    this.calls.arguments(`${this.first ? "{" : ", "}${JSON.stringify(match[1])}: ${this.streamed ? '"' : ""}`);
    this.first = this.begun = false;
    this.phase = "value";
    return "moved";
  }

  private inValue(): "moved" | "wait" {
    const { close, lines } = this.syntax;
    if (!this.begun) {
      if (this.buffer === "") return "wait";
      if (lines && this.buffer[0] === "\n") this.buffer = this.buffer.slice(1);
      this.begun = true;
    }
    const end = this.valueEnd();
    const tail = lines ? `\n${close}` : close;
    if (end.closed) {
      const text = this.buffer.slice(0, end.at);
      this.buffer = this.buffer.slice(end.at + close.length);
      const value = lines && text.endsWith("\n") ? text.slice(0, -1) : text;
      this.calls.arguments(this.streamed ? `${escaped(value)}"` : jsonValue(value, this.types));
      this.phase = "parameters";
      return "moved";
    }
    if (this.streamed) {
      // A line break before the end tag belongs to the tag.
      const certain = lines && end.at > 0 && this.buffer[end.at - 1] === "\n" ? end.at - 1 : end.at;
      const open = this.buffer.slice(0, end.at === this.buffer.length ? this.buffer.length - beginningAtEnd(this.buffer, tail) : certain);
      const ready = open.slice(0, wholeLength(open));
      this.calls.arguments(escaped(ready));
      this.buffer = this.buffer.slice(ready.length);
    }
    return "wait";
  }

  /**
   * The end tag that ends the value: one with a parameter or the end of the call behind it. A text may hold the tag itself.
   * Not closed: `at` is up to where the buffer is certainly value, or all of it.
   */
  private valueEnd(): { at: number; closed: boolean } {
    const { close } = this.syntax;
    for (let at = this.buffer.indexOf(close); at >= 0; at = this.buffer.indexOf(close, at + 1)) {
      const closed = this.follows(this.buffer.slice(at + close.length).trimStart());
      if (closed !== false) return { at, closed: closed === true };
    }
    return { at: this.buffer.length, closed: false };
  }

  /** Whether this stands behind a value; undefined when more must be seen. */
  private follows(after: string): boolean | undefined {
    const { parameter, ends, behind } = this.syntax;
    const next = [parameter, ...ends].find((n) => after.startsWith(n));
    if (next === undefined) return [parameter, ...ends].some((n) => n.startsWith(after)) ? undefined : false;
    if (next !== ends[0] || !behind || this.final) return true;
    const rest = after.slice(next.length).trimStart();
    if (behind.some((b) => rest.startsWith(b))) return true;
    return behind.some((b) => b.startsWith(rest)) ? undefined : false;
  }
}
