/** Answers held to grammars, on the demo model at temperature 1: whatever it wanted to say, what comes out is what was asked for. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import type { ToolSpec } from "../../src/chat/api.ts";
import type { Constraint, Engine, GenerateRequest } from "../../src/engine/api.ts";
import { createEngine } from "../../src/engine/create.ts";
import { collect, errorOf, type Answer } from "./fakes.ts";
import { ajv, schemas } from "./schemas.ts";

setDefaultTimeout(120_000);
const SEED = Number(process.env.ALLOY_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
console.log(`seed ${SEED} (ALLOY_TEST_SEED=${SEED} repeats it)`);

let engine: Engine;
beforeAll(async () => void (engine = await createEngine({ place: "here", models: ["demo"], parallel: 16, grammarTimeout: 60_000 })));
afterAll(() => engine.close());

type Chat = Extract<GenerateRequest["prompt"], { kind: "chat" }>;

function request(over: Partial<GenerateRequest>, chat: Partial<Chat> = {}): GenerateRequest {
  const prompt: Chat = { kind: "chat", messages: [{ role: "user", content: "Tell me about Paris." }], ...chat };
  return { id: "test", model: "demo", prompt, sampling: { temperature: 1, seed: SEED }, maxTokens: 700, ...over };
}

const ask = (over: Partial<GenerateRequest>, chat: Partial<Chat> = {}): Promise<Answer> => collect(engine.generate(request(over, chat)));
const schema = (s: unknown, strict = true): Constraint => ({ kind: "schema", schema: s, strict, param: "format" });

/** The answer satisfies the schema, or was cut. */
function expectValid(s: object | boolean, { text, end }: Answer): void {
  const what = `${JSON.stringify(s)}\n${text}`;
  if (end.reason !== "stop") return;
  let value: unknown;
  expect(() => (value = JSON.parse(text)), what).not.toThrow();
  if (!ajv.validate(s, value)) throw new Error(`${ajv.errorsText()} in ${what}`);
}

describe("schemas", () => {
  test("what comes out of random schemas satisfies them", async () => {
    await Promise.all(
      fc
        .sample(schemas, { seed: SEED, numRuns: 20 })
        .map(async (s, i) => expectValid(s, await ask({ constraint: schema(s), sampling: { temperature: 1, seed: i }, maxTokens: 200 }))),
    );
  });

  test("references, also of a schema to itself", async () => {
    const s = {
      $defs: {
        node: { type: "object", properties: { v: { type: "integer" }, next: { anyOf: [{ $ref: "#/$defs/node" }, { type: "null" }] } } },
      },
      allOf: [{ $ref: "#/$defs/node" }, { required: ["next"] }],
    };
    for (let seed = 0; seed < 4; seed++) expectValid(s, await ask({ constraint: schema(s), sampling: { temperature: 1, seed } }));
  });

  test("properties come in the declared order, and others only where they are allowed", async () => {
    const integer = { type: "integer", minimum: 0, maximum: 9 };
    const s = { type: "object", properties: { b: integer, a: integer }, required: ["a", "b"] };
    const { text } = await ask({ constraint: schema(s) });
    expect(Object.keys(JSON.parse(text) as object)).toEqual(["b", "a"]);
  });

  test.each([
    [{ type: "object", properties: { a: { type: "foo" } } }, '#/properties/a/type is "foo"'],
    [{ properties: { a: { not: {} } } }, "#/properties/a has the keyword not"],
    [{ items: { type: "string", pattern: "(?=a)b" } }, '#/items/pattern "(?=a)b" looks ahead'],
    [{ type: "string", pattern: "(" }, "is no regular expression"],
    [{ $ref: "#/$defs/gone" }, '"#/$defs/gone", which the schema does not have'],
    [{ $ref: "other.json" }, "only references into the schema itself"],
    [{ $ref: "#" }, "refers to itself"],
    [{ anyOf: [{ $ref: "#" }, { type: "null" }] }, "refers to itself"],
    [false, "# is false"],
    [{ enum: [] }, "#/enum must be an array"],
    [{ type: "integer", minimum: 5, maximum: 4 }, "permits no integer"],
    [{ type: "array", uniqueItems: true }, "the keyword uniqueItems"],
    [{ type: "string", minLength: -1 }, "#/minLength must be a whole number"],
    [{ properties: 3 }, "#/properties must be an object, not 3"],
    [{ type: "object", properties: {}, required: ["x"], additionalProperties: false }, '#/required names "x"'],
  ])("refuses %j", async (s, reason) => {
    const error = await errorOf(ask({ constraint: schema(s) }));
    expect(error.code).toBe("invalid_json_schema");
    expect(error.param).toBe("format");
    expect(error.message).toContain(reason);
  });

  test("keywords that no grammar holds are ignored unless it is strict", async () => {
    const s = { type: "array", items: { enum: [1, 2] }, maxItems: 3, uniqueItems: true };
    const { text } = await ask({ constraint: schema(s, false) });
    expect(JSON.parse(text)).toBeArray();
  });
});

describe("other grammars", () => {
  test("any JSON object", async () => {
    const { text, end } = await ask({ constraint: { kind: "json", param: "format" } });
    if (end.reason === "stop") expect(JSON.parse(text)).toBeObject();
    expect(text[0]).toBe("{");
  });

  test("regular expressions, choices and EBNF", async () => {
    expect((await ask({ constraint: { kind: "regex", pattern: "(yes|no)!{2,4}", param: "r" } })).text).toMatch(/^(yes|no)!{2,4}$/);
    expect(["α", 'b"\\']).toContain((await ask({ constraint: { kind: "choice", options: ["α", 'b"\\'], param: "c" } })).text);
    const grammar = 'root ::= word (" " word){2}\nword ::= [a-f]{2,5} # letters';
    expect((await ask({ constraint: { kind: "ebnf", text: grammar, param: "g" } })).text).toMatch(/^[a-f]{2,5}( [a-f]{2,5}){2}$/);
  });

  test("a grammar that cannot be read is refused with the reason, and the next one works", async () => {
    const error = await errorOf(ask({ constraint: { kind: "ebnf", text: 'root ::= "a" gone', param: "grammar" } }));
    expect(error.code).toBe("invalid_grammar");
    expect(error.message).toContain("uses the rule 'gone', which is not defined (line 1, column 14)");
    expect((await ask({ constraint: { kind: "ebnf", text: 'root ::= "a"', param: "grammar" } })).text).toBe("a");
    expect((await errorOf(ask({ constraint: { kind: "regex", pattern: "a\\b", param: "r" } }))).message).toContain("'\\b'");
  });

  test("what would take long to compile is refused", async () => {
    const nested = "((a{1,1000}b){1,1000}c){1,1000}";
    expect((await errorOf(ask({ constraint: { kind: "regex", pattern: nested, param: "r" } }))).message).toContain("repeats");
    for (const text of [`root ::= ${nested.replaceAll(/[abc]/g, '"$&"')}`, `root ::= "${"a".repeat(1 << 16)}"`]) {
      expect((await errorOf(ask({ constraint: { kind: "ebnf", text, param: "g" } }))).code).toBe("invalid_grammar");
    }
  });

  test("a plain prompt, and end tokens that are to be ignored", async () => {
    const constraint: Constraint = { kind: "regex", pattern: "[0-9]{3}", param: "r" };
    const { text, end } = await ask({ constraint, ignoreEos: true, prompt: { kind: "text", text: "One, two," } });
    expect(text).toMatch(/^\d{3}$/);
    expect(end.reason).toBe("stop");
  });
});

test("reasoning is free, and the answer behind it is not", async () => {
  const s = {
    type: "object",
    properties: { sum: { type: "integer", minimum: 0, maximum: 99 } },
    required: ["sum"],
    additionalProperties: false,
  };
  const answer = await ask(
    { constraint: schema(s), sampling: { temperature: 0 } },
    { messages: [{ role: "user", content: "What is 12 + 30?" }], thinking: "on" },
  );
  expect(answer.end.usage.reasoningTokens).toBeGreaterThan(5);
  expectValid(s, answer);
  expect(answer.end.reason).toBe("stop");
});

const tools: ToolSpec[] = [
  {
    name: "get_weather",
    parameters: {
      type: "object",
      properties: { city: { type: "string", maxLength: 12 }, days: { type: "integer", minimum: 1, maximum: 7 } },
      required: ["city"],
    },
  },
  { name: "switch", parameters: { type: "object", properties: { on: { type: "boolean" } }, required: ["on"] } },
];

interface Call {
  name: string;
  json: string;
}

function callsOf({ events }: Answer): Call[] {
  const calls: Call[] = [];
  for (const e of events) {
    if (e.type !== "delta") continue;
    if (e.delta.type === "tool_call_start") calls.push({ name: e.delta.name, json: "" });
    else if (e.delta.type === "tool_call_arguments") calls[e.delta.index].json += e.delta.text;
  }
  return calls;
}

describe("calls", () => {
  test("required ones come, with arguments that fit", async () => {
    for (let seed = 0; seed < 6; seed++) {
      const answer = await ask(
        { sampling: { temperature: 1, seed } },
        { tools, toolChoice: "required", singleCall: true, thinking: "off" },
      );
      const [call, ...more] = callsOf(answer);
      expect(more).toEqual([]);
      expect(answer.end.reason).toBe("tool_calls");
      const parameters = tools.find((t) => t.name === call.name)!.parameters!;
      if (!ajv.validate(parameters, JSON.parse(call.json))) throw new Error(`${ajv.errorsText()} in ${call.json}`);
    }
  });

  test("strict ones that may be called: the model's own call fits its schema, and text stays what it was", async () => {
    const city = { type: "string", enum: ["Oslo", "Rome"] };
    const strict: ToolSpec[] = [
      {
        name: "get_weather",
        strict: true,
        parameters: {
          type: "object",
          properties: { city },
          required: ["city"],
          additionalProperties: false,
        },
      },
    ];
    const messages = [{ role: "user" as const, content: "What is the weather in Paris?" }];
    const [call] = callsOf(await ask({ sampling: { temperature: 0 } }, { messages, tools: strict, thinking: "off" }));
    expect(call.name).toBe("get_weather");
    if (!ajv.validate(strict[0].parameters!, JSON.parse(call.json))) throw new Error(`${ajv.errorsText()} in ${call.json}`);
    const question = { messages: [{ role: "user" as const, content: "What is the capital of France?" }], thinking: "off" as const };
    const free = await ask({ sampling: { temperature: 0 } }, { ...question, tools: strict.map((t) => ({ ...t, strict: false })) });
    const held = await ask({ sampling: { temperature: 0 } }, { ...question, tools: strict });
    expect(held.text).toBe(free.text);
  });

  test("a named one is the one that comes", async () => {
    const answer = await ask({}, { tools, toolChoice: { name: "switch" }, thinking: "off" });
    expect(callsOf(answer)).toEqual([{ name: "switch", json: expect.stringMatching(/^\{\s*"on":\s*(true|false)\s*\}$/) as string }]);
  });
});

describe("beside other requests", () => {
  test("many at once, each as alone, and those without a grammar as ever", async () => {
    const s = { type: "object", properties: { a: { type: "string", maxLength: 8 }, b: { type: "boolean" } }, required: ["a", "b"] };
    const free = (seed: number) => ask({ sampling: { temperature: 1, seed }, maxTokens: 20 });
    const held = (seed: number) => ask({ constraint: schema(s), sampling: { temperature: 1, seed } });
    const alone = [await free(1), await held(2), await held(3)].map((a) => a.text);
    const mixed = await Promise.all([
      free(1),
      held(2),
      held(3),
      ...Array.from({ length: 30 }, (_, i) => (i % 3 ? held(10 + i) : free(10 + i))),
    ]);
    expect(mixed.slice(0, 3).map((a) => a.text)).toEqual(alone);
    mixed.forEach((a, i) => (i > 3 && (i - 3) % 3 ? expectValid(s, a) : undefined));
  });

  test("cancelling one leaves nothing behind", async () => {
    const stop = new AbortController();
    const events = engine.generate(request({ constraint: { kind: "regex", pattern: "[ab]{400}", param: "r" } }), stop.signal);
    let tokens = 0;
    for await (const e of events) if (e.type === "delta" && ++tokens === 3) stop.abort();
    expect(tokens).toBeLessThan(20);
    expect((await ask({ constraint: { kind: "regex", pattern: "[ab]{4}", param: "r" } })).text).toMatch(/^[ab]{4}$/);
  });
});
