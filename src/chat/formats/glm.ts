/**
 * Zhipu GLM 4.5 to 4.7: `<tool_call>NAME<arg_key>KEY</arg_key><arg_value>VALUE</arg_value></tool_call>`, with line breaks between the tags
 * up to 4.6 and without after it. Strings stand as they are, all else is JSON.
 */
import type { CallReader, CallSink, ReaderState, MarkedFormat } from "./format.ts";
import { JsonCalls } from "./json-calls.ts";
import { TaggedCall, type TagSyntax } from "./tagged.ts";

const TAGS: TagSyntax = {
  call: /^\s*([^\s<>{}[\]"]{1,256})(?:[^\S\n]*\n\s*|\s*(?=<arg_key>|<\/tool_call>))/,
  parameter: "<arg_key>",
  key: /^<arg_key>\s*([^<]*?)\s*<\/arg_key>\s*<arg_value>/,
  close: "</arg_value>",
  lines: false,
  ends: ["</tool_call>"],
};

export const glm: MarkedFormat = {
  name: "glm",
  matches: (template) => template.includes("<arg_key>"),
  openers: ["<tool_call>"],
  closers: ["</tool_call>"],
  callsEndReasoning: true,
  stops: ["<|observation|>", "<|user|>"],
  reader: (_opener, calls) => new NameOrJson(calls),
  grammar: {
    before: "",
    open: (name) => `<tool_call>${name}\n`,
    arguments: {
      style: "tags",
      open: (key) => `<arg_key>${key}</arg_key>\n<arg_value>`,
      close: "</arg_value>\n",
      between: "",
    },
    close: "</tool_call>",
    between: "\n",
    after: "",
  },
};

/** A name and tags, or a call in JSON, as smaller models slip into. */
class NameOrJson implements CallReader {
  private inner: CallReader | undefined;

  constructor(private readonly calls: CallSink) {}

  push(text: string): ReaderState {
    const start = text.trimStart();
    if (!this.inner && start === "") return {};
    this.inner ??= start[0] === "{" ? new JsonCalls(this.calls, { closer: "</tool_call>" }) : new TaggedCall(this.calls, TAGS);
    return this.inner.push(text);
  }

  finish(): ReaderState {
    return this.inner?.finish() ?? { rest: "" };
  }
}
