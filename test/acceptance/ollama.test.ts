/** Rows 83 to 85 and 90 to 92 of the acceptance matrix: the official `ollama` client, and what curl sends to the same routes. */
import { expect, test } from "bun:test";
import { Ollama } from "ollama";
import { AlloyError } from "../../src/support/errors.ts";
import { failure, type Harness, start, until } from "../server/harness.ts";
import { gapFiller, scriptedModel } from "../server/scripted-engine.ts";

const client = (h: Harness) => new Ollama({ host: h.url });
const hi = [{ role: "user", content: "hi" }];
const tool = {
  type: "function",
  function: { name: "weather", description: "", parameters: { type: "object", properties: { city: { type: "string" } } } },
};

test("row 83: generate and chat, streamed and not, with metrics", async () => {
  await using h = await start();
  const generated = await client(h).generate({ model: "demo", prompt: "one two" });
  expect(generated).toMatchObject({
    model: "demo",
    response: "echo: one two",
    done: true,
    done_reason: "stop",
    prompt_eval_count: 3,
    eval_count: 3,
  });
  expect(generated.total_duration).toBeGreaterThan(0);
  expect(generated.context.length).toBe(6);
  const parts = await Array.fromAsync(await client(h).chat({ model: "demo", messages: hi, stream: true }));
  expect(parts.map((p) => p.message.content).join("")).toBe("echo: hi");
  expect(parts.at(-1)).toMatchObject({ done: true, done_reason: "stop", eval_count: 2 });
  expect(parts.slice(0, -1).every((p) => !p.done)).toBe(true);
  const pieces = await Array.fromAsync(await client(h).generate({ model: "demo", prompt: "one two", stream: true }));
  expect(pieces.map((p) => p.response).join("")).toBe("echo: one two");
  expect(pieces.at(-1)).toMatchObject({ done: true, context: generated.context });
  expect(await client(h).chat({ model: "demo", messages: hi })).toMatchObject({
    message: { role: "assistant", content: "echo: hi" },
    done: true,
  });
});

test("row 84: thinking is separate; tool calls come whole with object arguments", async () => {
  await using h = await start([
    { type: "reasoning", text: "hmm so" },
    { type: "tool", id: "call_1", name: "weather", arguments: '{"city":"Rome"}' },
    { type: "tool", id: "call_2", name: "weather", arguments: '{"city":"Oslo"}' },
  ]);
  const request = { model: "demo", messages: hi, tools: [tool], think: "high" as const };
  const plain = await client(h).chat(request);
  expect(plain.message.thinking).toBe("hmm so");
  expect(plain.message.tool_calls as object[]).toEqual([
    { id: "call_1", function: { index: 0, name: "weather", arguments: { city: "Rome" } } },
    { id: "call_2", function: { index: 1, name: "weather", arguments: { city: "Oslo" } } },
  ]);
  const parts = await Array.fromAsync(await client(h).chat({ ...request, stream: true }));
  expect(parts.map((p) => p.message.thinking ?? "").join("")).toBe("hmm so");
  expect(parts.flatMap((p) => p.message.tool_calls ?? [])).toEqual(plain.message.tool_calls!);
  expect(parts.at(-1)!.done_reason).toBe("stop");
  expect(h.engine.requests[0].prompt).toMatchObject({ thinking: "high", tools: [{ name: "weather" }] });
});

test("row 84: thinking as true, false and a level; a schema; images", async () => {
  await using h = await start([
    { type: "reasoning", text: "hmm" },
    { type: "text", text: '{"a":1}' },
  ]);
  const schema = { type: "object", properties: { a: { type: "integer" } } };
  for (const [think, seen] of [
    [true, "on"],
    [false, "off"],
    ["high", "high"],
  ] as const) {
    const answer = await client(h).chat({ model: "demo", messages: hi, think, format: schema });
    expect(answer.message).toMatchObject({ role: "assistant", content: '{"a":1}', thinking: "hmm" });
    const request = h.engine.requests.at(-1)!;
    expect(request.prompt).toMatchObject({ thinking: seen });
    expect(request.constraint).toMatchObject({ kind: "schema", schema });
  }
  const image = await failure(client(h).chat({ model: "demo", messages: [{ ...hi[0], images: [new Uint8Array([137, 80, 78, 71])] }] }));
  expect(image).toMatchObject({ status_code: 400, error: expect.stringContaining("is an image, which the model 'demo' cannot take") });
});

test("tool round trip", async () => {
  await using h = await start();
  await client(h).chat({
    model: "demo",
    messages: [
      ...hi,
      { role: "assistant", content: "", thinking: "t", tool_calls: [{ function: { name: "weather", arguments: { city: "Rome" } } }] },
      { role: "TOOL", content: "25", tool_name: "weather" },
    ],
  });
  expect(h.engine.requests[0].prompt).toMatchObject({
    messages: [
      { role: "user" },
      { role: "assistant", reasoning: "t", toolCalls: [{ name: "weather", arguments: '{"city":"Rome"}' }] },
      { role: "tool", name: "weather", content: "25" },
    ],
  });
});

test("options: defaults, overrides, ignored and wrong ones", async () => {
  await using h = await start();
  await client(h).chat({ model: "demo", messages: hi });
  expect(h.engine.requests[0]).toMatchObject({ sampling: {} });
  expect(h.engine.requests[0].samplingDefaults).toEqual({
    temperature: 0.8,
    topP: 0.9,
    topK: 40,
    minP: 0,
    repeatPenalty: 1,
    repeatLastN: 64,
  });
  const options = { temperature: 0, top_k: 5.7, seed: 3, num_predict: 2, num_ctx: 4096, stop: ["x"], num_gpu: 1, unknown: {}, top_p: null };
  const r = await h.post("/api/chat", { model: "demo", messages: hi, options, stream: false });
  expect(await r.json()).toMatchObject({ done: true, eval_count: 2 });
  expect(h.engine.requests[1]).toMatchObject({
    maxTokens: 2,
    contextLimit: 4096,
    stop: ["x"],
    sampling: { temperature: 0, topK: 5, seed: 3 },
  });
  const limit = await h.post("/api/chat", { model: "demo", messages: hi, options: { num_predict: 1 }, stream: false });
  expect(await limit.json()).toMatchObject({ done_reason: "length" });
  const wrong = await h.post("/api/chat", { model: "demo", messages: hi, options: { top_k: "many" } });
  expect([wrong.status, await wrong.json()]).toEqual([400, { error: 'option "top_k" must be of type integer' }]);
});

test("row 84: log-probabilities", async () => {
  await using h = await start([{ type: "text", text: "a b" }]);
  const r = await client(h).chat({ model: "demo", messages: hi, logprobs: true, top_logprobs: 2 });
  expect(r.logprobs).toMatchObject([{ token: "a", top_logprobs: [{ token: "a" }, { token: "a~1" }] }, { token: " b" }]);
  expect((await failure(client(h).chat({ model: "demo", messages: hi, top_logprobs: 30 }))).message).toContain(
    "top_logprobs must be between 0 and 20",
  );
});

test("row 92: raw, system, context, template and debug rendering", async () => {
  await using h = await start();
  await client(h).generate({ model: "demo", prompt: "a <b>", raw: true });
  expect(h.engine.requests[0].prompt).toEqual({ kind: "text", text: "a <b>" });
  const first = await client(h).generate({ model: "demo", prompt: "one", system: "be brief" });
  expect(h.engine.requests[1].prompt).toMatchObject({
    messages: [
      { role: "system", content: "be brief" },
      { role: "user", content: "one" },
    ],
  });
  await client(h).generate({ model: "demo", prompt: "two", context: first.context });
  const { prompt } = h.engine.requests[2];
  expect(prompt.kind === "ids" && prompt.ids.slice(0, first.context.length)).toEqual(first.context);
  expect((await failure(client(h).generate({ model: "demo", prompt: "x", raw: true, system: "s" }))).message).toContain(
    "raw mode does not support template, system, or context",
  );
  await client(h).generate({ model: "demo", prompt: "x", template: "{{ .Prompt }}" });
  expect(h.engine.requests[3].prompt).toMatchObject({ kind: "chat", template: "{{ .Prompt }}" });
  for (const template of ["{{ if .Prompt }}", "{{ frobnicate .Prompt }}", "{% if %}"]) {
    const r = await h.post("/api/generate", { model: "demo", prompt: "x", template });
    expect([r.status, ((await r.json()) as { error: string }).error]).toEqual([400, expect.stringContaining("The chat template")]);
  }
  expect((await failure(client(h).generate({ model: "demo", prompt: "x", suffix: "y" }))).message).toContain(
    "registry.ollama.ai/library/demo:latest does not support insert",
  );
  const debug = await h.post("/api/generate", { model: "demo", prompt: "x", _debug_render_only: true });
  expect(await debug.json()).toMatchObject({ _debug_info: { rendered_template: "<user>x\n<assistant>" } });
});

test("row 92: a suffix, with a model that fills gaps", async () => {
  await using h = await start({ models: [gapFiller] });
  const answer = await client(h).generate({ model: "coder", prompt: "def f(x):", suffix: "return y", raw: true });
  expect(answer).toMatchObject({ done: true });
  const { prompt } = h.engine.requests[0];
  expect(prompt.kind === "ids" && prompt.ids.filter((id) => id >= 900)).toEqual([901, 902, 903]);
});

test("row 91: an empty prompt loads, keep_alive 0 unloads, as single objects", async () => {
  await using h = await start();
  const load = await h.post("/api/generate", { model: "demo" });
  expect(await load.json()).toMatchObject({ response: "", done: true, done_reason: "load" });
  expect((await client(h).ps()).models).toMatchObject([{ name: "demo:latest", context_length: 65536 }]);
  const unload = await h.post("/api/chat", { model: "demo", messages: [], keep_alive: 0 });
  expect(await unload.json()).toMatchObject({ message: { role: "assistant", content: "" }, done: true, done_reason: "unload" });
  expect((await client(h).ps()).models).toEqual([]);
  expect(h.engine.requests).toEqual([]);
});

test("row 90: keep_alive forms", async () => {
  await using h = await start();
  const forms: [unknown, number | undefined][] = [
    [undefined, undefined],
    [null, undefined],
    [0.5, 500],
    [10, 10_000],
    [-1, Infinity],
    ["-1s", Infinity],
    ["1h30m", 5_400_000],
    ["300ms", 300],
    ["0", 0],
  ];
  for (const [form, ms] of forms) {
    expect((await h.post("/api/chat", { model: "demo", messages: hi, keep_alive: form, stream: false })).status).toBe(200);
    expect(h.engine.requests.at(-1)!.keepAlive).toBe(ms);
  }
  for (const form of ["10", "soon", true, {}, []]) {
    const r = await h.post("/api/chat", { model: "demo", messages: hi, keep_alive: form });
    expect([r.status, Object.keys((await r.json()) as object)]).toEqual([400, ["error"]]);
  }
  // The duration stays for requests that do not say one.
  await h.post("/api/generate", { model: "demo", keep_alive: "1h" });
  await h.post("/api/chat", { model: "demo", messages: hi, stream: false });
  const left = Date.parse((await client(h).ps()).models[0].expires_at as unknown as string) - Date.now();
  expect(left).toBeWithin(3_000_000, 3_600_001);
  await h.post("/api/generate", { model: "demo", keep_alive: -1 });
  const [model] = (await client(h).ps()).models;
  expect(new Date(model.expires_at).getFullYear()).toBeGreaterThanOrEqual(2300);
});

test("row 85: list, show, version", async () => {
  const models = [
    scriptedModel("demo"),
    scriptedModel("qwen3:8b", { parameters: 8.19e9, modified: "2026-06-01T00:00:00Z", license: "MIT" }),
  ];
  await using h = await start({ models });
  const list = (await client(h).list()).models;
  expect(list.map((m) => m.name)).toEqual(["qwen3:8b", "demo:latest"]);
  expect(list[0]).toMatchObject({
    model: "qwen3:8b",
    details: { family: "qwen3", parameter_size: "8.2B", quantization_level: "Q8_0", format: "gguf" },
  });
  expect(list[0].digest).toMatch(/^[0-9a-f]{64}$/);
  const shown = await client(h).show({ model: "QWEN3:8b" });
  expect(shown.model_info).toMatchObject({ "general.architecture": "qwen3", "qwen3.context_length": 65536, "tokenizer.ggml.tokens": [] });
  expect(shown).toMatchObject({ license: "MIT", template: "{{ messages }}", capabilities: ["completion", "tools", "thinking"] });
  const verbose = await (await h.post("/api/show", { name: "demo", verbose: true })).json();
  expect((verbose as { model_info: Record<string, string[]> }).model_info["tokenizer.ggml.tokens"]).toHaveLength(6);
  const { version } = await client(h).version();
  expect(Bun.semver.order(version, "0.13.4")).toBe(1);
  const none = await start({ models: [] });
  expect((await client(none).list()).models).toEqual([]);
  await none.server.stop(0);
});

test("truncate drops the oldest messages, never system or the last; false refuses", async () => {
  await using h = await start({ contextLength: 30 });
  const words = (n: number, w: string) => Array(n).fill(w).join(" ");
  const messages = [
    { role: "system", content: "sys" },
    { role: "user", content: words(12, "old") },
    { role: "assistant", content: words(12, "older") },
    { role: "user", content: words(12, "new") },
  ];
  const r = await h.post("/api/chat", { model: "demo", messages, stream: false });
  expect(r.status).toBe(200);
  expect(Number(r.headers.get("x-alloy-truncated"))).toBeGreaterThan(0);
  const { prompt } = h.engine.requests.at(-1)!;
  expect(prompt.kind === "chat" && prompt.messages.map((m) => m.role)).toEqual(["system", "assistant", "user"]);
  const refused = await h.post("/api/chat", { model: "demo", messages, truncate: false });
  expect([refused.status, await refused.json()]).toEqual([
    400,
    { error: "request (38 tokens) exceeds the available context size (30 tokens), try increasing it" },
  ]);
});

test("truncate cuts the beginning of a message that is too long by itself; generate likewise", async () => {
  await using h = await start({ contextLength: 40 });
  const long = Array.from({ length: 200 }, (_, i) => `w${i}`).join(" ");
  const system = { role: "system" as const, content: "be brief" };
  const chat = await h.post("/api/chat", { model: "demo", messages: [system, { role: "user", content: long }], stream: false });
  const answer = (await chat.json()) as { prompt_eval_count: number };
  expect([chat.status, answer.prompt_eval_count <= 30, answer.prompt_eval_count > 20]).toEqual([200, true, true]);
  expect(Number(chat.headers.get("x-alloy-truncated"))).toBeGreaterThan(160);
  const { prompt } = h.engine.requests.at(-1)!;
  if (prompt.kind !== "chat") throw new Error("no chat");
  expect(prompt.messages[0]).toEqual(system);
  expect(prompt.messages[1].content).toEndWith("w198 w199");
  for (const body of [{ prompt: long }, { prompt: long, raw: true }, { prompt: "x", context: Array(100).fill(1) }]) {
    const r = await h.post("/api/generate", { model: "demo", stream: false, ...body });
    expect([r.status, r.headers.has("x-alloy-truncated")]).toEqual([200, true]);
    const refused = await h.post("/api/generate", { model: "demo", truncate: false, ...body });
    expect([refused.status, ((await refused.json()) as { error: string }).error]).toEqual([400, expect.stringContaining("(40 tokens)")]);
  }
  // Where nothing is left to cut it stays an error.
  const heavy = await h.post("/api/chat", {
    model: "demo",
    messages: [
      { role: "system", content: long },
      { role: "user", content: "x" },
    ],
  });
  expect(heavy.status).toBe(400);
});

test("capabilities: texts that clients match", async () => {
  const models = [scriptedModel("plain", { capabilities: ["completion"] }), scriptedModel("embed", { capabilities: ["embedding"] })];
  await using h = await start({ models });
  const text = async (path: string, body: object) => {
    const r = await h.post(path, body);
    return [r.status, ((await r.json()) as { error: string }).error];
  };
  expect(await text("/api/chat", { model: "plain", messages: hi, tools: [tool] })).toEqual([
    400,
    "registry.ollama.ai/library/plain:latest does not support tools",
  ]);
  expect(await text("/api/chat", { model: "plain", messages: hi, think: true })).toEqual([400, '"plain" does not support thinking']);
  expect((await h.post("/api/chat", { model: "plain", messages: hi, think: false })).status).toBe(200);
  expect(await text("/api/chat", { model: "plain", messages: hi, think: "very" })).toEqual([
    400,
    'invalid think value: "very" (must be "high", "medium", "low", "max", true, or false)',
  ]);
  expect(await text("/api/chat", { model: "embed", messages: hi })).toEqual([400, '"embed" does not support chat']);
  expect(await text("/api/generate", { model: "embed", prompt: "x" })).toEqual([400, '"embed" does not support generate']);
  expect(await text("/api/chat", { model: "plain", messages: hi, format: "xml" })).toEqual([
    400,
    'invalid format: "xml"; expected "json" or a valid JSON Schema object',
  ]);
});

test("vendor names never stand for another model here, so that clients pull", async () => {
  await using h = await start();
  const r = await h.post("/api/chat", { model: "gpt-oss:20b", messages: hi });
  expect([r.status, await r.json()]).toEqual([404, { error: "model 'gpt-oss:20b' not found" }]);
});

test("row 83: a fault in mid-stream is a last line with error; abort frees the slot", async () => {
  await using h = await start([
    { type: "text", text: "so far" },
    { type: "error", error: new AlloyError("engine_died", "the engine stopped") },
  ]);
  const consume = async () => Array.fromAsync(await client(h).chat({ model: "demo", messages: hi, stream: true }));
  expect((await failure(consume())).message).toContain("the engine stopped");
  await using slow = await start({ delayMs: 5, script: () => [{ type: "text", text: "w ".repeat(5000) }] });
  const ollama = client(slow);
  const stream = await ollama.generate({ model: "demo", prompt: "x", stream: true });
  const reading = Array.fromAsync(stream).catch((e: Error) => e.name);
  await until(() => slow.engine.emitted > 3, "tokens flow");
  ollama.abort();
  expect(await reading).toBe("AbortError");
  await until(() => slow.engine.cancelled.length === 1 && slow.engine.running === 0, "the request is cancelled");
});
