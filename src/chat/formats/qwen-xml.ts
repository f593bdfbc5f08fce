/**
 * Qwen 3 Coder, Qwen 3.5, Nemotron 3, Step and others:
 * `<tool_call><function=NAME><parameter=KEY>\nVALUE\n</parameter></function></tool_call>`.
 */
import type { CallReader, CallSink, ReaderState, MarkedFormat } from "./format.ts";
import { JsonCalls } from "./json-calls.ts";
import { TaggedCall, type TagSyntax } from "./tagged.ts";

/** Behind `<function=`. */
export const FUNCTION_TAGS: TagSyntax = {
  call: /^\s*["']?([^\s<>"'{]{1,256})["']?\s*>/,
  parameter: "<parameter=",
  key: /^<parameter=["']?([^>]*?)["']?\s*>/,
  close: "</parameter>",
  lines: true,
  ends: ["</function>", "</tool_call>"],
};

export const qwenXml: MarkedFormat = {
  name: "qwen-xml",
  matches: (template) => template.includes("<function=") && template.includes("<tool_call>"),
  // Models leave the outer tag out now and then.
  openers: ["<tool_call>", "<function="],
  closers: ["</tool_call>"],
  callsEndReasoning: true,
  reader: (opener, calls) =>
    opener === "<function=" ? new TaggedCall(calls, FUNCTION_TAGS) : new FunctionCalls(calls, FUNCTION_TAGS, "</tool_call>"),
  grammar: {
    before: "",
    open: (name) => `<tool_call>\n<function=${name}>\n`,
    arguments: { style: "tags", open: (key) => `<parameter=${key}>\n`, close: "\n</parameter>\n", between: "" },
    close: "</function>\n</tool_call>",
    between: "\n",
    after: "",
  },
};

/** Behind the outer tag: the function's tag, or a call in JSON. */
export class FunctionCalls implements CallReader {
  private head = "";
  private inner: CallReader | undefined;

  constructor(
    private readonly calls: CallSink,
    private readonly tags: TagSyntax,
    private readonly closer: string,
    private readonly inside = "<function=",
  ) {}

  push(text: string): ReaderState {
    if (this.inner) return this.inner.push(text);
    this.head += text;
    const start = this.head.trimStart();
    if (start.startsWith(this.inside)) {
      this.inner = new TaggedCall(this.calls, { ...this.tags, behind: [this.closer, this.inside] });
      return this.inner.push(start.slice(this.inside.length));
    }
    if (start[0] === "{" || start[0] === "[") {
      this.inner = new JsonCalls(this.calls, { closer: this.closer });
      return this.inner.push(start);
    }
    return this.inside.startsWith(start) ? {} : { failed: this.head };
  }

  finish(): ReaderState {
    return this.inner ? this.inner.finish() : { failed: this.head };
  }
}
