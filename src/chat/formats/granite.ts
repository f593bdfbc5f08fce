/** IBM Granite 3: `<|tool_call|>[{"name": ..., "arguments": {...}}, ...]`. */
import type { ToolFormat } from "./format.ts";
import { JsonCalls } from "./json-calls.ts";

export const granite: ToolFormat = {
  name: "granite",
  matches: (template) => template.includes("<|tool_call|>"),
  openers: ["<|tool_call|>", "<tool_call>"],
  closers: ["</tool_call>"],
  bare: false,
  reader: (opener, calls) => new JsonCalls(calls, opener === "<tool_call>" ? { closer: "</tool_call>" } : {}),
  write: (calls) => `<|tool_call|>[${calls.map((c) => `{"name": ${JSON.stringify(c.name)}, "arguments": ${c.arguments}}`).join(", ")}]`,
};
