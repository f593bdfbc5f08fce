/** Whatever the grammar of a schema permits, the schema accepts: sentences drawn at random, without a model, against ajv. */
import { afterAll, setDefaultTimeout, test, expect } from "bun:test";
import fc from "fast-check";
import { buildGrammar } from "../../src/engine/grammar/build.ts";
import { vocabularyOf } from "../../src/engine/grammar/vocabulary.ts";
import { GrammarCompiler } from "../../src/engine/grammar/xgrammar.ts";
import { random as randomOf } from "../kernels/runners.ts";
import { byteTokenizer, VOCAB } from "./fakes.ts";
import { ajv, schemas } from "./schemas.ts";
import { sentence } from "./sentences.ts";

setDefaultTimeout(120_000);
const SEED = Number(process.env.ALLOY_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
const RUNS = Number(process.env.ALLOY_TEST_RUNS ?? 60);
console.log(`seed ${SEED} (ALLOY_TEST_SEED=${SEED} repeats it, ALLOY_TEST_RUNS sets how many)`);
const random = randomOf(SEED);

const compiler = new GrammarCompiler(vocabularyOf(byteTokenizer, VOCAB, ""));
afterAll(() => compiler.free());

test("what is drawn from the grammars of random schemas satisfies them", async () => {
  let finished = 0;
  for (const schema of fc.sample(schemas, { seed: SEED, numRuns: RUNS })) {
    const ebnf = buildGrammar({ constraint: { kind: "schema", schema, strict: true, param: "format" } })!;
    const valid = ajv.compile(schema);
    for (let round = 0; round < 4; round++) {
      const text = await sentence(compiler, ebnf, random, { length: 30 * round, limit: 2000 });
      if (text === undefined) continue;
      finished++;
      if (!valid(JSON.parse(text))) throw new Error(`${ajv.errorsText(valid.errors)} in ${text} of ${JSON.stringify(schema)}`);
    }
  }
  expect(finished).toBeGreaterThan(2 * RUNS);
});
