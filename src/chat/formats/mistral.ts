/** Mistral: `[TOOL_CALLS][{"name": ..., "arguments": {...}}, ...]`, and since 2025 `[TOOL_CALLS]name[ARGS]{...}`. */
import type { CallReader, CallSink, ReaderState, MarkedFormat } from "./format.ts";
import { jsonGrammar } from "./grammar.ts";
import { HeadedCall } from "./headed.ts";
import { JsonCalls } from "./json-calls.ts";

const HEAD = /^\s*([\w.-]+)\s*(?:\[CALL_ID\][\w-]*\s*)?(?:\[ARGS\]\s*)?$/;

/** The older form, a list. */
export const mistral: MarkedFormat = {
  name: "mistral",
  matches: (template) => template.includes("[TOOL_CALLS]"),
  openers: ["[TOOL_CALLS]"],
  closers: ["[ARGS]", "[CALL_ID]"],
  reader: (_opener, calls) => new MistralCalls(calls),
  grammar: jsonGrammar({
    before: "[TOOL_CALLS][",
    open: (name) => `{"name": ${JSON.stringify(name)}, "arguments": `,
    close: "}",
    between: ", ",
    after: "]",
  }),
};

/** The newer form, a marker and a name for each call. Both are read. */
export const mistralArgs: MarkedFormat = {
  ...mistral,
  name: "mistral-args",
  matches: (template, isToken) => template.includes("[TOOL_CALLS]") && (template.includes("[ARGS]") || isToken("[ARGS]")),
  grammar: jsonGrammar({
    before: "",
    open: (name) => `[TOOL_CALLS]${name}[ARGS]`,
    close: "",
    between: "",
    after: "",
  }),
};

/** Decides between the two forms by the first character. */
class MistralCalls implements CallReader {
  private inner: CallReader | undefined;
  private head = "";

  constructor(private readonly calls: CallSink) {}

  push(text: string): ReaderState {
    if (this.inner) return this.inner.push(text);
    this.head += text;
    const start = this.head.trimStart();
    if (start === "") return {};
    this.inner = start[0] === "[" || start[0] === "{" ? new JsonCalls(this.calls) : new HeadedCall(this.calls, HEAD);
    return this.inner.push(this.head);
  }

  finish(): ReaderState {
    return this.inner ? this.inner.finish() : { failed: this.head };
  }
}
