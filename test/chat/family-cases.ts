/** Runs what models of the tool-call families write through their parsers. */
import { describe, expect, test } from "bun:test";
import type { ToolSpec } from "../../src/chat/api.ts";
import { TOOL_FORMATS } from "../../src/chat/formats/index.ts";
import { outputParser } from "../../src/chat/parser.ts";
import { feed, pieces, random, seed, type Turn } from "./helpers.ts";

export const tools: ToolSpec[] = [
  {
    name: "get_weather",
    parameters: {
      type: "object",
      properties: {
        city: { type: "string" },
        days: { type: "integer" },
        hot: { type: "boolean" },
        unit: { enum: ["C", "F"] },
        at: { anyOf: [{ type: "string" }, { type: "null" }] },
        place: { $ref: "#/$defs/place" },
        tags: { type: "array", items: { type: "string" } },
        either: { type: ["string", "number"] },
      },
      $defs: { place: { type: "object", properties: { lat: { type: "number" }, names: { type: "array", items: { type: "string" } } } } },
    },
  },
  { name: "now" },
];

export interface Case {
  what: string;
  output: string;
  expected: Partial<Omit<Turn, "calls" | "order">> & { calls?: Turn["calls"] };
  startsInReasoning?: boolean;
  tools?: ToolSpec[];
}

export const call = (args: string, name = "get_weather", ended = true) => ({ name, arguments: args, ended });
export const none: Turn["calls"] = [];

const REASONING: Record<string, { open: string; close: string } | undefined> = {
  gemma: { open: "<|channel>thought", close: "<channel|>" },
  seed: { open: "<seed:think>", close: "</seed:think>" },
};

/** Declares a test for each case: whole, character by character, and cut at random. */
export function testFamilies(families: Record<string, Case[]>): void {
  const next = random(seed("families"));
  for (const [name, cases] of Object.entries(families)) {
    describe(name, () => {
      const format = TOOL_FORMATS.find((f) => f.name === name);
      for (const c of cases) {
        test(c.what, () => {
          if (!format) throw new Error(`no format ${name}`);
          const reasoning = format.reasoning ?? REASONING[name] ?? { open: "<think>", close: "</think>" };
          const parser = () =>
            outputParser({ tools: c.tools ?? tools, format, reasoning, startsInReasoning: c.startsInReasoning ?? false });
          const whole = feed(parser(), [c.output]);
          expect(whole).toMatchObject({ reasoning: "", ...c.expected });
          for (const cut of [[...c.output], ...Array.from({ length: 20 }, () => pieces(c.output, next, 9))])
            expect({ cut, turn: { ...feed(parser(), cut), order: [] } }).toEqual({ cut, turn: { ...whole, order: [] } });
        });
      }
    });
  }
}
