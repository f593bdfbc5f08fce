/** For templates that show tools in a way that no other format knows: JSON calls, marked or bare. */
import type { MarkedFormat } from "./format.ts";
import { hermes } from "./hermes.ts";
import { JsonCalls } from "./json-calls.ts";

const CLOSERS: Record<string, string | undefined> = { "<tool_call>": "</tool_call>", "<TOOLCALL>": "</TOOLCALL>" };

export const generic: MarkedFormat = {
  name: "json",
  matches: () => true,
  openers: ["<tool_call>", "<TOOLCALL>", "[TOOL_CALLS]"],
  closers: ["</tool_call>", "</TOOLCALL>"],
  bare: true,
  reader: (opener, calls) => new JsonCalls(calls, { closer: CLOSERS[opener], declaredOnly: opener === "" }),
  grammar: hermes.grammar,
};
