/** IBM Granite 3 and Phi 4 mini: `<|tool_call|>[{"name": ..., "arguments": {...}}, ...]`. Granite 4 writes as Hermes does. */
import type { MarkedFormat } from "./format.ts";
import { jsonGrammar } from "./grammar.ts";
import { JsonCalls } from "./json-calls.ts";

export const granite: MarkedFormat = {
  name: "granite",
  matches: (template) => template.includes("<|tool_call|>"),
  openers: ["<|tool_call|>", "<tool_call>"],
  closers: ["</tool_call>", "<|/tool_call|>"],
  // Granite 3.3 answers between these when it was asked to think.
  noise: ["<response>", "</response>"],
  reader: (opener, calls) => new JsonCalls(calls, opener === "<tool_call>" ? { closer: "</tool_call>" } : {}),
  grammar: jsonGrammar({
    before: "<|tool_call|>[",
    open: (name) => `{"name": ${JSON.stringify(name)}, "arguments": `,
    close: "}",
    between: ", ",
    after: "]",
  }),
};
