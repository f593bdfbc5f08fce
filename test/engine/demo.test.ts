/** The engine on the demo model: real tokenizer, template, kernels and sampling. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import type { ChatMessage, ToolSpec } from "../../src/chat/api.ts";
import type { Engine, GenerateRequest } from "../../src/engine/api.ts";
import { commonTokens } from "../../src/engine/cache/tree.ts";
import { createEngine } from "../../src/engine/create.ts";
import { collect, errorOf, type Answer } from "./fakes.ts";

let engine: Engine;
beforeAll(async () => void (engine = await createEngine({ place: "here", models: ["demo"], parallel: 10 })));
afterAll(() => engine.close());

const user = (content: string): ChatMessage[] => [{ role: "user", content }];
type Chat = Extract<GenerateRequest["prompt"], { kind: "chat" }>;

function ask(messages: ChatMessage[], over: Partial<GenerateRequest> = {}, chat: Partial<Chat> = {}): Promise<Answer> {
  const prompt: Chat = { kind: "chat", messages, ...chat };
  return collect(engine.generate({ id: "test", model: "demo", prompt, sampling: { temperature: 0 }, ...over }));
}

const reasoning = (a: Answer): string =>
  a.events.map((e) => (e.type === "delta" && e.delta.type === "reasoning" ? e.delta.text : "")).join("");

const weather: ToolSpec = {
  name: "get_weather",
  description: "Get the weather of a city",
  parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
};

test("knows the capital of France", async () => {
  const { text, end, start } = await ask(user("What is the capital of France?"));
  expect(text).toContain("Paris");
  expect(end.reason).toBe("stop");
  expect(end.usage.promptTokens).toBe(start.promptTokens);
  expect(end.usage.completionTokens).toBe(end.ids.length);
  expect(await engine.detokenize("demo", end.ids)).toBe(text);
});

test("calls a tool", async () => {
  const { events, end, text } = await ask(user("What is the weather in Paris?"), {}, { tools: [weather] });
  const deltas = events.flatMap((e) => (e.type === "delta" ? [e.delta] : []));
  expect(deltas[0]).toMatchObject({ type: "tool_call_start", index: 0, name: "get_weather" });
  const json = deltas.map((d) => (d.type === "tool_call_arguments" ? d.text : "")).join("");
  expect(JSON.parse(json)).toEqual({ city: "Paris" });
  expect(end.reason).toBe("tool_calls");
  expect(text).toBe("");
});

test("thinks when asked to, and not when not", async () => {
  const on = await ask(user("What is 12 + 30?"), {}, { thinking: "on" });
  expect(reasoning(on)).toContain("42");
  expect(on.text).toContain("42");
  expect(on.text).not.toContain("think>");
  expect(on.end.usage.reasoningTokens).toBeGreaterThan(5);
  const off = await ask(user("What is 12 + 30?"), {}, { thinking: "off" });
  expect(reasoning(off)).toBe("");
  expect(off.text).toContain("42");
  expect(off.end.usage.reasoningTokens).toBe(0);
});

test("log-probabilities go with the tokens", async () => {
  const { events, text, end } = await ask(user("What is the capital of France?"), { logprobs: 3, sampling: { temperature: 1, seed: 5 } });
  const all = events.flatMap((e) => (e.type === "delta" ? (e.logprobs ?? []) : []));
  expect(all.map((l) => l.id)).toEqual(end.ids);
  expect(all.map((l) => l.token).join("")).toBe(text);
  for (const l of all) {
    expect(l.logprob).toBeLessThanOrEqual(1e-4);
    expect(l.top).toHaveLength(3);
    expect(l.top[0].logprob).toBeGreaterThanOrEqual(l.top[1].logprob);
    expect(l.top.reduce((sum, t) => sum + Math.exp(t.logprob), 0)).toBeLessThan(1 + 1e-4);
    expect(l.logprob).toBeLessThanOrEqual(l.top[0].logprob);
  }
});

test("stop strings end the answer and are not part of it", async () => {
  const { text, end } = await ask(user("What is the capital of France?"), { stop: ["nothing like it", "Paris"] });
  expect(text).toBe("The capital of France is ");
  expect(end.reason).toBe("stop");
  expect(end.stop).toBe("Paris");
  const across = await ask(user("What is the capital of France?"), { stop: ["tal of Fr"] });
  expect(across.text).toBe("The capi");
});

test("a logit bias bans and forces tokens", async () => {
  const { ids } = await engine.tokenize("demo", { kind: "text", text: " Paris", addSpecial: false });
  const banned = await ask(user("What is the capital of France?"), { sampling: { temperature: 0, logitBias: { [ids.at(-1)!]: -100 } } });
  expect(banned.text).not.toContain("Paris");
  const forced = await ask(user("What is the capital of France?"), {
    maxTokens: 3,
    sampling: { temperature: 0, logitBias: { [ids.at(-1)!]: 100 } },
  });
  expect(forced.text.replaceAll("Paris", "").trim()).toBe("");
});

test("a long conversation's second turn computes only what is new, and says the same as without a cache", async () => {
  const long = `What is the capital of France? ${"Please answer in one short sentence. ".repeat(240)}`;
  const ids = async (messages: ChatMessage[]) => (await engine.tokenize("demo", { kind: "chat", messages })).ids;
  const first = await ask(user(long), { maxTokens: 40 });
  const turns: ChatMessage[] = [...user(long), { role: "assistant", content: first.text }, { role: "user", content: "And of Spain?" }];
  const known = Int32Array.of(...(await ids(user(long))), ...first.end.ids);
  const shared = commonTokens(known, Int32Array.from(await ids(turns)));
  expect(first.start.promptTokens).toBeGreaterThan(2000);
  // The answer, too, as far as the template writes it again as it was generated.
  expect(shared).toBeGreaterThan(first.start.promptTokens - 10);
  const warm = await ask(turns, { maxTokens: 40 });
  expect(warm.end.usage.cachedTokens).toBeLessThanOrEqual(shared);
  expect(warm.end.usage.cachedTokens).toBeGreaterThan(shared - 8);
  await engine.unload("demo");
  const cold = await ask(turns, { maxTokens: 40 });
  expect(cold.end.usage.cachedTokens).toBe(0);
  expect(warm.text).toBe(cold.text);
});

test("a template that leaves old reasoning out shares what comes before it", async () => {
  const question = `${"You know the capitals of all countries. ".repeat(12)}What is the capital of France?`;
  const first = await ask(user(question), { maxTokens: 60 }, { thinking: "on" });
  expect(reasoning(first)).not.toBe("");
  const turns: ChatMessage[] = [
    ...user(question),
    { role: "assistant", content: first.text, reasoning: reasoning(first) },
    { role: "user", content: "And of Spain?" },
  ];
  const ids = async (messages: ChatMessage[]) => (await engine.tokenize("demo", { kind: "chat", messages, thinking: "on" })).ids;
  const shared = commonTokens(Int32Array.of(...(await ids(user(question))), ...first.end.ids), Int32Array.from(await ids(turns)));
  const second = await ask(turns, { maxTokens: 8 }, { thinking: "on" });
  // Up to where the answer's reasoning was, and no further.
  expect(shared).toBeWithin(first.start.promptTokens - 8, first.start.promptTokens + 8);
  expect(second.end.usage.cachedTokens).toBeWithin(shared - 7, shared + 1);
});

describe("what else runs in the batch changes nothing", () => {
  const questions = ["Who are you?", "Name a colour.", "Tell me a story about a cat.", "What is 7 + 8?", "What do bees make?"];
  const filler = `${"One two three four five six seven eight. ".repeat(20)} What comes next?`;
  for (const temperature of [0, 1, 1.5]) {
    test(`temperature ${temperature}`, async () => {
      const sampling = (seed: number) => ({ temperature, seed, topP: 0.95, repeatPenalty: 1.1 });
      const run = (text: string, seed: number) => ask(user(text), { maxTokens: 40, ignoreEos: true, sampling: sampling(seed) });
      const alone: string[] = [];
      for (const [i, q] of questions.entries()) alone.push((await run(q, i)).text);
      // Prompts of several lengths that arrive while others decode.
      const others = [filler, "x", filler.slice(7), "What is the capital of Italy?"].map((q, i) => run(q, 100 + i));
      await Bun.sleep(20);
      const together = await Promise.all(questions.map((q, i) => run(q, i)));
      await Promise.all(others);
      expect(together.map((a) => a.text)).toEqual(alone);
    });
  }
});

test("what cannot be is refused with numbers", async () => {
  const long = await errorOf(ask(user("word ".repeat(5000))));
  expect(long.code).toBe("context_length_exceeded");
  expect(long.data).toMatchObject({ window: 4096 });
  expect(Number(long.data?.tokens)).toBeGreaterThan(4096);
  expect((await errorOf(ask(user("x"), { sampling: { temperature: -1 } }))).code).toBe("invalid_value");
  expect((await errorOf(ask(user("x"), { model: "no-such-model" }))).code).toBe("model_not_found");
  expect((await errorOf(createEngine({ place: "here", device: "abacus" }))).code).toBe("bad_argument");
});

test("in a worker: the same answer, and a file by its path or name", async () => {
  const path = join(import.meta.dir, "../../assets/alloy-demo-q8_0.gguf");
  const inWorker = await createEngine({ models: [path], parallel: 2 });
  try {
    expect((await inWorker.models())[0].name).toBe("alloy-demo-q8_0");
    for (const model of [path, "alloy-demo-q8_0", "ALLOY-demo-q8_0:latest"]) {
      const prompt: Chat = { kind: "chat", messages: user("What is the capital of France?") };
      const { text } = await collect(inWorker.generate({ id: "w", model, prompt, sampling: { temperature: 0 } }));
      expect(text).toContain("Paris");
    }
    expect(await inWorker.loaded()).toHaveLength(1);
    expect((await errorOf(inWorker.model("assets/alloy-demo-q8_0.gguf"))).code).toBe("model_not_found");
  } finally {
    await inWorker.close();
  }
});
