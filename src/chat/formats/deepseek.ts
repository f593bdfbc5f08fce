/**
 * DeepSeek. V3 and R1: `<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>NAME`, a fenced JSON block,
 * `<｜tool▁call▁end｜><｜tool▁calls▁end｜>`. V3.1: name, separator, bare JSON. V3.2 and V4: elements marked with `｜DSML｜`.
 */
import type { MarkedFormat } from "./format.ts";
import { type CallGrammar, jsonGrammar, toolText } from "./grammar.ts";
import { HeadedCall } from "./headed.ts";
import { TaggedCall, type TagSyntax } from "./tagged.ts";

const CALLS_BEGIN = "<｜tool▁calls▁begin｜>";
const CALLS_END = "<｜tool▁calls▁end｜>";
const CALL_BEGIN = "<｜tool▁call▁begin｜>";
const CALL_END = "<｜tool▁call▁end｜>";
const SEPARATOR = "<｜tool▁sep｜>";
const HEAD = new RegExp(`^\\s*(?:function\\s*${SEPARATOR}\\s*([^\\s<>{]+)\\s*(?:\`\`\`(?:json)?\\s*)?|([^\\s<>{]+)\\s*${SEPARATOR}\\s*)$`);

const v31Grammar = jsonGrammar({
  before: CALLS_BEGIN,
  open: (name) => CALL_BEGIN + name + SEPARATOR,
  close: CALL_END,
  between: "",
  after: CALLS_END,
});
const v3Grammar = jsonGrammar({
  ...v31Grammar,
  open: (name) => `${CALL_BEGIN}function${SEPARATOR}${name}\n\`\`\`json\n`,
  close: `\n\`\`\`${CALL_END}`,
  between: "\n",
});

const base = (name: string, matches: MarkedFormat["matches"], grammar: CallGrammar): MarkedFormat => ({
  name,
  matches,
  openers: [CALL_BEGIN],
  closers: [CALLS_BEGIN, CALLS_END, CALL_END, `\`\`\`${CALL_END}`, SEPARATOR],
  callsEndReasoning: true,
  reader: (_opener, calls) => new HeadedCall(calls, HEAD),
  grammar,
  // These templates list no tools; the models know them in this form.
  instructions: (tools) =>
    [
      "## Tools\nYou have access to the following tools:\n",
      tools.map(toolText).join("\n\n"),
      "\nIMPORTANT: ALWAYS adhere to this exact format for tool use:",
      `${grammar.before}${grammar.open("tool_call_name", 0)}tool_call_arguments${grammar.close}{additional_tool_calls}${grammar.after}\n`,
      "Where:\n- `tool_call_name` must be an exact match to one of the available tools",
      "- `tool_call_arguments` must be valid JSON that strictly follows the tool's Parameters Schema",
      "- For multiple tool calls, chain them directly without separators or spaces",
    ].join("\n"),
});

const hasCalls = (template: string) => template.includes(CALLS_BEGIN);

/** V3, R1 and its distillations. */
export const deepseekV3 = base("deepseek-v3", (t) => hasCalls(t) && t.includes("```json"), v3Grammar);
export const deepseekV31 = base("deepseek-v3.1", hasCalls, v31Grammar);

const TAGS: TagSyntax = {
  call: /^\s*([^\s"<>]{1,256})\s*">/,
  parameter: '<｜DSML｜parameter name="',
  key: /^<｜DSML｜parameter name="([^"]*)"(?: string="(true|false)")?>/,
  close: "</｜DSML｜parameter>",
  lines: false,
  ends: ["</｜DSML｜invoke>"],
};

/** V3.2 calls the outer element `function_calls`, V4 `tool_calls`. */
export const deepseekDsml: MarkedFormat = {
  name: "deepseek-dsml",
  matches: (template) => template.includes("｜DSML｜"),
  openers: ['<｜DSML｜invoke name="'],
  closers: ["<｜DSML｜tool_calls>", "</｜DSML｜tool_calls>", "<｜DSML｜function_calls>", "</｜DSML｜function_calls>", "</｜DSML｜invoke>"],
  callsEndReasoning: true,
  reader: (_opener, calls) => new TaggedCall(calls, TAGS),
  grammar: {
    before: "\n\n<｜DSML｜tool_calls>\n",
    open: (name) => `<｜DSML｜invoke name="${name}">\n`,
    arguments: {
      style: "tags",
      open: (key, isString) => `<｜DSML｜parameter name="${key}" string="${isString}">`,
      close: "</｜DSML｜parameter>\n",
      between: "",
    },
    close: "</｜DSML｜invoke>",
    between: "\n",
    after: "\n</｜DSML｜tool_calls>",
  },
};
