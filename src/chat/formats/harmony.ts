/**
 * OpenAI gpt-oss ("harmony"): messages `<|start|>ROLE to=RECIPIENT<|channel|>CHANNEL<|message|>TEXT<|end|>`. The channel analysis is
 * reasoning, final and commentary are text, and a message to `functions.NAME` is a call.
 */
import type { MessageFormat } from "./format.ts";
import { jsonGrammar } from "./grammar.ts";
import { type Segment, SegmentParser, type SegmentSyntax } from "./segments.ts";

const MAX_HEADER = 300;
/** How an answer's first header may begin; the prompt ends with `<|start|>assistant`. */
const BEGINNINGS = ["<|start|>", "<|channel|>", "<|message|>", "assistant<|", "assistant to=", "to=", "<|constrain|>"];
/** A message to nobody in particular is to the user. */
const USERS = ["user", "assistant", "all"];

const HARMONY: SegmentSyntax = {
  starts: ["<|start|>", "<|channel|>"],
  body: "<|message|>",
  ends: ["<|end|>", "<|call|>", "<|return|>", "<|message|>", "<|constrain|>"],
  read(header, tools): Segment | undefined {
    if (header.length > MAX_HEADER) return undefined;
    const name = /\bto=(?:functions\.)?([^\s<]+)/.exec(header)?.[1];
    if (name !== undefined && name !== "functions." && !USERS.includes(name) && tools.length > 0) return { kind: "call", name };
    return { kind: /<\|channel\|>\s*analysis/.test(header) ? "reasoning" : "text" };
  },
  possible(header) {
    const s = header.trimStart();
    return s.length <= MAX_HEADER && BEGINNINGS.some((b) => b.startsWith(s) || s.startsWith(b));
  },
  keepMarkers: false,
};

export const harmony: MessageFormat = {
  name: "harmony",
  matches: (template) => template.includes("<|channel|>") && template.includes("<|message|>"),
  openers: [" to=functions."],
  parser: (options) => new SegmentParser(HARMONY, options),
  reasoning: { open: "<|channel|>analysis<|message|>", close: "<|end|>" },
  grammar: jsonGrammar({
    messages: { resume: "<|start|>assistant", answer: "<|channel|>final<|message|>" },
    before: "",
    open: (name) => `<|channel|>commentary to=functions.${name} <|constrain|>json<|message|>`,
    close: "",
    after: "<|call|>",
  }),
};
