/** Hermes 2 Pro, Qwen 2.5, Qwen 3, SmolLM3, Granite 4 and many others: `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`. */
import type { MarkedFormat } from "./format.ts";
import { jsonGrammar } from "./grammar.ts";
import { JsonCalls } from "./json-calls.ts";

export const hermes: MarkedFormat = {
  name: "hermes",
  matches: (template) => template.includes("<tool_call>") && !template.includes("<function=") && !template.includes("<arg_key>"),
  openers: ["<tool_call>"],
  closers: ["</tool_call>"],
  reader: (_opener, calls) => new JsonCalls(calls, { closer: "</tool_call>" }),
  grammar: jsonGrammar({
    before: "",
    open: (name) => `<tool_call>\n{"name": ${JSON.stringify(name)}, "arguments": `,
    close: "}\n</tool_call>",
    between: "\n",
    after: "",
  }),
};
