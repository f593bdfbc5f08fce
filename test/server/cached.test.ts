/** What every dialect says of a prompt that was there before: all but its last token came from the cache. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { Engine } from "../../src/engine/api.ts";
import { createEngine } from "../../src/engine/create.ts";
import { createServer, type RunningServer } from "../../src/server/app.ts";
import { sseFrames } from "./harness.ts";

let engine: Engine;
let server: RunningServer;
beforeAll(async () => {
  engine = await createEngine({ models: ["demo"], parallel: 4 });
  server = await createServer({ engine, host: "127.0.0.1", port: 0, env: {} });
}, 120_000);
afterAll(async () => {
  await server.stop(0);
  await engine.close();
});

const send = (path: string, body: object) =>
  fetch(server.url + path, { method: "POST", headers: { "anthropic-version": "2023-06-01" }, body: JSON.stringify(body) });

/** The same request twice; its prompt begins with the name of the test, so that nothing of it is there the first time. */
async function twice<T>(path: string, body: object): Promise<[T, T]> {
  const ask = async () => (await (await send(path, body)).json()) as T;
  return [await ask(), await ask()];
}

const question = (name: string): string => `${name}! ${"Please answer in one short sentence. ".repeat(20)}What is the capital of France?`;
const messages = (name: string): object[] => [{ role: "user", content: question(name) }];

/** A block of 64 tokens is not copied for fewer than 8 of them. */
const reused = (prompt: number): number => ((prompt - 1) % 64 < 8 ? prompt - 1 - ((prompt - 1) % 64) : prompt - 1);
/** No more than what the template begins with. */
const FIRST = 8;

interface Details {
  usage: { prompt_tokens: number; prompt_tokens_details: { cached_tokens: number } };
  timings: { cache_n: number; prompt_n: number };
}

test("chat completions", async () => {
  const [first, again] = await twice<Details>("/v1/chat/completions", { model: "demo", max_tokens: 4, messages: messages("Chat") });
  const { prompt_tokens } = first.usage;
  expect(prompt_tokens).toBeGreaterThan(150);
  expect(first.usage.prompt_tokens_details.cached_tokens).toBeLessThan(FIRST);
  expect(again.usage).toMatchObject({ prompt_tokens, prompt_tokens_details: { cached_tokens: reused(prompt_tokens) } });
  expect(again.timings).toMatchObject({ cache_n: reused(prompt_tokens), prompt_n: prompt_tokens - reused(prompt_tokens) });
  const stream = { model: "demo", max_tokens: 4, messages: messages("Chat"), stream: true, stream_options: { include_usage: true } };
  const frames = sseFrames(await (await send("/v1/chat/completions", stream)).text());
  const usage = frames.flatMap(({ data }) => (data && data !== "[DONE]" ? [JSON.parse(data).usage] : [])).findLast((u) => u);
  expect(usage).toMatchObject({ prompt_tokens, prompt_tokens_details: { cached_tokens: reused(prompt_tokens) } });
});

test("completions", async () => {
  const [first, again] = await twice<Details>("/v1/completions", { model: "demo", max_tokens: 4, prompt: question("Text") });
  const { prompt_tokens } = first.usage;
  expect(first.usage.prompt_tokens_details.cached_tokens).toBeLessThan(FIRST);
  expect(again.usage).toMatchObject({ prompt_tokens, prompt_tokens_details: { cached_tokens: reused(prompt_tokens) } });
});

test("responses", async () => {
  type Body = { usage: { input_tokens: number; input_tokens_details: { cached_tokens: number } } };
  const [first, again] = await twice<Body>("/v1/responses", { model: "demo", max_output_tokens: 16, input: question("Responses") });
  const { input_tokens } = first.usage;
  expect(first.usage.input_tokens_details.cached_tokens).toBeLessThan(FIRST);
  expect(again.usage).toMatchObject({ input_tokens, input_tokens_details: { cached_tokens: reused(input_tokens) } });
});

test("messages: input_tokens is what was not in the cache", async () => {
  const body = { model: "demo", max_tokens: 4, messages: messages("Messages") };
  type Body = { usage: { input_tokens: number; cache_read_input_tokens: number; cache_creation_input_tokens: number } };
  const [first, again] = await twice<Body>("/v1/messages", body);
  expect(first.usage.cache_read_input_tokens).toBeLessThan(FIRST);
  const all = first.usage.input_tokens + first.usage.cache_read_input_tokens;
  const expected = { input_tokens: all - reused(all), cache_read_input_tokens: reused(all), cache_creation_input_tokens: 0 };
  expect(again.usage).toMatchObject(expected);
  const frames = sseFrames(await (await send("/v1/messages", { ...body, stream: true })).text());
  expect(JSON.parse(frames.find((f) => f.event === "message_delta")!.data!).usage).toMatchObject(expected);
  expect(await (await send("/v1/messages/count_tokens", { model: "demo", messages: messages("Messages") })).json()).toEqual({
    input_tokens: all,
  });
});

test("Ollama counts the whole prompt, cached or not", async () => {
  const body = { model: "demo", stream: false, options: { num_predict: 4 }, messages: messages("Ollama") };
  const [first, again] = await twice<{ prompt_eval_count: number }>("/api/chat", body);
  expect(first.prompt_eval_count).toBeGreaterThan(150);
  expect(again.prompt_eval_count).toBe(first.prompt_eval_count);
});

test("llama-server's completion", async () => {
  type Body = { tokens_evaluated: number; tokens_cached: number; timings: Details["timings"] };
  const [first, again] = await twice<Body>("/completion", { n_predict: 4, prompt: question("Native") });
  const { tokens_evaluated } = first;
  expect(first.tokens_cached).toBeLessThan(FIRST);
  const cached = reused(tokens_evaluated);
  const timings = { cache_n: cached, prompt_n: tokens_evaluated - cached };
  expect(again).toMatchObject({ tokens_evaluated, tokens_cached: cached, timings });
});

test("the counters of metrics say the same", async () => {
  const metrics = async () => {
    const text = await (await fetch(`${server.url}/metrics`)).text();
    return (name: string, labels = ""): number => Number(new RegExp(`^${name}{[^}]*${labels}[^}]*} (\\d+)$`, "m").exec(text)![1]);
  };
  const before = await metrics();
  const [first, again] = await twice<Details>("/v1/chat/completions", { model: "demo", max_tokens: 4, messages: messages("Metrics") });
  const after = await metrics();
  const grown = (name: string): number => after(name) - before(name);
  const { prompt_tokens, prompt_tokens_details } = first.usage;
  const cached = prompt_tokens_details.cached_tokens + again.usage.prompt_tokens_details.cached_tokens;
  expect(grown("vllm:prefix_cache_queries_total")).toBe(2 * prompt_tokens);
  expect(grown("vllm:prefix_cache_hits_total")).toBe(cached);
  // The last of four tokens is drawn, and not computed.
  expect(grown("vllm:iteration_tokens_total_sum")).toBe(2 * prompt_tokens - cached + 2 * 3);
  expect(grown("vllm:iteration_tokens_total_count")).toBeGreaterThanOrEqual(8);
  const blocks = (state: string): number => after("alloy_kv_cache_blocks", `state="${state}"`);
  expect(blocks("used")).toBe(0);
  expect(blocks("cached") * 64).toBeGreaterThan(prompt_tokens);
  expect(blocks("free") + blocks("cached")).toBe((await engine.loaded())[0].cache.blocks);
});
