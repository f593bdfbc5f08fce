/** Liquid LFM2 and LFM2.5: Python calls, `<|tool_call_start|>[f(a=1, b="x"), g()]<|tool_call_end|>`. */
import type { CallReader, CallSink, ReaderState, MarkedFormat } from "./format.ts";
import { JsonCalls } from "./json-calls.ts";
import { LiteralReader, type LiteralSyntax, PYTHON } from "./literal.ts";
import { SchemaView } from "./schema.ts";

const START = "<|tool_call_start|>";
const END = "<|tool_call_end|>";

export const lfm2: MarkedFormat = {
  name: "lfm2",
  // Some of the templates list the tools and leave the calls to the model.
  matches: (template, isToken) =>
    template.includes(START) || isToken(START) || (template.includes("List of tools: ") && template.includes("<|im_start|>")),
  openers: [START],
  closers: [END],
  reader: (_opener, calls) => new PythonCalls(calls),
  grammar: {
    before: `${START}[`,
    open: (name) => `${name}(`,
    arguments: { style: "python" },
    close: ")",
    between: ", ",
    after: `]${END}`,
  },
};

/**
 * The template does not escape quotes in texts: one that ends its text has an argument of the tool or the end of the call
 * behind it.
 */
const literal = (keys: readonly string[]): LiteralSyntax => ({
  ...PYTHON,
  closes(after) {
    const key = /^\s*,\s*([A-Za-z_]\w*)\s*=[^=]/.exec(after)?.[1];
    if (key !== undefined) return keys.length === 0 || keys.includes(key);
    if (/^\s*\)\s*(?:,\s*[A-Za-z_][\w.-]*\(|\])/.test(after)) return true;
    if (/^\s*(?:,\s*(?:[A-Za-z_]\w*\s*=?)?|\)\s*(?:,\s*(?:[A-Za-z_][\w.-]*)?)?)?$/.test(after)) return undefined;
    return false;
  },
});

class PythonCalls implements CallReader {
  private raw = "";
  private buffer = "";
  private phase: "start" | "name" | "key" | "value" | "argument-end" | "call-end" = "start";
  private first = true;
  private listed = false;
  /** Arguments of the tool, if it declares any. */
  private keys: readonly string[] = [];
  private value: LiteralReader | undefined;
  private json: JsonCalls | undefined;

  constructor(private readonly calls: CallSink) {}

  push(text: string): ReaderState {
    if (this.json) return this.json.push(text);
    this.raw += text;
    this.buffer += text;
    for (;;) {
      const state = this.step();
      if (state === "failed") return this.fail();
      if (state === "wait") return {};
      if (state === "ended") return { rest: this.buffer };
      if (state === "json") {
        this.json = new JsonCalls(this.calls, { closer: END });
        return this.json.push(this.raw);
      }
    }
  }

  /** The bracket behind the last call may be missing. */
  finish(): ReaderState {
    if (this.json) return this.json.finish();
    const { raw } = this;
    const cut = this.phase === "start" || (this.phase === "value" && this.value?.inText);
    const { failed, rest } = cut ? this.fail() : this.push("]");
    if (rest !== undefined) return { rest: "" };
    return { failed: failed === undefined ? this.fail(raw).failed : raw };
  }

  private fail(raw = this.raw): ReaderState {
    if (this.phase !== "start" && this.phase !== "name" && this.phase !== "call-end") this.calls.abandon();
    return { failed: raw };
  }

  private step(): "moved" | "wait" | "failed" | "ended" | "json" {
    if (this.phase === "value") return this.inValue();
    const s = this.buffer.trimStart();
    if (s === "") return "wait";
    switch (this.phase) {
      case "start":
        if (s[0] === "{") return "json";
        if (s[0] === "[") {
          const inside = s.slice(1).trimStart();
          if (inside === "") return "wait";
          if (inside[0] === "{") return "json";
          this.listed = true;
          this.buffer = inside;
        }
        this.phase = "name";
        return "moved";
      case "name":
        return this.inName(s);
      case "key":
        return this.inKey(s);
      case "argument-end":
        this.buffer = s.slice(1);
        if (s[0] === ")") return this.endCall();
        this.phase = "key";
        return s[0] === "," ? "moved" : "failed";
      case "call-end":
        this.buffer = s;
        if (s[0] === "," || s[0] === ";") {
          this.buffer = s.slice(1);
          this.phase = "name";
          return "moved";
        }
        if (s[0] === "]" && this.listed) this.buffer = s.slice(1);
        return "ended";
    }
  }

  private inName(s: string): "moved" | "wait" | "failed" {
    const name = /^([A-Za-z_][\w.-]*)\s*\(/.exec(s);
    if (!name) return /^[A-Za-z_][\w.-]*\s*$/.test(s) && s.length < 300 ? "wait" : "failed";
    this.buffer = s.slice(name[0].length);
    this.calls.start(name[1]);
    this.keys = SchemaView.of(this.calls.tool(name[1])).keys;
    this.first = true;
    this.phase = "key";
    return "moved";
  }

  private inKey(s: string): "moved" | "wait" | "failed" {
    if (s[0] === ")") {
      this.buffer = s.slice(1);
      return this.endCall();
    }
    const key = /^([^\s=(),'"]+)\s*=\s*/.exec(s);
    if (!key) return /^[^\s=(),'"]+\s*$/.test(s) && s.length < 300 ? "wait" : "failed";
    this.buffer = s.slice(key[0].length);
    this.calls.arguments(`${this.first ? "{" : ", "}${JSON.stringify(key[1])}: `);
    this.first = false;
    this.value = new LiteralReader(literal(this.keys), (json) => this.calls.arguments(json));
    this.phase = "value";
    return "moved";
  }

  private inValue(): "moved" | "wait" | "failed" {
    const text = this.buffer;
    this.buffer = "";
    if (text === "") return "wait";
    const { rest, failed } = (this.value as LiteralReader).push(text);
    if (failed) return "failed";
    if (rest === undefined) return "wait";
    this.buffer = rest;
    this.phase = "argument-end";
    return "moved";
  }

  private endCall(): "moved" {
    this.calls.arguments(this.first ? "{}" : "}");
    this.calls.end();
    this.phase = "call-end";
    return "moved";
  }
}
