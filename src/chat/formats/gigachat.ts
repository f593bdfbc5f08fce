/** Sber GigaChat 3: a message of its own, `function call<|role_sep|>\n{"name": ..., "arguments": {...}}<|message_sep|>`; 3.1 has a marker. */
import type { MarkedFormat } from "./format.ts";
import { jsonGrammar } from "./grammar.ts";
import { JsonCalls } from "./json-calls.ts";

const OPENER = "<|message_sep|>\n\nfunction call<|role_sep|>\n";
const MARKER = "<|function_call|>";

export const gigachat: MarkedFormat = {
  name: "gigachat",
  matches: (template) => template.includes("<|role_sep|>") && template.includes("function call"),
  openers: [OPENER, "function call<|role_sep|>\n", "function call<|role_sep|>", MARKER],
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

export const gigachat31: MarkedFormat = {
  ...gigachat,
  name: "gigachat-3.1",
  matches: (template) => template.includes(MARKER),
  grammar: jsonGrammar({ before: "", open: (name) => `${MARKER}{"name": ${JSON.stringify(name)}, "arguments": `, close: "}", after: "" }),
};
