/** Sets of characters and regular expressions as grammars: what they permit, byte by byte. */
import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { PatternError, regexGrammar } from "../../src/engine/grammar/regex.ts";
import { oneOf } from "../../src/engine/grammar/rules.ts";
import { complement, type Ranges, utf8Sequences } from "../../src/engine/grammar/sets.ts";
import { lowered } from "../../src/engine/grammar/lower.ts";
import { parseGrammar } from "../../src/engine/grammar/syntax.ts";
import { vocabularyOf } from "../../src/engine/grammar/vocabulary.ts";
import { GrammarCompiler } from "../../src/engine/grammar/xgrammar.ts";
import { random as randomOf } from "../kernels/runners.ts";
import { byteTokenizer, VOCAB } from "./fakes.ts";
import { accepts, sentence } from "./sentences.ts";

setDefaultTimeout(120_000);
const SEED = Number(process.env.ALLOY_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
const RUNS = Number(process.env.ALLOY_TEST_RUNS ?? 60);
console.log(`seed ${SEED} (ALLOY_TEST_SEED=${SEED} repeats it)`);
const random = randomOf(SEED);

const compiler = new GrammarCompiler(vocabularyOf(byteTokenizer, VOCAB, ""));
afterAll(() => compiler.free());

const has = (ranges: Ranges, code: number): boolean => ranges.some(([a, b]) => a <= code && code <= b);
const EDGES = [0, 0x1f, 0x20, 0x7f, 0x80, 0x7ff, 0x800, 0xfff, 0x1000, 0xd7ff, 0xe000, 0xffff, 0x10000, 0x3ffff, 0x100000, 0x10ffff];
const point = fc.oneof(fc.constantFrom(...EDGES), fc.nat(0x7f), fc.nat(0x7ff), fc.integer({ min: 0xe000, max: 0x10ffff }), fc.nat(0xd7ff));
const sets = fc
  .array(fc.tuple(point, point), { minLength: 1, maxLength: 4 })
  .map((pairs) => complement(complement(pairs.map(([a, b]): [number, number] => [Math.min(a, b), Math.max(a, b)]))));

describe("sets of characters", () => {
  test("as sequences of bytes they hold each of their characters and no other", () => {
    fc.assert(
      fc.property(sets, point, (set, code) => {
        const bytes = [...new TextEncoder().encode(String.fromCodePoint(code))];
        const matches = utf8Sequences(set).filter(
          (s) => s.length === bytes.length && s.every(([a, b], i) => a <= bytes[i] && bytes[i] <= b),
        );
        expect(matches.length).toBe(has(set, code) ? 1 : 0);
      }),
      { seed: SEED, numRuns: 2000 },
    );
  });

  test("a grammar permits their characters and no others", async () => {
    for (const set of fc.sample(sets, { seed: SEED, numRuns: RUNS })) {
      const near = set.flat().flatMap((c) => [c - 1, c, c + 1]);
      const codes = [...near, ...fc.sample(point, { seed: SEED, numRuns: 8 })].filter(
        (c) => c >= 0 && c <= 0x10ffff && !(c >= 0xd800 && c < 0xe000),
      );
      for (const code of new Set(codes)) {
        const ebnf = lowered(parseGrammar(`root ::= "?" ${oneOf(set)} "!"`));
        expect([set, code, await accepts(compiler, ebnf, `?${String.fromCodePoint(code)}!`)]).toEqual([set, code, has(set, code)]);
      }
    }
  });
});

const PATTERNS = [
  "^\\S\\w?[^a-z]$",
  "^[^a-z]{2}$",
  '^[^"]+$',
  "^\\W$",
  "^\\D\\d$",
  "^.$",
  "^.{2,3}$",
  "^[\\s\\S]$",
  "^[^]$",
  "^\\n\\t?$",
  "^[\\x00-\\x1f]{2}$",
  "^[\\u00e0-\\u00ff]{1,2}x?$",
  "^[一-龥]+$",
  "^[^\\u0000-\\u0040]$",
  "x|y",
  '^(?:ab|"c")*$',
  "^[\\\\/]$",
];

const raw = (text: string): string[] => [...text].filter((c) => c < " ");

describe("patterns in JSON", () => {
  test.each(PATTERNS)("%s: every sentence is a JSON string that matches", async (pattern) => {
    const ebnf = lowered(parseGrammar(`root ::= "\\"" ${regexGrammar(pattern, "json")} "\\""`));
    for (let round = 0; round < 40; round++) {
      const text = (await sentence(compiler, ebnf, random, { length: round, prefer: 'xy"' }))!;
      expect(raw(text)).toEqual([]);
      expect(JSON.parse(text) as string).toMatch(new RegExp(pattern, "u"));
    }
  });

  test("what JSON has to escape is permitted where the pattern permits it, and raw nowhere", async () => {
    for (const code of [...Array(0x20).keys(), 0x22, 0x5c, 0x7f, 0xa0, 0x2028]) {
      const c = String.fromCodePoint(code);
      for (const pattern of ["^[^a-z]$", "^\\S$", "^\\s$", "^.$", "^\\W$", `^[\\u{${code.toString(16)}}]$`]) {
        const ebnf = lowered(parseGrammar(`root ::= "\\"" ${regexGrammar(pattern, "json")} "\\""`));
        const matches = new RegExp(pattern, "u").test(c);
        expect([code, pattern, await accepts(compiler, ebnf, JSON.stringify(c))]).toEqual([code, pattern, matches]);
        if (code < 0x20) expect([code, pattern, await accepts(compiler, ebnf, `"${c}"`)]).toEqual([code, pattern, false]);
      }
    }
  });
});

/** Random patterns of what is supported; alternatives are anchored as a whole or not at all. */
const atom = fc.oneof(
  fc.constantFrom("a", "é", "\\.", "\\n", "\\\\", '"', "/", "😀", " ", "-"),
  fc.constantFrom(".", "\\d", "\\D", "\\w", "\\W", "\\s", "\\S", "[a-f]", "[^a-f]", "[\\w-]", "[à-ÿ]", '[^"\\\\]', "[^é]", "[\\d\\n]"),
);
const counts = fc.constantFrom("", "", "", "*", "+", "?", "{2}", "{1,3}", "{2,}", "+?");
/** Loops inside of loops take a regular expression that backtracks too long to be asked. */
const few = fc.constantFrom("", "", "?", "{2}", "{1,3}", "{0,2}?");
const { pattern } = fc.letrec<{ pattern: string; piece: string }>((tie) => ({
  piece: fc.oneof(
    { maxDepth: 2, depthSize: "small" },
    fc.tuple(atom, counts).map(([a, q]) => a + q),
    fc.tuple(tie("pattern"), fc.constantFrom("(", "(?:"), few).map(([p, open, q]) => `${open}${p})${q}`),
  ),
  pattern: fc.array(tie("piece"), { minLength: 1, maxLength: 3 }).chain((parts) => fc.constantFrom(parts.join(""), parts.join("|"))),
}));
const whole = fc.tuple(pattern, fc.boolean(), fc.boolean()).map(([p, from, to]) => `${from ? "^" : ""}(${p})${to ? "$" : ""}`);

test("random patterns: what is drawn from their grammars matches, in JSON and as a whole answer", async () => {
  let unfinished = 0;
  for (const text of fc.sample(whole, { seed: SEED, numRuns: RUNS })) {
    for (const where of ["json", "answer"] as const) {
      const body = regexGrammar(text, where);
      const ebnf = lowered(parseGrammar(where === "json" ? `root ::= "\\"" ${body} "\\""` : `root ::= ${body}`));
      for (let round = 0; round < 3; round++) {
        const drawn = await sentence(compiler, ebnf, random, { length: 4, limit: 24, prefer: `${text}"` });
        // What stands anywhere in a string is seldom met by chance. Long texts are none to hand to a regular expression that backtracks.
        if (drawn === undefined) {
          unfinished++;
          continue;
        }
        const value = where === "json" ? (JSON.parse(drawn) as string) : drawn;
        const matched = new RegExp(where === "json" ? text : `^(?:${text})$`, "u").test(value);
        if (!matched) throw new Error(`${JSON.stringify(drawn)} does not match ${text} (${where})`);
      }
    }
  }
  expect(unfinished).toBeLessThan(3 * RUNS);
});

test.each([
  ["(?=a)b", "looks ahead"],
  ["a\\b", "'\\b'"],
  ["[^\\s\\S]", "permits no character"],
  ["(a{1,1000}){1,1000}", "repeats"],
  ["(", "no regular expression"],
])("%s is refused", (text, reason) => {
  expect(() => regexGrammar(text, "json")).toThrow(PatternError);
  expect(() => regexGrammar(text, "json")).toThrow(reason);
});
