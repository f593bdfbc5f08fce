/** Whatever the grammar of a format's calls permits, the format's own parser reads as calls of the tools, with arguments that fit. */
import { expect, setDefaultTimeout, test } from "bun:test";
import Ajv from "ajv/dist/2020";
import type { ToolSpec } from "../../src/chat/api.ts";
import { TOOL_FORMATS } from "../../src/chat/formats/index.ts";
import { outputParser } from "../../src/chat/parser.ts";
import { buildGrammar } from "../../src/engine/grammar/build.ts";
import { vocabularyOf } from "../../src/engine/grammar/vocabulary.ts";
import { GrammarCompiler } from "../../src/engine/grammar/xgrammar.ts";
import { random as randomOf } from "../kernels/runners.ts";
import { byteTokenizer, VOCAB } from "./fakes.ts";
import { sentence } from "./sentences.ts";

setDefaultTimeout(120_000);
const SEED = Number(process.env.ALLOY_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
console.log(`seed ${SEED} (ALLOY_TEST_SEED=${SEED} repeats it)`);
const random = randomOf(SEED);

const tools: ToolSpec[] = [
  {
    name: "get_weather",
    parameters: {
      type: "object",
      properties: {
        city: { type: "string", enum: ["Oslo", "Rome"] },
        days: { type: "integer", minimum: 1, maximum: 7 },
        dry: { type: "boolean" },
      },
      required: ["city", "days"],
      additionalProperties: false,
    },
  },
  {
    name: "switch",
    parameters: { type: "object", properties: { on: { type: "boolean" } }, required: ["on"], additionalProperties: false },
  },
];
const ajv = new Ajv({ strict: false });

const held = TOOL_FORMATS.filter((f) => f.grammar.messages === undefined || f.reasoning === undefined);

test.each(held.map((f) => [f.name, f] as const))("%s", async (_name, format) => {
  const compiler = new GrammarCompiler(vocabularyOf(byteTokenizer, VOCAB, ""));
  for (const single of [true, false]) {
    const ebnf = buildGrammar({
      calls: { tools, grammar: format.grammar, openers: format.openers, mode: "forced", single, isEnd: () => false },
    })!;
    for (let round = 0; round < 5; round++) {
      const text = (await sentence(compiler, ebnf, random))!;
      const parser = outputParser({ tools, format, startsInReasoning: false });
      const deltas = [...parser.push(text), ...parser.finish()];
      const calls = deltas.flatMap((d) => (d.type === "tool_call_start" ? [d.name] : []));
      expect(calls.length, text).toBeGreaterThan(0);
      calls.forEach((name, index) => {
        const json = deltas.map((d) => (d.type === "tool_call_arguments" && d.index === index ? d.text : "")).join("");
        const { parameters } = tools.find((t) => t.name === name)!;
        if (!ajv.validate(parameters!, JSON.parse(json))) throw new Error(`${ajv.errorsText()}: ${json} of ${text}`);
      });
    }
  }
  compiler.free();
});
