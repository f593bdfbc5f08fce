/** What a grammar leaves no choice of is not drawn, and the answer is what it would be. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import type { ToolSpec } from "../../src/chat/api.ts";
import type { Constraint, Engine, GenerateRequest, ModelWork } from "../../src/engine/api.ts";
import { EngineCore } from "../../src/engine/core.ts";
import { createEngine } from "../../src/engine/create.ts";
import { type Answer, collect, fakeParts, request } from "./fakes.ts";
import { ajv } from "./schemas.ts";

setDefaultTimeout(120_000);
let engine: Engine;
beforeAll(async () => void (engine = await createEngine({ place: "here", models: ["demo"], parallel: 8, grammarTimeout: 60_000 })));
afterAll(() => engine.close());

type Chat = Extract<GenerateRequest["prompt"], { kind: "chat" }>;
const schema = (s: unknown): Constraint => ({ kind: "schema", schema: s, strict: true, param: "format" });

function ask(over: Partial<GenerateRequest>, chat: Partial<Chat> = {}): Promise<Answer> {
  const prompt: Chat = { kind: "chat", messages: [{ role: "user", content: "Describe a person." }], thinking: "off", ...chat };
  return collect(engine.generate({ id: "test", model: "demo", prompt, sampling: { temperature: 0 }, maxTokens: 300, ...over }));
}

/** The answer, and what the model did for it. */
async function counted(...request: Parameters<typeof ask>): Promise<{ answer: Answer; steps: number; forced: number }> {
  const work = async (): Promise<ModelWork> => structuredClone((await engine.loaded())[0].work);
  const before = await work();
  const answer = await ask(...request);
  const after = await work();
  return { answer, steps: after.steps - before.steps, forced: after.forced - before.forced };
}

const text = { type: "string", maxLength: 12 };
const person = {
  type: "object",
  properties: { first_name: text, last_name: text, married: { type: "boolean" }, country_of_birth: { enum: ["NO", "IT", "FR"] } },
  required: ["first_name", "last_name", "married", "country_of_birth"],
  additionalProperties: false,
};

test("where nothing is open the text is the same, in a few steps", async () => {
  const constraint: Constraint = {
    kind: "choice",
    options: ['{"status": "ok", "übrig": [1, 2, 3], "message": "nothing to do here 😀"}'],
    param: "c",
  };
  const [jumped, drawn] = [await counted({ constraint }), await counted({ constraint, logprobs: 0 })];
  expect(jumped.answer.text).toBe(drawn.answer.text);
  expect(drawn.forced).toBe(0);
  expect(jumped.forced).toBeGreaterThan(10);
  expect(jumped.steps).toBeLessThan(5);
  expect(drawn.steps).toBeGreaterThan(10);
});

test("answers fit their schema in fewer steps than they have tokens, which are the tokenizer's own", async () => {
  const { answer, steps, forced } = await counted({ constraint: schema(person) });
  expect(answer.end.reason).toBe("stop");
  if (!ajv.validate(person, JSON.parse(answer.text))) throw new Error(ajv.errorsText());
  const { ids, usage } = answer.end;
  expect(await engine.detokenize("demo", ids)).toBe(answer.text);
  expect(usage.completionTokens).toBe(ids.length);
  expect(forced).toBeGreaterThan(8);
  expect(steps).toBeLessThan(ids.length - forced / 2);
});

test("a required call begins with what its format writes", async () => {
  const tools: ToolSpec[] = [{ name: "describe_person", parameters: person }];
  const { answer, forced } = await counted({}, { tools, toolChoice: "required", singleCall: true });
  const calls = answer.events.flatMap((e) => (e.type === "delta" && e.delta.type === "tool_call_start" ? [e.delta.name] : []));
  expect(calls).toEqual(["describe_person"]);
  expect(answer.end.reason).toBe("tool_calls");
  expect(forced).toBeGreaterThan(12);
});

test("log-probabilities are those of draws, so that there every token is drawn", async () => {
  const { answer, forced } = await counted({ constraint: schema(person), logprobs: 1 });
  const entries = answer.events.flatMap((e) => (e.type === "delta" ? (e.logprobs ?? []) : []));
  expect(forced).toBe(0);
  expect(entries.map((e) => e.id)).toEqual(answer.end.ids);
});

test("limits and stop strings hold within what is forced", async () => {
  for (let maxTokens = 1; maxTokens < 24; maxTokens++) {
    const { end } = await ask({ constraint: schema(person), maxTokens });
    expect([maxTokens, end.reason, end.ids.length]).toEqual([maxTokens, "length", maxTokens]);
  }
  const { text: shown, end } = await ask({ constraint: schema(person), stop: ["t_name"] });
  expect(shown).toMatch(/^\{\s*"firs$/);
  expect([end.reason, end.stop]).toEqual(["stop", "t_name"]);
});

test("beside others each answer is what it is alone", async () => {
  const prompts = ["Describe a person.", "Who is Ann?", "Tell me of a king.", "Hello", "Describe a person."];
  const one = (content: string): Promise<Answer> => ask({ constraint: schema(person) }, { messages: [{ role: "user", content }] });
  const alone: string[] = [];
  for (const p of prompts) alone.push((await one(p)).text);
  const free = ask({ maxTokens: 120, ignoreEos: true });
  expect((await Promise.all(prompts.map(one))).map((a) => a.text)).toEqual(alone);
  await free;
});

test("a cache that is too small for all: every request gets its own answer, whoever has to give way", async () => {
  const made = fakeParts({ kvTokens: 160, maxSequences: 8, maxBatchTokens: 24 });
  const core: EngineCore = await EngineCore.create(made.parts, { contextLength: 150, parallel: 8, grammarTimeout: 60_000 }, () =>
    core.check(),
  );
  const constraint: Constraint = {
    kind: "regex",
    pattern: "(yes|no), because it is so and not otherwise[.!]{1,9} The (end|rest) is silence[.]",
    param: "r",
  };
  const ask = (i: number): Promise<Answer> =>
    collect(core.generate(request({ text: `question ${i}`, constraint, sampling: { temperature: 1, seed: i } })));
  const alone: string[] = [];
  for (let i = 0; i < 6; i++) alone.push((await ask(i)).text);
  for (const text of alone) expect(text).toMatch(new RegExp(`^${constraint.kind === "regex" ? constraint.pattern : ""}$`));
  expect((await Promise.all(alone.map((_, i) => ask(i)))).map((a) => a.text)).toEqual(alone);
  const [{ work }] = await core.loaded();
  expect(work.forced).toBeGreaterThan(12 * 30);
  expect(work.preemptions).toBeGreaterThan(0);
  core.check();
  await core.close();
});
