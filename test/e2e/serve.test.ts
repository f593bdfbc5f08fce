/** The whole product: `alloy serve` with the demo model behind the three official clients, and under abuse. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import Anthropic from "@anthropic-ai/sdk";
import { Ollama } from "ollama";
import OpenAI from "openai";
import { events, post, runAlloy, serve, type Served } from "./harness.ts";

setDefaultTimeout(120_000);
let server: Served;
beforeAll(async () => void (server = await serve(["--parallel", "8"])));
afterAll(async () => {
  expect(await server.stop()).toBe(0);
});

const PARIS = { role: "user" as const, content: "What is the capital of France?" };
/** The SDK's types no longer name the field, the API still takes it. */
const COLD: object = { temperature: 0 };
const TOOL = {
  type: "function" as const,
  function: {
    name: "get_weather",
    description: "Get the current weather in a city",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};

describe("official clients", () => {
  test("openai: answer, stream, logprobs, tool round trip, completions with ids", async () => {
    const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none" });
    expect((await client.models.list()).data.map((m) => m.id)).toContain("demo");
    const plain = await client.chat.completions.create({
      model: "demo",
      messages: [PARIS],
      temperature: 0,
      logprobs: true,
      top_logprobs: 3,
    });
    expect(plain.choices[0].message.content).toContain("Paris");
    expect(plain.choices[0].finish_reason).toBe("stop");
    const first = plain.choices[0].logprobs!.content![0];
    expect(first.top_logprobs[0].logprob).toBeCloseTo(first.logprob, 4);
    expect(first.logprob).toBeLessThanOrEqual(0);

    let streamed = "";
    let usage: OpenAI.CompletionUsage | undefined | null;
    const stream = await client.chat.completions.create({
      model: "demo",
      messages: [PARIS],
      temperature: 0,
      stream: true,
      stream_options: { include_usage: true },
    });
    for await (const chunk of stream) {
      streamed += chunk.choices[0]?.delta.content ?? "";
      usage = chunk.usage ?? usage;
    }
    expect(streamed).toBe(plain.choices[0].message.content!);
    expect(usage?.completion_tokens).toBe(plain.usage!.completion_tokens);

    const asked = { role: "user" as const, content: "What is the weather in Oslo?" };
    const call = await client.chat.completions.create({ model: "demo", messages: [asked], tools: [TOOL], temperature: 0 });
    expect(call.choices[0].finish_reason).toBe("tool_calls");
    const [toolCall] = call.choices[0].message.tool_calls!;
    if (toolCall.type !== "function") throw new Error("expected a function call");
    expect(toolCall.function.name).toBe("get_weather");
    expect(JSON.parse(toolCall.function.arguments)).toEqual({ city: "Oslo" });
    const result = { role: "tool" as const, tool_call_id: toolCall.id, content: '{"temperature": 7, "sky": "rain"}' };
    const after = await client.chat.completions.create({
      model: "demo",
      messages: [asked, call.choices[0].message as OpenAI.ChatCompletionMessageParam, result],
      tools: [TOOL],
      temperature: 0,
    });
    expect(after.choices[0].message.content!.length).toBeGreaterThan(0);

    const ids = (await runAlloy(["tokenize", "demo", "The capital of France is", "--json"])).stdout;
    const byIds = await client.completions.create({ model: "demo", prompt: JSON.parse(ids).ids, max_tokens: 4, temperature: 0 });
    const byText = await client.completions.create({ model: "demo", prompt: "The capital of France is", max_tokens: 4, temperature: 0 });
    expect(byIds.choices[0].text).toBe(byText.choices[0].text);
  });

  test("anthropic: answer, stream, thinking off and on", async () => {
    const client = new Anthropic({ baseURL: server.url, apiKey: "none" });
    const plain = await client.messages.create({ model: "demo", max_tokens: 100, ...COLD, messages: [PARIS] });
    const text = plain.content.map((c) => (c.type === "text" ? c.text : "")).join("");
    expect(text).toContain("Paris");
    expect(plain.stop_reason).toBe("end_turn");
    const stream = client.messages.stream({ model: "demo", max_tokens: 100, ...COLD, messages: [PARIS] });
    expect(await stream.finalText()).toBe(text);
    const counted = await client.messages.countTokens({ model: "demo", messages: [PARIS] });
    expect(counted.input_tokens).toBe(plain.usage.input_tokens + (plain.usage.cache_read_input_tokens ?? 0));
    const thought = await client.messages.create({
      model: "demo",
      max_tokens: 400,
      temperature: 0,
      thinking: { type: "enabled", budget_tokens: 1024 },
      messages: [{ role: "user", content: "What is 12 + 30?" }],
    } as Anthropic.MessageCreateParamsNonStreaming);
    expect(thought.content.some((c) => c.type === "thinking")).toBe(true);
    expect(JSON.stringify(thought.content)).not.toContain("think>");
  });

  test("ollama: generate, chat, list, show, ps", async () => {
    const client = new Ollama({ host: server.url });
    const options = { temperature: 0 };
    expect((await client.chat({ model: "demo", messages: [PARIS], options })).message.content).toContain("Paris");
    expect((await client.generate({ model: "demo", prompt: PARIS.content, options })).response).toContain("Paris");
    let streamed = "";
    for await (const part of await client.chat({ model: "demo", messages: [PARIS], options, stream: true }))
      streamed += part.message.content;
    expect(streamed).toContain("Paris");
    expect((await client.list()).models.map((m) => m.name.split(":")[0])).toContain("demo");
    expect((await client.show({ model: "demo" })).details.family).toBe("qwen3");
    expect((await client.ps()).models.length).toBe(1);
  });
});

describe("bad input", () => {
  const chat = (body: unknown) => post(`${server.url}/v1/chat/completions`, body);
  const message = async (r: Response): Promise<{ message: string; code: string | null; param: string | null }> =>
    ((await r.json()) as { error: { message: string; code: string | null; param: string | null } }).error;

  test("malformed JSON, wrong types, unknown model, overflow: status, code and what to do", async () => {
    const bad = await chat('{"model": "demo", "messages": [');
    expect([bad.status, (await message(bad)).code]).toEqual([400, "invalid_json"]);
    const type = await chat({ model: "demo", messages: "hello" });
    expect([type.status, (await message(type)).param]).toEqual([400, "messages"]);
    const unknown = await chat({ model: "dmeo", messages: [PARIS] });
    expect([unknown.status, (await message(unknown)).code]).toEqual([404, "model_not_found"]);
    const long = await chat({ model: "demo", messages: [{ role: "user", content: "hello world ".repeat(20000) }] });
    expect(long.status).toBe(400);
    expect(await message(long)).toMatchObject({
      code: "context_length_exceeded",
      message: expect.stringMatching(/maximum context length is 4096 tokens.*\d+ tokens/),
    });
    const anthropic = await post(`${server.url}/v1/messages`, {
      model: "demo",
      max_tokens: 10,
      messages: [{ role: "user", content: "hello world ".repeat(20000) }],
    });
    expect(((await anthropic.json()) as { error: { message: string } }).error.message).toMatch(
      /^prompt is too long: \d+ tokens > 4096 maximum$/,
    );
  });

  test("the port is taken: the message says by whom", async () => {
    const { code, stderr } = await runAlloy(["serve", "--port", String(new URL(server.url).port)]);
    expect(code).toBe(1);
    expect(stderr).toContain(String(server.pid));
    expect(stderr).toContain("--port");
  });

  test("64 clients at once: every stream is whole and its own", async () => {
    const questions = Array.from({ length: 64 }, (_, i) => `What is ${10 + i} + ${i % 7}?`);
    const ask = async (q: string): Promise<string> => {
      const r = await chat({ model: "demo", messages: [{ role: "user", content: q }], temperature: 0, max_tokens: 40, stream: true });
      expect(r.status).toBe(200);
      const all = await events(r);
      expect(all.at(-1)).toBe("[DONE]");
      return (all.slice(0, -1) as { choices: { delta: { content?: string } }[] }[]).map((e) => e.choices[0]?.delta.content ?? "").join("");
    };
    const together = await Promise.all(questions.map(ask));
    for (const i of [0, 21, 42, 63]) expect(together[i]).toBe(await ask(questions[i]));
  });

  test("a client that leaves mid-stream frees its place; others go on", async () => {
    const leaving = new AbortController();
    const body = {
      model: "demo",
      messages: [{ role: "user", content: "Tell me a long story about the sea." }],
      stream: true,
      max_tokens: 2000,
      ignore_eos: true,
    };
    const gone = await post(`${server.url}/v1/chat/completions`, body, leaving.signal);
    await gone.body!.getReader().read();
    leaving.abort();
    const running = async (): Promise<number> => {
      const { models } = (await (await fetch(`${server.url}/api/ps`)).json()) as { models: { running?: number }[] };
      return models.reduce((n, m) => n + (m.running ?? 0), 0);
    };
    while ((await running()) > 0) await Bun.sleep(20);
    const next = await chat({ model: "demo", messages: [PARIS], temperature: 0 });
    expect(((await next.json()) as OpenAI.ChatCompletion).choices[0].message.content).toContain("Paris");
  });

  test("same seed, same text, alone and among others", async () => {
    const ask = async (): Promise<string> => {
      const r = await chat({
        model: "demo",
        messages: [{ role: "user", content: "Tell me something." }],
        temperature: 1,
        seed: 7,
        max_tokens: 30,
      });
      return ((await r.json()) as OpenAI.ChatCompletion).choices[0].message.content!;
    };
    const alone = await ask();
    const others = Array.from({ length: 6 }, (_, i) =>
      chat({ model: "demo", messages: [{ role: "user", content: `Count to ${i}` }], temperature: 1, max_tokens: 30 }),
    );
    expect(await ask()).toBe(alone);
    await Promise.all(others);
  });
});

test("SIGTERM during generation: the stream ends whole, the process exits 0", async () => {
  const own = await serve(["--grace", "20"]);
  const r = await post(`${own.url}/v1/chat/completions`, { model: "demo", messages: [PARIS], temperature: 0, stream: true });
  const text = events(r);
  own.child.kill("SIGTERM");
  expect((await text).at(-1)).toBe("[DONE]");
  expect(await own.child.exited).toBe(0);
});

test("--ctx beyond what the model was trained for is said, not passed over", async () => {
  const own = await serve(["--ctx", "100000"]);
  await own.stop();
  expect(await new Response(own.child.stderr).text()).toContain("demo takes at most 4096 tokens, not the 100000 that --ctx asks for");
});
