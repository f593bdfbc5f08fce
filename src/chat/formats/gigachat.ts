/** Sber GigaChat 3: a message of its own, `function call<|role_sep|>\n{"name": ..., "arguments": {...}}<|message_sep|>`. */
import type { ToolFormat } from "./format.ts";
import { jsonGrammar } from "./grammar.ts";
import { JsonCalls } from "./json-calls.ts";

const OPENER = "<|message_sep|>\n\nfunction call<|role_sep|>\n";

export const gigachat: ToolFormat = {
  name: "gigachat",
  matches: (template) => template.includes("<|role_sep|>") && template.includes("function call"),
  openers: [OPENER, "function call<|role_sep|>\n", "function call<|role_sep|>"],
  closers: [],
  noise: ["<|message_sep|>", "assistant<|role_sep|>\n"],
  callsEndReasoning: true,
  reader: (_opener, calls) => new JsonCalls(calls, { closer: "<|message_sep|>" }),
  grammar: jsonGrammar({
    before: "",
    open: (name) => `${OPENER}{"name": ${JSON.stringify(name)}, "arguments": `,
    close: "}",
    after: "<|message_sep|>",
  }),
};
