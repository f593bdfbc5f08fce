/** Google Gemma 4: `<|tool_call>call:NAME{key:<|"|>text<|"|>,n:1}<tool_call|>`; FunctionGemma with markers of its own. */
import type { CallReader, CallSink, ReaderState, MarkedFormat } from "./format.ts";
import { LiteralReader, type LiteralSyntax } from "./literal.ts";

const QUOTE = '<|"|>';
const syntax = (quote: string): LiteralSyntax => ({
  quotes: [
    { text: quote, escapes: false },
    { text: '"', escapes: true },
  ],
  words: true,
});

export const gemma: MarkedFormat = {
  name: "gemma",
  matches: (template) => template.includes("<|tool_call>call:"),
  openers: ["<|tool_call>"],
  closers: ["<tool_call|>", "<|tool_response>"],
  noise: ["<|channel>"],
  callsEndReasoning: true,
  reader: (_opener, calls) => new BareKeyCall(calls, syntax(QUOTE)),
  grammar: {
    before: "",
    open: (name) => `<|tool_call>call:${name}`,
    arguments: { style: "bare-keys", quote: QUOTE },
    close: "<tool_call|>",
    between: "",
    after: "",
  },
};

export const functionGemma: MarkedFormat = {
  ...gemma,
  name: "function-gemma",
  matches: (template) => template.includes("<start_function_call>"),
  openers: ["<start_function_call>"],
  closers: ["<end_function_call>", "<start_function_response>"],
  noise: [],
  reader: (_opener, calls) => new BareKeyCall(calls, syntax("<escape>")),
  grammar: {
    ...gemma.grammar,
    open: (name) => `<start_function_call>call:${name}`,
    arguments: { style: "bare-keys", quote: "<escape>" },
    close: "<end_function_call>",
  },
};

const HEAD = /^\s*call:\s*([^\s{}:]+)\s*$/;
const MAX_HEAD = 300;

class BareKeyCall implements CallReader {
  private raw = "";
  private value: LiteralReader | undefined;

  constructor(
    private readonly calls: CallSink,
    private readonly literal: LiteralSyntax,
  ) {}

  push(text: string): ReaderState {
    this.raw += text;
    if (this.value) return this.read(this.value, text);
    const at = this.raw.indexOf("{");
    const head = at < 0 ? this.raw : this.raw.slice(0, at);
    if (at < 0 && head.length <= MAX_HEAD && "call:".startsWith(head.trimStart().slice(0, 5))) return {};
    const name = at < 0 ? undefined : HEAD.exec(head)?.[1];
    if (name === undefined) return { failed: this.raw };
    this.calls.start(name);
    this.value = new LiteralReader(this.literal, (json) => this.calls.arguments(json));
    return this.read(this.value, this.raw.slice(at));
  }

  finish(): ReaderState {
    if (this.value) this.calls.abandon();
    return { failed: this.raw };
  }

  private read(value: LiteralReader, text: string): ReaderState {
    const { rest, failed } = value.push(text);
    if (failed) return this.finish();
    if (rest === undefined) return {};
    this.calls.end();
    return { rest };
  }
}
