/** Strict tools that may be called or not: text is free, and from its marker on a call is held to its tool's schema. */
import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import type { ToolSpec } from "../../src/chat/api.ts";
import { writeCalls } from "../../src/chat/formats/grammar.ts";
import { functionary } from "../../src/chat/formats/functionary.ts";
import { harmony } from "../../src/chat/formats/harmony.ts";
import { TOOL_FORMATS } from "../../src/chat/formats/index.ts";
import { buildGrammar, type GrammarRequest } from "../../src/engine/grammar/build.ts";
import { vocabularyOf } from "../../src/engine/grammar/vocabulary.ts";
import { GrammarCompiler } from "../../src/engine/grammar/xgrammar.ts";
import { byteTokenizer, VOCAB } from "./fakes.ts";
import { accepts } from "./sentences.ts";

setDefaultTimeout(120_000);
const compiler = new GrammarCompiler(vocabularyOf(byteTokenizer, VOCAB, ""));
afterAll(() => compiler.free());

const tools: ToolSpec[] = [
  {
    name: "get_weather",
    strict: true,
    parameters: {
      type: "object",
      properties: { city: { type: "string", enum: ["Oslo", "Rome"] }, days: { type: "integer", minimum: 1, maximum: 7 } },
      required: ["city", "days"],
      additionalProperties: false,
    },
  },
  { name: "switch", parameters: { type: "object", properties: { on: { type: "boolean" } }, required: ["on"] } },
];
const call = (name: string, args: object): { name: string; arguments: string } => ({ name, arguments: JSON.stringify(args) });
const good = call("get_weather", { city: "Rome", days: 3 });

/** Formats whose calls begin the answer, as bare JSON. */
const BARE = ["llama3"];

describe.each(TOOL_FORMATS.filter((f) => f.grammar.messages === undefined).map((f) => [f.name, f] as const))("%s", (name, format) => {
  const build = (single: boolean): string | undefined => {
    const { grammar, openers } = format;
    return buildGrammar({ calls: { tools, grammar, openers, mode: "strict", single, isEnd: () => false } });
  };

  test("text is free; calls fit their schemas", async () => {
    const ebnf = build(false);
    if (ebnf === undefined) throw new Error("its calls cannot be told from text");
    const verdict = async (text: string): Promise<[string, boolean]> => [text, await accepts(compiler, ebnf, text)];
    const yes = [
      "",
      "Hello (é)!",
      "1 < 2 and [3]",
      writeCalls(format.grammar, [good]),
      writeCalls(format.grammar, [call("switch", { on: true })]),
    ];
    if (!BARE.includes(name)) yes.push(`I look it up.\n${writeCalls(format.grammar, [good])}`);
    for (const text of yes) expect(await verdict(text)).toEqual([text, true]);
    const no = [writeCalls(format.grammar, [call("get_rain", { city: "Rome" })])];
    for (const args of [{ city: "Rome", days: 9 }, { city: "Rome" }, { city: "Rome", days: 3, wind: true }, { city: "Paris", days: 3 }]) {
      no.push(writeCalls(format.grammar, [call("get_weather", args)]));
    }
    for (const text of no) expect(await verdict(text)).toEqual([text, false]);
  });

  test("texts, lists and objects as arguments, as the format writes them", async () => {
    const properties = {
      note: { type: "string" },
      list: { type: "array", items: { type: "integer" } },
      deep: { type: "object" },
      maybe: { type: ["string", "null"] },
    };
    const { grammar, openers } = format;
    const rich = [{ name: "take", strict: true, parameters: { type: "object", properties, required: ["note"] } }];
    const ebnf = buildGrammar({ calls: { tools: rich, grammar, openers, mode: "forced", single: false, isEnd: () => false } })!;
    for (const args of [
      { note: "a < b, c > d [x] {y}\nnext" },
      { note: "", list: [1, 2] },
      { note: "é", list: [], deep: { k: true, l: [{ m: 1.5 }] } },
    ]) {
      const text = writeCalls(grammar, [call("take", args)]);
      expect([text, await accepts(compiler, ebnf, text)]).toEqual([text, true]);
    }
  });

  test("one call or several, as asked", async () => {
    const two = writeCalls(format.grammar, [good, call("switch", { on: false })]);
    const [many, one] = [build(false), build(true)];
    if (many === undefined || one === undefined) return;
    if (format.grammar.between !== undefined) expect([two, await accepts(compiler, many, two)]).toEqual([two, true]);
    expect([two, await accepts(compiler, one, two)]).toEqual([two, false]);
    const single = writeCalls(format.grammar, [good]);
    expect(await accepts(compiler, one, single)).toBe(true);
    expect(await accepts(compiler, one, single + single)).toBe(false);
  });
});

test("functionary: text is a message to all, and calls stand behind a mark", async () => {
  const { grammar, openers } = functionary;
  const ebnf = buildGrammar({
    messages: grammar.messages,
    calls: { tools, grammar, openers, mode: "strict", single: false, isEnd: () => false },
  })!;
  const args = '{"city": "Rome", "days": 2}';
  for (const text of [
    "all\nHello > you",
    `get_weather\n${args}`,
    `all\nWait.>>>get_weather\n${args}`,
    `get_weather\n${args}>>>switch\n{"on":true}`,
  ]) {
    expect([text, await accepts(compiler, ebnf, text)]).toEqual([text, true]);
  }
  for (const text of [
    "Hello",
    'get_weather\n{"city": "Paris", "days": 2}',
    "all\nWait.>>>get_rain\n{}",
    'all\nWait.>>>switch\n{"on": 1}',
  ]) {
    expect([text, await accepts(compiler, ebnf, text)]).toEqual([text, false]);
  }
  const parser = functionary.parser({ tools, startsInReasoning: false });
  const deltas = [...parser.push("all\nHello"), ...parser.finish()];
  expect(deltas.map((d) => (d.type === "text" ? d.text : d.type)).join("")).toBe("Hello");
});

describe("messages (harmony)", () => {
  const { grammar, openers, reasoning } = harmony;
  const calls = { tools, grammar, openers, single: false, isEnd: (text: string) => text === "<|call|>" };
  const build = (request: Partial<GrammarRequest>): string => buildGrammar({ messages: grammar.messages, reasoning, ...request })!;
  const analysis = "<|channel|>analysis<|message|>Let me {think} of <it>.<|end|><|start|>assistant";
  const final = "<|channel|>final<|message|>";
  const header = "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>";
  const schema = { type: "object", properties: { n: { type: "integer" } }, required: ["n"], additionalProperties: false };
  const constraint = { kind: "schema" as const, schema, strict: true, param: "response_format" };

  test.each([
    [
      "a schema holds the final channel, and reasoning is free",
      { constraint },
      [`${analysis}${final}{"n": 1}`, `${final}{"n":2}`, `${analysis}${analysis}${final}{"n":2}`],
      [`${analysis}${final}Well`, '{"n": 1}', analysis, `${analysis}{"n":1}`],
    ],
    [
      "reasoning that the prompt opened",
      { constraint, startsInReasoning: true },
      [`Hm.<|end|><|start|>assistant${final}{"n":1}`],
      [`${final}{"n":1}`],
    ],
    [
      "required calls",
      { calls: { ...calls, mode: "forced" as const } },
      [`${analysis}${header}{"city":"Rome","days":2}`, `${header}{"city":"Oslo","days":2}`],
      [`${header}{"city":"Rome","days":8}`, `${final}Hello`, `${analysis}`],
    ],
    [
      "strict tools that may be called",
      { calls: { ...calls, mode: "strict" as const } },
      [`${analysis}${final}Hello`, `${analysis}${header}{"city":"Rome","days":2}`],
      [`${header}{"city":"Paris","days":2}`],
    ],
    [
      "calls beside a schema",
      { constraint, calls: { ...calls, mode: "allowed" as const } },
      [`${final}{"n":1}`, `${header}{"city":"Rome","days":2}`],
      [`${final}Hello`],
    ],
    [
      "a grammar of the client's own",
      { constraint: { kind: "ebnf" as const, text: 'root ::= word " " word\nword ::= [a-z]+', param: "grammar" } },
      [`${analysis}${final}a bc`],
      [`${final}a`, "a bc"],
    ],
  ])("%s", async (_name, request, yes, no) => {
    const ebnf = build(request);
    for (const text of yes) expect([text, await accepts(compiler, ebnf, text)]).toEqual([text, true]);
    for (const text of no) expect([text, await accepts(compiler, ebnf, text)]).toEqual([text, false]);
  });
});
