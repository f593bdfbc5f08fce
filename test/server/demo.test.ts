/** The server on the demo model: what scripted answers cannot show. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import OpenAI from "openai";
import type { Tool } from "openai/resources/responses/responses";
import type { Engine } from "../../src/engine/api.ts";
import { createEngine } from "../../src/engine/create.ts";
import { createServer, type RunningServer } from "../../src/server/app.ts";
import { parsePrometheus } from "./prometheus.ts";

let engine: Engine;
let server: RunningServer;
let client: OpenAI;
beforeAll(async () => {
  engine = await createEngine({ models: ["demo"], parallel: 4 });
  server = await createServer({ engine, host: "127.0.0.1", port: 0, env: {} });
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
}, 120_000);
afterAll(async () => {
  await server.stop(0);
  await engine.close();
});

const post = async (path: string, body: object) => (await fetch(server.url + path, { method: "POST", body: JSON.stringify(body) })).json();

test("a response knows the capital of France, and the next one goes on from it in the cache", async () => {
  const instructions = "You answer questions. Keep every answer short. ".repeat(10);
  const ask = { model: "demo", temperature: 0, max_output_tokens: 60, instructions };
  const first = await client.responses.create({ ...ask, input: "What is the capital of France?" });
  expect(first.output_text).toContain("Paris");
  const second = await client.responses.stream({ ...ask, input: "And what is 2 + 3?", previous_response_id: first.id }).finalResponse();
  expect(second.status).toBe("completed");
  expect(second.output_text).not.toBe("");
  expect(second.usage!.input_tokens).toBeGreaterThan(first.usage!.input_tokens);
  expect(second.usage!.input_tokens_details.cached_tokens).toBeGreaterThan(0);
});

test("a response calls a tool", async () => {
  const tool: Tool = {
    type: "function",
    name: "get_weather",
    description: "Get the weather of a city",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    strict: false,
  };
  const { output } = await client.responses.create({
    model: "demo",
    temperature: 0,
    input: "What is the weather in Paris?",
    tools: [tool],
  });
  expect(output.at(-1)).toMatchObject({ type: "function_call", name: "get_weather", arguments: expect.stringContaining("Paris") });
});

test("a response is held to a schema, and to a tool that it must call", async () => {
  const schema = { type: "object", properties: { city: { enum: ["Paris", "Rome"] } }, required: ["city"], additionalProperties: false };
  const format = { type: "json_schema" as const, name: "answer", schema, strict: true };
  const answer = await client.responses.create({ model: "demo", input: "What is the capital of France?", text: { format } });
  expect(JSON.parse(answer.output_text).city).toBeOneOf(["Paris", "Rome"]);
  const tool: Tool = { type: "function", name: "pick", parameters: schema, strict: true };
  const forced = await client.responses
    .stream({ model: "demo", input: "Say something.", tools: [tool], tool_choice: { type: "function", name: "pick" } })
    .finalResponse();
  const call = forced.output.at(-1)!;
  if (call.type !== "function_call") throw new Error(`a ${call.type} instead of a call`);
  expect(JSON.parse(call.arguments).city).toBeOneOf(["Paris", "Rome"]);
});

test("text, control tokens and half characters survive the tokenizer", async () => {
  const content = "Grüße, 世界! 🎉 <|im_end|>";
  for (const parse_special of [true, false]) {
    const { tokens } = await post("/tokenize", { content, parse_special });
    expect(await post("/detokenize", { tokens })).toEqual({ content });
  }
  const special = (await post("/tokenize", { content: "<|im_end|>" })).tokens;
  const plain = (await post("/tokenize", { content: "<|im_end|>", parse_special: false })).tokens;
  expect(special).toHaveLength(1);
  expect(plain.length).toBeGreaterThan(1);
  const { tokens } = await post("/tokenize", { content, with_pieces: true });
  const bytes = tokens.flatMap(({ piece }: { piece: string | number[] }) => (typeof piece === "string" ? [...Buffer.from(piece)] : piece));
  expect(Buffer.from(bytes).toString()).toBe(content);
  expect((await fetch(`${server.url}/detokenize`, { method: "POST", body: '{"tokens":[999999]}' })).status).toBe(400);
});

test("the template's prompt is what chat completions count", async () => {
  const body = { model: "demo", messages: [{ role: "user", content: "Hello" }] };
  const { prompt } = await post("/apply-template", body);
  expect(prompt).toContain("Hello");
  const { tokens } = await post("/tokenize", { content: prompt });
  expect(await post("/v1/chat/completions/input_tokens", body)).toMatchObject({ input_tokens: tokens.length });
  expect((await post("/v1/chat/completions", { ...body, max_tokens: 1 })).usage.prompt_tokens).toBe(tokens.length);
});

test("metrics and props tell the engine's own numbers", async () => {
  const props = await (await fetch(`${server.url}/props`)).json();
  expect(props).toMatchObject({ total_slots: 4, model_alias: "demo", is_sleeping: false });
  expect(props.eos_token).toContain("<|");
  const families = parsePrometheus(await (await fetch(`${server.url}/metrics`)).text());
  const value = (name: string) => families.get(name)!.samples[0].value;
  for (const name of [
    "vllm:prefix_cache_hits_total",
    "vllm:generation_tokens_total",
    "llamacpp:n_decode_total",
    "llamacpp:prompt_seconds_total",
  ]) {
    expect(value(name)).toBeGreaterThan(0);
  }
  expect(value("llamacpp:n_busy_slots_per_decode")).toBeWithin(0, 4);
  expect(value("vllm:kv_cache_usage_perc")).toBe(0);
  const { block_size, num_gpu_blocks } = families.get("vllm:cache_config_info")!.samples[0].labels;
  expect(Number(block_size) * Number(num_gpu_blocks)).toBeGreaterThanOrEqual(props.default_generation_settings.n_ctx);
});
