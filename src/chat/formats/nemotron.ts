/** NVIDIA Nemotron up to Nano 2: `<TOOLCALL>[{"name": ..., "arguments": {...}}, ...]</TOOLCALL>`. Nemotron 3 writes as Qwen 3.5 does. */
import type { MarkedFormat } from "./format.ts";
import { jsonGrammar } from "./grammar.ts";
import { JsonCalls } from "./json-calls.ts";

export const nemotron: MarkedFormat = {
  name: "nemotron",
  matches: (template) => template.includes("<TOOLCALL>"),
  openers: ["<TOOLCALL>"],
  closers: ["</TOOLCALL>"],
  reader: (_opener, calls) => new JsonCalls(calls, { closer: "</TOOLCALL>" }),
  grammar: jsonGrammar({
    before: "<TOOLCALL>[",
    open: (name) => `{"name": ${JSON.stringify(name)}, "arguments": `,
    close: "}",
    between: ", ",
    after: "]</TOOLCALL>",
  }),
};
