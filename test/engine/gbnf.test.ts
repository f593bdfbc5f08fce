/** Grammars of clients: GBNF as llama-server takes it. What a grammar permits is compared with a recogniser of its tree. */
import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { buildGrammar } from "../../src/engine/grammar/build.ts";
import { vocabularyOf } from "../../src/engine/grammar/vocabulary.ts";
import { GrammarCompiler } from "../../src/engine/grammar/xgrammar.ts";
import { byteTokenizer, errorOf, VOCAB } from "./fakes.ts";
import { accepts } from "./sentences.ts";

setDefaultTimeout(120_000);
const SEED = Number(process.env.ALLOY_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
const RUNS = Number(process.env.ALLOY_TEST_RUNS ?? 60);
console.log(`seed ${SEED} (ALLOY_TEST_SEED=${SEED} repeats it, ALLOY_TEST_RUNS sets how many)`);

const compiler = new GrammarCompiler(vocabularyOf(byteTokenizer, VOCAB, ""));
afterAll(() => compiler.free());

const build = (text: string): string => buildGrammar({ constraint: { kind: "ebnf", text, param: "grammar" } })!;

async function verdicts(grammar: string, texts: readonly string[]): Promise<Record<string, boolean>> {
  const ebnf = build(grammar);
  const out: Record<string, boolean> = {};
  for (const text of texts) out[text] = await accepts(compiler, ebnf, text);
  return out;
}

describe("features", () => {
  test.each([
    ["literals with escapes", String.raw`root ::= "a\n\t\"\\\x41\u00e9\U0001F600"`, ['a\n\t"\\Aé😀'], ["a"]],
    [
      "classes",
      String.raw`root ::= [a-c\]\-\n] [^a-z\x00-\x1F] [-x] [é-ü\u4e00]`,
      ["aZ-é", "]é-一", "\n!xü", "-Zxö"],
      ["dZ-é", "aa-é", "aZyé", "aZ-ý"],
    ],
    ["any character", "root ::= . .", ["ab", "é\n", "😀x"], ["a", "abc"]],
    [
      "repetition",
      `root ::= "a"* "b"+ "c"? "d"{2} "e"{1,2} "f"{,1} "g"{1,}`,
      ["bddeg", "aabbcddeefgg"],
      ["ddeg", "bdeg", "bddeeeg", "bddeffg", "bdde"],
    ],
    ["repetition of groups and rules", `root ::= ("a" | b){2} b*\nb ::= "b" "c"`, ["aa", "abc", "bcabcbc"], ["a", "aaa", "ab"]],
    ["space before a repetition", `root ::= "a" {2} ("b") *`, ["aa", "aabb"], ["a", "aab c"]],
    [
      "comments and rules over several lines",
      `# a list\nroot ::= item # one\n  ("," item)* # more\nitem ::= (\n  [a-z]+ # a word\n  |\n  [0-9]+\n)`,
      ["a", "ab,12"],
      ["", "a,", "a1"],
    ],
    ["alternatives on lines of their own", `root ::= "a"\n  | "b"\n  | [0-9]`, ["a", "b", "7"], ["c"]],
    ["an empty alternative", `root ::= "x" ("y" | )`, ["x", "xy"], ["", "y"]],
    [
      "names with dashes, underscores, dots and digits",
      `root ::= my-rule my_rule 2nd.rule\nmy-rule ::= "a"\nmy_rule ::= "b"\n2nd.rule ::= "c"`,
      ["abc"],
      ["ab"],
    ],
    ["recursion", `root ::= "(" root ")" | "x"`, ["x", "((x))"], ["(x", "()"]],
    [
      "arithmetic",
      `root ::= expr\nexpr ::= term ([-+*/] term)*\nterm ::= num | "(" expr ")"\nnum ::= [0-9]+`,
      ["1", "1+2*(3-4)"],
      ["1+", "(1", "+1"],
    ],
  ])("%s", async (_name, grammar, yes, no) => {
    const expected = Object.fromEntries([...yes.map((t) => [t, true]), ...no.map((t) => [t, false])]) as Record<string, boolean>;
    expect(await verdicts(grammar, [...yes, ...no])).toEqual(expected);
  });
});

describe("mistakes are named with their place", () => {
  test.each([
    ["", "no rule named 'root'"],
    [`start ::= "a"`, "no rule named 'root'"],
    [`root ::= "a" gone`, "uses the rule 'gone', which is not defined (line 1, column 14)"],
    [`root ::= "a"\nroot ::= "b"`, "defines the rule 'root' a second time (line 2, column 1)"],
    [`root = "a"`, "expects '::=' behind the rule's name 'root' (line 1, column 6)"],
    [`root ::= ("a"`, "does not close this group (line 1, column 10)"],
    [`root ::= "a`, "does not close this text (line 1, column 10)"],
    [`root ::= [a-`, "class of characters (line 1, column 10)"],
    [`root ::= [z-a]`, "end comes before its beginning (line 1, column 11)"],
    [`root ::= "\\q"`, "'\\q', which is no escape (line 1, column 11)"],
    [`root ::= "\\u12"`, "expects 4 hexadecimal digits"],
    [`root ::= "\\uD800"`, "no character"],
    [`root ::= "a"{3,1}`, "counts from 3 down to 1 (line 1, column 13)"],
    [`root ::= "a"{}`, "expects a count as {n}"],
    [`root ::=\n  <think> "a"`, "names a token ('<...>'), which is not supported: write its text in quotes (line 2, column 3)"],
    [`root ::= !<[7]>`, "names a token"],
    [`root ::= "a" (= "b")`, "looks ahead"],
    [`root ::= "é" )`, "expects the next rule or the end (line 1, column 14)"],
    [`root ::= * "a"`, `has "*" where no element begins (line 1, column 10)`],
    [`root ::= root "a" | "b"`, "the rule 'root', which begins with itself"],
    [`root ::= "x"? b\nb ::= root`, "begins with itself"],
    [`root ::= ${"(".repeat(300)}"a"${")".repeat(300)}`, "more than 200 deep"],
    [`root ::= (("a"{1,1000} "b"){1,1000}){1,1000}`, "repeats too often"],
    [`root ::= [^\\U00000000-\\U0010FFFF]`, "permits no character"],
  ])("%j", async (grammar, reason) => {
    const error = await errorOf(Promise.resolve().then(() => build(grammar)));
    expect(error.code).toBe("invalid_grammar");
    expect(error.message).toContain(`'grammar' `);
    expect(error.message).toContain(reason);
  });
});

/** A tree of its own, so that the recogniser shares nothing with what it checks. */
type Tree =
  { text: string } | { chars: string; not: boolean } | { rule: number } | { of: Tree; least: number; most: number } | { options: Tree[][] };

const RULES = 3;
const LETTERS = ["a", "b", "é"];
const { tree } = fc.letrec<{ tree: Tree; options: Tree[][] }>((tie) => ({
  tree: fc.oneof(
    { maxDepth: 3, depthSize: "small" },
    fc.constantFrom(...["a", "b", "ab", "ba", "aa", "é", "éa", ""].map((text) => ({ text }))),
    fc.tuple(fc.subarray(LETTERS, { minLength: 1, maxLength: 2 }), fc.boolean()).map(([c, not]) => ({ chars: c.join(""), not })),
    fc.nat(RULES - 1).map((rule) => ({ rule })),
    fc
      .tuple(tie("tree"), fc.constantFrom([0, 99], [1, 99], [0, 1], [2, 2], [1, 3], [0, 2], [2, 99]))
      .map(([of, [least, most]]) => ({ of, least, most })),
    tie("options").map((options) => ({ options })),
  ),
  options: fc.array(fc.array(tie("tree"), { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 4 }),
}));
const grammars = fc.array(fc.array(fc.array(tree, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 4 }), {
  minLength: RULES,
  maxLength: RULES,
});

/** Rules refer to later ones in front, and to any behind a letter, so that none begins with itself. */
function written(rules: readonly Tree[][][]): string {
  const node = (t: Tree): string => {
    if ("text" in t) return JSON.stringify(t.text);
    if ("chars" in t) return `[${t.not ? "^" : ""}${t.chars}]`;
    if ("rule" in t) return NAMES[t.rule];
    if ("options" in t) return `(${options(t.options)})`;
    const { least, most } = t;
    const count =
      most === 99
        ? least === 0
          ? "*"
          : least === 1
            ? "+"
            : `{${least},}`
        : least === 0 && most === 1
          ? "?"
          : least === most
            ? `{${least}}`
            : `{${least},${most}}`;
    return `(${node(t.of)})${count}`;
  };
  const options = (all: Tree[][]): string => all.map((o) => o.map(node).join(" ")).join(" | ");
  return rules.map((r, i) => `${NAMES[i]} ::= ${options(r)}`).join("\n");
}
const NAMES = ["root", "one", "two"];

/** Where a match that begins at `from` may end. */
function ends(rules: readonly Tree[][][], t: Tree, text: readonly string[], from: number): Set<number> {
  if ("text" in t) return [...t.text].every((c, i) => text[from + i] === c) ? new Set([from + [...t.text].length]) : new Set();
  if ("chars" in t) return from < text.length && t.chars.includes(text[from]) !== t.not ? new Set([from + 1]) : new Set();
  if ("rule" in t) return endsOf(rules, rules[t.rule], text, from);
  if ("options" in t) return endsOf(rules, t.options, text, from);
  let now = new Set([from]);
  const all = new Set(t.least === 0 ? [from] : []);
  for (let n = 1; n <= Math.min(t.most, t.least + text.length + 1); n++) {
    now = new Set([...now].flatMap((at) => [...ends(rules, t.of, text, at)]));
    if (n >= t.least) for (const at of now) all.add(at);
  }
  return all;
}

function endsOf(rules: readonly Tree[][][], options: readonly Tree[][], text: readonly string[], from: number): Set<number> {
  return new Set(
    options.flatMap((o) => [...o.reduce((now, t) => new Set([...now].flatMap((at) => [...ends(rules, t, text, at)])), new Set([from]))]),
  );
}

const TEXTS = ["", ...LETTERS, ...LETTERS.flatMap((x) => LETTERS.map((y) => x + y))];
const LONGER = TEXTS.filter((t) => [...t].length === 2).flatMap((t) => TEXTS.map((u) => t + u));
const ALL = [...new Set([...TEXTS, ...LONGER])];

test("random grammars permit what their trees say, and nothing else", async () => {
  let compared = 0;
  for (const rules of fc.sample(grammars, { seed: SEED, numRuns: RUNS })) {
    const text = written(rules);
    let ebnf: string;
    try {
      ebnf = build(text);
    } catch (e) {
      expect((e as Error).message).toContain("begins with itself");
      continue;
    }
    for (const candidate of ALL) {
      const expected = endsOf(rules, rules[0], [...candidate], 0).has([...candidate].length);
      const got = await accepts(compiler, ebnf, candidate);
      if (got !== expected) throw new Error(`${JSON.stringify(candidate)} is ${got ? "" : "not "}permitted by\n${text}\nas\n${ebnf}`);
      compared++;
    }
  }
  expect(compared).toBeGreaterThan(RUNS * 20);
});
