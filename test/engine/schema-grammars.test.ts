/** Whatever the grammar of a schema permits, the schema accepts: sentences drawn at random, without a model, against ajv. */
import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { buildGrammar } from "../../src/engine/grammar/build.ts";
import { vocabularyOf } from "../../src/engine/grammar/vocabulary.ts";
import { GrammarCompiler } from "../../src/engine/grammar/xgrammar.ts";
import { random as randomOf } from "../kernels/runners.ts";
import { byteTokenizer, VOCAB } from "./fakes.ts";
import { ajv, schemas } from "./schemas.ts";
import { accepts, sentence } from "./sentences.ts";

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

const build = (schema: unknown, strict = true): string =>
  buildGrammar({ constraint: { kind: "schema", schema, strict, param: "format" } })!;

/** What is wrong with a schema; undefined: nothing. Anything but a refusal is a fault. */
function refusal(schema: unknown, strict = true): string | undefined {
  try {
    build(schema, strict);
    return undefined;
  } catch (e) {
    expect(e).toMatchObject({ code: "invalid_json_schema", param: "format" });
    return (e as Error).message;
  }
}

const KEYWORDS = [
  "type",
  "properties",
  "required",
  "items",
  "prefixItems",
  "anyOf",
  "allOf",
  "enum",
  "const",
  "pattern",
  "minLength",
  "maxItems",
  "minimum",
];
const noise: fc.Arbitrary<unknown> = fc.letrec<{ any: unknown }>((tie) => ({
  any: fc.oneof(
    { maxDepth: 4, depthSize: "small" },
    fc.constantFrom(
      "object",
      "array",
      "string",
      "number",
      null,
      true,
      false,
      0,
      -1,
      1.5,
      1e9,
      "",
      "#",
      "#/$defs/a",
      "#/x/y",
      "(",
      "a{9999}",
      [],
      {},
    ),
    fc.array(tie("any"), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom(...KEYWORDS, "$ref", "$defs", "additionalProperties", "oneOf", "format", "not"), tie("any"), {
      maxKeys: 4,
    }),
  ),
})).any;

describe("limits", () => {
  test("whatever comes as a schema makes a grammar or a refusal", () => {
    fc.assert(
      fc.property(noise, fc.boolean(), (schema, strict) => void refusal(schema, strict)),
      { seed: SEED, numRuns: 20 * RUNS },
    );
  });

  const nested = (depth: number): unknown => (depth === 0 ? { type: "null" } : { type: "array", items: nested(depth - 1) });
  const chain = Object.fromEntries(
    Array.from({ length: 5000 }, (_, i) => [`d${i}`, { type: "object", properties: { x: { $ref: `#/$defs/d${i + 1}` } } }]),
  );
  const doubling = Object.fromEntries(
    Array.from({ length: 25 }, (_, i) => {
      const next = { $ref: `#/$defs/d${i + 1}`, minProperties: 0 };
      return [`d${i}`, { type: "object", properties: { x: next, y: next } }];
    }),
  );
  test.each([
    ["nesting", nested(70), "is nested more than 64 deep"],
    ["chains of references", { $defs: { ...chain, d5000: {} }, $ref: "#/$defs/d0" }, "is nested more than 300 deep"],
    ["references that double", { $defs: { ...doubling, d25: {} }, $ref: "#/$defs/d0" }, "makes the grammar too large"],
    ["size", { enum: ["x".repeat(1 << 20)] }, "bytes long; at most 1048576 are taken"],
    ["no schema among several", { allOf: [null, {}] }, "#/allOf/0 must be an object or true, not null"],
    ["one of several that permits nothing", { allOf: [{ type: "string" }, false] }, "#/allOf/1 must be an object or true, not false"],
    [
      "a reference to no schema beside others",
      { $defs: { a: false }, allOf: [{ type: "string" }, { $ref: "#/$defs/a" }] },
      "#/$defs/a must be an object or true, not false",
    ],
    ["counts", { type: "array", maxItems: 5000 }, "# has the keyword maxItems above 1024"],
    ["counts inside of counts", { type: "string", pattern: "((a{1,99}b){1,99}c){1,99}" }, "#/pattern"],
    [
      "a reference to nothing but itself",
      { $defs: { a: { $ref: "#/$defs/b" }, b: { $ref: "#/$defs/a" } }, $ref: "#/$defs/a" },
      "refers to itself",
    ],
  ])("%s", (_name, schema, reason) => {
    expect(refusal(schema, reason !== "makes the grammar too large")).toContain(reason);
  });

  test.each(
    "not if then else dependentSchemas dependentRequired dependencies contains uniqueItems multipleOf patternProperties propertyNames minProperties maxProperties unevaluatedProperties unevaluatedItems $dynamicRef"
      .split(" ")
      .map((k) => [k]),
  )("strict refuses %s by its name and place; without strict it is ignored", (keyword) => {
    const schema = { type: "object", properties: { "a/b": { type: "array", items: { [keyword]: { type: "string" } } } } };
    expect(refusal(schema)).toContain(`#/properties/a~1b/items has the keyword ${keyword}, which is not supported`);
    expect(refusal(schema, false)).toBeUndefined();
  });

  test("formats that are known are held, email too; others are ignored", async () => {
    for (const [format, yes, no] of [
      ["email", "ann@example.org", "ann"],
      ["date", "2026-02-28", "2026-02-31"],
      ["ipv4", "10.0.0.255", "10.0.0.256"],
      ["uuid", "123e4567-e89b-12d3-a456-426614174000", "123e4567"],
    ]) {
      const ebnf = build({ type: "string", format });
      expect([format, await accepts(compiler, ebnf, JSON.stringify(yes)), await accepts(compiler, ebnf, JSON.stringify(no))]).toEqual([
        format,
        true,
        false,
      ]);
    }
  });
});
