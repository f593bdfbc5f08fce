/** All tool-call formats under random calls, cuts and garbage. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { ToolSpec } from "../../src/chat/api.ts";
import type { ToolFormat } from "../../src/chat/formats/format.ts";
import { writeCalls } from "../../src/chat/formats/grammar.ts";
import { TOOL_FORMATS } from "../../src/chat/formats/index.ts";
import { outputParser } from "../../src/chat/parser.ts";
import { feed, pieces, random, seed } from "./helpers.ts";

const start = seed("tool-call formats");
const next = random(start);
const runs = Number(process.env.ALLOY_TEST_RUNS ?? 40);

const tools: ToolSpec[] = [
  {
    name: "write",
    parameters: {
      type: "object",
      properties: {
        path: { type: "string" },
        text: { type: "string" },
        n: { type: "integer" },
        x: { type: "number" },
        on: { type: "boolean" },
        list: { type: "array", items: { type: "string" } },
        options: { type: "object", properties: { deep: { type: "array", items: { type: "integer" } }, name: { type: "string" } } },
      },
    },
  },
  {
    name: "mcp__server__look-up.v2",
    parameters: {
      type: "object",
      properties: { q: { anyOf: [{ type: "string" }, { $ref: "#/$defs/word" }] } },
      $defs: { word: { enum: ["a", "b"] } },
    },
  },
];

const word = fc.string({ unit: "grapheme", maxLength: 10 });
const line = fc.oneof(
  word,
  fc.stringMatching(/^[ -~\n\t]{0,30}$/),
  fc.constantFrom("", "\n", "it's", '"', "\\", "null", "</b>", "a, b=1)", "]"),
);
const call = fc.oneof(
  fc.record({
    name: fc.constant("write"),
    arguments: fc.record(
      {
        path: line,
        text: line,
        n: fc.integer(),
        x: fc.double({ noNaN: true, noDefaultInfinity: true }).map((x) => (Object.is(x, -0) ? 0 : x)),
        on: fc.boolean(),
        list: fc.array(line, { maxLength: 3 }),
        options: fc.record({ deep: fc.array(fc.integer(), { maxLength: 3 }), name: line }, { requiredKeys: [] }),
      },
      { requiredKeys: [] },
    ),
  }),
  fc.record({ name: fc.constant("mcp__server__look-up.v2"), arguments: fc.record({ q: line }) }),
);

const parser = (format: ToolFormat, startsInReasoning = false) =>
  outputParser({ tools, format, reasoning: format.reasoning ?? { open: "<think>", close: "</think>" }, startsInReasoning });

/** The same comes out however the output is cut. Returns it. */
function steady(format: ToolFormat, output: string, startsInReasoning = false) {
  const whole = feed(parser(format, startsInReasoning), [output]);
  for (const cut of [[...output], pieces(output, next, 3), pieces(output, next, 20)]) {
    expect({ cut, turn: { ...feed(parser(format, startsInReasoning), cut), order: [] } }).toEqual({ cut, turn: { ...whole, order: [] } });
  }
  return whole;
}

/** Formats whose answers begin with a header of their own, or with the call. */
const TEXT_BEFORE: Record<string, ((text: string) => string) | undefined> = {
  harmony: (text) => `<|channel|>commentary<|message|>${text}<|end|><|start|>assistant`,
  functionary: (text) => `all\n${text}>>>`,
  llama3: undefined,
};

const MESSAGE_MARKERS: Record<string, string[] | undefined> = {
  harmony: ["<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|call|>", "<|return|>", "<|constrain|>"],
  functionary: ["all\n", "write\n"],
};

for (const format of TOOL_FORMATS) {
  describe(format.name, () => {
    test("what the grammar writes is read back, with the text around it", () => {
      fc.assert(
        fc.property(
          fc.array(call, { minLength: 1, maxLength: format.grammar.between === undefined ? 1 : 3 }),
          fc.stringMatching(/^[a-z .,]{0,20}$/),
          (calls, words) => {
            const written = writeCalls(
              format.grammar,
              calls.map((c) => ({ name: c.name, arguments: JSON.stringify(c.arguments) })),
            );
            const before = words === "" ? "" : format.name in TEXT_BEFORE ? (TEXT_BEFORE[format.name]?.(words) ?? "") : words;
            const turn = steady(format, before + written);
            expect({ written, calls: turn.calls.map((c) => ({ ...c, arguments: JSON.parse(c.arguments) })) }).toEqual({
              written,
              calls: calls.map((c) => ({ name: c.name, arguments: c.arguments, ended: true })),
            });
            expect(turn.text.trim()).toBe(before === "" ? "" : words.trim());
          },
        ),
        { seed: start, numRuns: runs },
      );
    });

    test("garbage and half markers never break it, nothing leaks, nothing is lost", () => {
      const { open, close } = format.reasoning ?? { open: "<think>", close: "</think>" };
      const marked = "parser" in format ? undefined : format;
      const own = marked ? [...marked.closers, ...(marked.noise ?? [])] : (MESSAGE_MARKERS[format.name] ?? []);
      const markers = [...format.openers, ...own, ...(marked ? [open, close] : [])];
      /** Openers that are words, or quoted in reasoning, may come out. */
      const hidden =
        marked?.wordOpeners || format.name === "functionary" ? [] : markers.filter((m) => m.length > 3 && m !== " to=functions.");
      const any = new RegExp(
        markers
          .toSorted((a, b) => b.length - a.length)
          .map((m) => m.replace(/[$()*+.?[\\\]^{|}]/g, "\\$&"))
          .join("|"),
        "g",
      );
      const sample = writeCalls(format.grammar, [{ name: "write", arguments: '{"path":"p","n":1,"list":["a"]}' }]);
      const part = fc.oneof(
        { weight: 3, arbitrary: fc.constantFrom(...markers) },
        {
          weight: 2,
          arbitrary: fc.tuple(fc.constantFrom(...markers), fc.nat(30)).map(([m, n]) => m.slice(0, 1 + (n % Math.max(1, m.length - 1)))),
        },
        { weight: 2, arbitrary: fc.tuple(fc.nat(sample.length), fc.nat(12)).map(([at, n]) => sample.slice(at, at + n)) },
        {
          weight: 2,
          arbitrary: fc.constantFrom(
            '{"name": "write"',
            ', "arguments": {',
            "{",
            "}",
            "[",
            "]",
            '"',
            "(",
            ")",
            "=",
            ",",
            ":",
            "'",
            " ",
            "\n",
          ),
        },
        { weight: 2, arbitrary: fc.nat(999).map((n) => ` word${n} `) },
      );
      fc.assert(
        fc.property(fc.array(part, { maxLength: 14 }), fc.boolean(), (parts, reasoning) => {
          const output = parts.join("");
          const turn = steady(format, output, reasoning);
          // Reasoning may speak of markers that are words in other models' mouths.
          const p = parser(format, reasoning);
          const shown = [...p.push(output), ...p.finish()]
            .map((d) => (d.type === "text" || (d.type === "reasoning" && (!marked || marked.callsEndReasoning)) ? d.text : ""))
            .join("\0");
          // What stands around a marker may form another one when it is gone.
          const apart = output.replace(any, "").replace(/\s/g, "");
          const leaked = hidden.filter((m) => shown.includes(m) && !apart.includes(m.replace(/\s/g, "")));
          expect({ output, leaked }).toEqual({ output, leaked: [] });
          // Words in a message's header are no text.
          if (!marked) return;
          const all = turn.text + turn.reasoning + turn.calls.map((c) => c.name + c.arguments).join();
          for (const w of parts.filter((p) => p.startsWith(" word")))
            expect({ output, all }).toEqual({ output, all: expect.stringContaining(w.trim()) });
        }),
        { seed: start, numRuns: runs * 5 },
      );
    });
  });
}
