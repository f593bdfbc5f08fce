/** llama-server's routes. */
import { expect, test } from "bun:test";
import { AlloyError } from "../../src/support/errors.ts";
import { type Harness, sseFrames, start } from "./harness.ts";
import { gapFiller, scriptedModel } from "./scripted-engine.ts";

const json = async (h: Harness, path: string, body: unknown) => (await h.post(path, body)).json();

test("tokenize and detokenize round trip", async () => {
  await using h = await start();
  const content = "some words, and 🎉";
  const { tokens } = await json(h, "/tokenize", { model: "demo", content });
  expect(tokens).toHaveLength(4);
  expect(await json(h, "/detokenize", { model: "demo", tokens })).toEqual({ content });
  const pieces = await json(h, "/tokenize", { model: "demo", content, with_pieces: true });
  expect(pieces.tokens.map((t: { piece: string }) => t.piece).join("")).toBe(content);
  expect(pieces.tokens.map((t: { id: number }) => t.id)).toEqual(tokens);
});

test("apply-template and input_tokens take a body of chat completions", async () => {
  await using h = await start();
  const tools = [{ type: "function", function: { name: "weather" } }];
  const body = { model: "demo", messages: [{ role: "user", content: "one two" }], tools };
  const { prompt } = await json(h, "/apply-template", body);
  expect(prompt).toContain("<user>one two");
  expect(prompt).toContain("weather");
  const count = await json(h, "/v1/chat/completions/input_tokens", body);
  const answer = await json(h, "/v1/chat/completions", body);
  expect(count).toEqual({ object: "response.input_tokens", input_tokens: answer.usage.prompt_tokens });
});

test("the model may be left out when it is clear which is meant", async () => {
  const models = [scriptedModel("a"), scriptedModel("b")];
  await using h = await start({ models });
  const nothing = await h.post("/tokenize", { content: "x" });
  expect(nothing.status).toBe(400);
  expect(await nothing.json()).toMatchObject({ error: { param: "model", code: "missing_required_parameter" } });
  await h.engine.load("a");
  expect((await h.post("/tokenize", { content: "x" })).status).toBe(200);
  expect((await h.post("/apply-template", { messages: [{ role: "user", content: "x" }] })).status).toBe(200);
  await h.engine.load("b");
  expect((await h.post("/tokenize", { content: "x" })).status).toBe(400);
  await using d = await start({ models }, { env: { ALLOY_DEFAULT_MODEL: "b" } });
  expect(await (await fetch(`${d.url}/props`)).json()).toMatchObject({ model_alias: "b", is_sleeping: true, total_slots: 0 });
  expect(await d.engine.loaded()).toEqual([]);
  expect((await h.post("/tokenize", { model: "nope", content: "x" })).status).toBe(404);
});

test("props of a loaded model", async () => {
  await using h = await start({ slots: 3 });
  await h.engine.load("demo");
  expect(await (await fetch(`${h.url}/props`)).json()).toMatchObject({
    default_generation_settings: { params: { temperature: 1 }, n_ctx: 65_536 },
    total_slots: 3,
    model_alias: "demo",
    chat_template: "{{ messages }}",
    is_sleeping: false,
    modalities: { vision: false, audio: false },
  });
  expect(await (await fetch(`${h.url}/slots`)).json()).toHaveLength(3);
  expect(await (await fetch(`${h.url}/lora-adapters`)).json()).toEqual([]);
});

test("readyz: the engine answers and the default model is there", async () => {
  await using h = await start({}, { env: { ALLOY_DEFAULT_MODEL: "demo" } });
  expect((await fetch(`${h.url}/readyz`)).status).toBe(200);
  await using missing = await start({}, { env: { ALLOY_DEFAULT_MODEL: "gone" } });
  const response = await fetch(`${missing.url}/readyz`);
  expect(response.status).toBe(503);
  expect(await response.json()).toMatchObject({ error: { code: 503, type: "unavailable_error" } });
});

test("what is missing or wrong is named", async () => {
  await using h = await start();
  for (const [path, body, param] of [
    ["/tokenize", { model: "demo" }, "content"],
    ["/tokenize", { model: "demo", content: 5 }, "content"],
    ["/detokenize", { model: "demo", tokens: ["x"] }, "tokens[0]"],
    ["/apply-template", { model: "demo" }, "messages"],
  ] as const) {
    const response = await h.post(path, body);
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: { param } });
  }
  expect((await h.post("/apply-template", "[]")).status).toBe(400);
});

test("completion: one prompt, whole", async () => {
  await using h = await start();
  const body = { model: "demo", prompt: "one two", n_predict: 2, return_tokens: true, n_probs: 2, seed: 7, temperature: 0.3 };
  const answer = await json(h, "/completion", body);
  expect(answer).toMatchObject({
    content: "echo: one",
    stop: true,
    stop_type: "limit",
    stopping_word: "",
    model: "demo",
    prompt: "one two",
    index: 0,
    tokens_predicted: 2,
    tokens_evaluated: 2,
    tokens_cached: 0,
    truncated: false,
    generation_settings: { n_predict: 2, temperature: 0.3, seed: 7 },
    timings: { predicted_n: 2 },
  });
  expect(await h.engine.detokenize("demo", answer.tokens)).toBe("echo: one");
  expect(answer.completion_probabilities[0].top_logprobs).toHaveLength(2);
  expect(h.engine.requests[0]).toMatchObject({ prompt: { kind: "text" }, samplingDefaults: { temperature: 0.8, topK: 40 } });
  expect(await json(h, "/completion", { model: "demo", prompt: "one two three", stop: ["two"] })).toMatchObject({
    content: "echo: one ",
    stop_type: "word",
    stopping_word: "two",
  });
  expect(await json(h, "/completion", { prompt: "x" })).toMatchObject({ stop_type: "eos", tokens: [], model: "demo" });
});

test("completion: ids, ids and texts in one prompt, several prompts", async () => {
  await using h = await start();
  await h.engine.load("demo");
  const { tokens } = await json(h, "/tokenize", { content: "a b" });
  expect((await json(h, "/completion", { prompt: tokens })).content).toBe("echo: a b");
  expect((await json(h, "/completion", { prompt: [tokens[0], " c"] })).content).toBe("echo: a c");
  const list = await json(h, "/completion", { prompt: ["x", "y", [tokens[0], " z"]] });
  expect(list.map((r: { index: number; content: string }) => [r.index, r.content])).toEqual([
    [0, "echo: x"],
    [1, "echo: y"],
    [2, "echo: a z"],
  ]);
});

test("completion: streamed, ended by a frame with stop and no [DONE]; errors are the last frame", async () => {
  await using h = await start();
  const body = { model: "demo", prompt: "one two", stream: true };
  const frames = sseFrames(await (await h.post("/completion", body)).text()).map((f) => JSON.parse(f.data!));
  expect(frames.map((f) => f.content).join("")).toBe("echo: one two");
  expect(frames.map((f) => f.stop)).toEqual([false, false, false, true]);
  expect(frames.at(-1)).toMatchObject({ stop_type: "eos", tokens_predicted: 3 });
  await using broken = await start([
    { type: "text", text: "a" },
    { type: "error", error: new AlloyError("device_error", "gone") },
  ]);
  const last = sseFrames(await (await broken.post("/completion", body)).text()).at(-1)!;
  expect(JSON.parse(last.data!)).toMatchObject({ error: { message: "gone" } });
});

test("completion: what is refused", async () => {
  await using h = await start();
  for (const [body, param] of [
    [{}, "prompt"],
    [{ prompt: [] }, "prompt"],
    [{ prompt: {} }, "prompt"],
    [{ prompt: "x", n_predict: -2 }, "n_predict"],
    [{ prompt: "x", grammar: 'root ::= "x"', json_schema: {} }, "json_schema"],
  ] as const) {
    const response = await h.post("/completion", { model: "demo", ...body });
    expect([response.status, (await response.json()).error.param]).toEqual([400, param]);
  }
});

test("infill: files of the project, the text before the gap, the text after it, then the middle", async () => {
  await using h = await start({ models: [gapFiller], script: () => [{ type: "text", text: "x + y" }] });
  const body = { model: "coder", input_prefix: "def add(x, y):", input_suffix: "print(add)", prompt: " return", n_predict: 3 };
  const answer = await json(h, "/infill", { ...body, input_extra: [{ filename: "a.py", text: "import b" }] });
  expect(answer).toMatchObject({ content: "x + y", stop: true, tokens_predicted: 3 });
  const { prompt } = h.engine.requests[0];
  if (prompt.kind !== "ids") throw new Error("no ids");
  const marks = { 901: "<pre>", 902: "<suf>", 903: "<mid>", 904: "<rep>", 905: "<sep>" };
  const pieces = await Promise.all(prompt.ids.map((id) => marks[id as 901] ?? h.engine.detokenize("coder", [id])));
  expect(pieces.join("")).toBe("<rep>myproject\n<sep>a.py\nimport b<sep>filename\n<pre>def add(x, y): return<suf>print(add)<mid>");
  const streamed = await h.post("/infill", { ...body, stream: true });
  expect(sseFrames(await streamed.text()).map((f) => JSON.parse(f.data!).content)).toEqual(["x", " +", " y", ""]);
  expect((await h.post("/infill", { model: "coder", input_prefix: "x" })).status).toBe(400);
});

test("infill: a model without the tokens for it", async () => {
  await using h = await start();
  const response = await h.post("/infill", { model: "demo", input_prefix: "a", input_suffix: "b" });
  expect([response.status, response.headers.get("x-should-retry")]).toEqual([501, "false"]);
  expect((await response.json()).error.message).toContain("'demo', whose file names no fill-in-the-middle tokens");
});
