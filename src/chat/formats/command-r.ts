/**
 * Cohere. Command R and R+: `Action:`, then a fenced JSON list of `{"tool_name": ..., "parameters": {...}}`. Command R7B and A: the
 * list between `<|START_ACTION|>` and `<|END_ACTION|>`.
 */
import type { MarkedFormat } from "./format.ts";
import { jsonGrammar } from "./grammar.ts";
import { JsonCalls } from "./json-calls.ts";

const open = (name: string) => `    {\n        "tool_name": ${JSON.stringify(name)},\n        "parameters": `;

export const commandR: MarkedFormat = {
  name: "command-r",
  matches: (template) => template.includes("Action:\\n```json") || template.includes("Action:\n```json"),
  openers: ["Action:\n```json", "Action: ```json"],
  closers: [],
  wordOpeners: true,
  reader: (_opener, calls) => new JsonCalls(calls, { closer: "```" }),
  grammar: jsonGrammar({ before: "\nAction:\n```json\n[\n", open, close: "\n    }", between: ",\n", after: "\n]```\n" }),
};

export const commandA: MarkedFormat = {
  name: "command-a",
  matches: (template) => template.includes("<|START_ACTION|>"),
  openers: ["<|START_ACTION|>"],
  closers: ["<|END_ACTION|>"],
  noise: ["<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>"],
  callsEndReasoning: true,
  reader: (_opener, calls) => new JsonCalls(calls, { closer: "<|END_ACTION|>" }),
  grammar: jsonGrammar({
    before: "<|START_ACTION|>[\n",
    open: (name, index) => `    {"tool_call_id": "${index}", "tool_name": ${JSON.stringify(name)}, "parameters": `,
    close: "}",
    between: ",\n",
    after: "\n]<|END_ACTION|>",
  }),
};
