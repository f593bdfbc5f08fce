/** ServiceNow Apriel: `<tool_calls>[{"name": ..., "arguments": {...}}, ...]</tool_calls>`; AI21 Jamba writes the same. */
import type { MarkedFormat } from "./format.ts";
import { jsonGrammar } from "./grammar.ts";
import { JsonCalls } from "./json-calls.ts";

export const jamba: MarkedFormat = {
  name: "tool-calls-list",
  matches: (template) => template.includes("<tool_calls>") && !template.includes("<tool_call>"),
  openers: ["<tool_calls>"],
  closers: ["</tool_calls>"],
  reader: (_opener, calls) => new JsonCalls(calls, { closer: "</tool_calls>" }),
  grammar: jsonGrammar({
    before: "<tool_calls>[",
    open: (name) => `{"name": ${JSON.stringify(name)}, "arguments": `,
    close: "}",
    between: ", ",
    after: "]</tool_calls>",
  }),
};

/** Apriel thinks in prose between two sentences. */
export const apriel: MarkedFormat = {
  ...jamba,
  name: "apriel",
  matches: (template) => template.includes("<tool_calls>") && template.includes("[BEGIN FINAL RESPONSE]"),
  noise: ["[END FINAL RESPONSE]"],
  callsEndReasoning: true,
  reasoning: { open: "Here are my reasoning steps:", close: "[BEGIN FINAL RESPONSE]" },
};
