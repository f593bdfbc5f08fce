/** Llama 3.1 to 3.3: the answer is `{"name": ..., "parameters": {...}}`, with or without `<|python_tag|>` before it. */
import type { MarkedFormat } from "./format.ts";
import { jsonGrammar } from "./grammar.ts";
import { JsonCalls } from "./json-calls.ts";

export const llama3: MarkedFormat = {
  name: "llama3",
  matches: (template) => template.includes("<|start_header_id|>") && template.includes('"parameters": '),
  openers: ["<|python_tag|>"],
  closers: [],
  bare: true,
  reader: (opener, calls) => new JsonCalls(calls, { declaredOnly: opener === "" }),
  grammar: jsonGrammar({
    before: "",
    open: (name) => `{"name": ${JSON.stringify(name)}, "parameters": `,
    close: "}",
    between: "; ",
    after: "",
  }),
};
