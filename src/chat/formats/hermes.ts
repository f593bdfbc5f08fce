/** Hermes 2 Pro, Qwen 2.5, Qwen 3, SmolLM3 and many others: `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`. */
import type { ToolFormat, WrittenCall } from "./format.ts";
import { JsonCalls } from "./json-calls.ts";

export const hermes: ToolFormat = {
  name: "hermes",
  matches: (template) => template.includes("<tool_call>") && !template.includes("<function=") && !template.includes("<arg_key>"),
  openers: ["<tool_call>"],
  closers: ["</tool_call>"],
  bare: false,
  reader: (_opener, calls) => new JsonCalls(calls, { closer: "</tool_call>" }),
  write: writeTagged,
};

/** One tagged JSON object per call. */
export function writeTagged(calls: readonly WrittenCall[]): string {
  return calls.map((c) => `<tool_call>\n{"name": ${JSON.stringify(c.name)}, "arguments": ${c.arguments}}\n</tool_call>`).join("\n");
}
