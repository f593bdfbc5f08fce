/** ByteDance Seed-OSS: `<seed:tool_call><function=NAME><parameter=KEY>VALUE</parameter></function></seed:tool_call>`. */
import type { MarkedFormat } from "./format.ts";
import { FUNCTION_TAGS, FunctionCalls } from "./qwen-xml.ts";

export const seed: MarkedFormat = {
  name: "seed",
  matches: (template) => template.includes("<seed:tool_call>"),
  openers: ["<seed:tool_call>"],
  closers: ["</seed:tool_call>"],
  // The model counts its reasoning tokens aloud; what it says stays.
  noise: ["<seed:cot_budget_reflect>", "</seed:cot_budget_reflect>"],
  callsEndReasoning: true,
  reader: (_opener, calls) =>
    new FunctionCalls(calls, { ...FUNCTION_TAGS, lines: false, ends: ["</function>", "</seed:tool_call>"] }, "</seed:tool_call>"),
  grammar: {
    before: "",
    open: (name) => `<seed:tool_call>\n<function=${name}>\n`,
    arguments: { style: "tags", open: (key) => `<parameter=${key}>`, close: "</parameter>\n", between: "" },
    close: "</function>\n</seed:tool_call>",
    between: "\n",
    after: "",
  },
};
