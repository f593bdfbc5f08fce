/** Upstage Solar Open: messages `<|begin|>assistant<|think|>...<|end|>`; calls with an id, a name and JSON. */
import type { MarkedFormat } from "./format.ts";
import { jsonGrammar } from "./grammar.ts";
import { HeadedCall } from "./headed.ts";

const BEGIN = "<|tool_call:begin|>";
const NAME = "<|tool_call:name|>";
const ARGUMENTS = "<|tool_call:args|>";
const HEAD = /^\s*[^\s<>{]*\s*<\|tool_call:name\|>\s*([^\s<>{]+)\s*<\|tool_call:args\|>\s*$/;

export const solar: MarkedFormat = {
  name: "solar",
  matches: (template) => template.includes(BEGIN),
  openers: [BEGIN],
  closers: [NAME, ARGUMENTS, "<|tool_call:end|>"],
  noise: ["<|begin|>assistant", "<|content|>", "<|tool_calls|>", "<|calls|>"],
  callsEndReasoning: true,
  reasoning: { open: "<|think|>", close: "<|end|>" },
  reader: (_opener, calls) => new HeadedCall(calls, HEAD),
  grammar: jsonGrammar({
    messages: { resume: "<|begin|>assistant", answer: "<|content|>" },
    before: "<|tool_calls|>",
    // Any ten letters and digits; the model invents them.
    open: (name, index) => `${BEGIN}call${String(index).padStart(6, "0")}${NAME}${name}${ARGUMENTS}`,
    close: "<|tool_call:end|>",
    between: "",
    after: "<|calls|>",
  }),
};
