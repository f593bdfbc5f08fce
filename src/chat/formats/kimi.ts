/** Moonshot Kimi K2: `<|tool_call_begin|>functions.NAME:INDEX<|tool_call_argument_begin|>{...}<|tool_call_end|>` in a section. */
import type { MarkedFormat } from "./format.ts";
import { jsonGrammar } from "./grammar.ts";
import { HeadedCall } from "./headed.ts";

const ARGUMENTS = "<|tool_call_argument_begin|>";
const HEAD = /^\s*(?:functions\.)?([^\s:<>{]+)(?::\d+)?\s*<\|tool_call_argument_begin\|>\s*$/;

export const kimi: MarkedFormat = {
  name: "kimi",
  matches: (template) => template.includes(ARGUMENTS),
  openers: ["<|tool_call_begin|>"],
  closers: ["<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", "<|tool_call_end|>", ARGUMENTS],
  callsEndReasoning: true,
  reader: (_opener, calls) => new HeadedCall(calls, HEAD),
  callId: (name, index) => `functions.${name}:${index}`,
  grammar: jsonGrammar({
    before: "<|tool_calls_section_begin|>",
    open: (name, index) => `<|tool_call_begin|>functions.${name}:${index}${ARGUMENTS}`,
    close: "<|tool_call_end|>",
    between: "",
    after: "<|tool_calls_section_end|>",
  }),
};
