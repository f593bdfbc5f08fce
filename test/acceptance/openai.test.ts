/** Rows 19 to 42 and 48 of the acceptance matrix through the official `openai` client, as far as a scripted model can show them. */
import { expect, test } from "bun:test";
import OpenAI from "openai";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import OpenAI6 from "openai-6";
import { zodFunction as zodFunction6 } from "openai-6/helpers/zod";
import { z } from "zod";
import { AlloyError } from "../../src/support/errors.ts";
import { failure, type Harness, start, until } from "../server/harness.ts";
import { gapFiller, type Step, scriptedModel } from "../server/scripted-engine.ts";

const client = (h: Harness) => new OpenAI({ baseURL: `${h.url}/v1`, apiKey: "none", maxRetries: 0 });
const hi = [{ role: "user" as const, content: "hi" }];
const weather = {
  type: "function" as const,
  function: { name: "weather", parameters: { type: "object", properties: { city: { type: "string" } } } },
};

test("row 19: plain answer: text, usage, unique ids", async () => {
  await using h = await start();
  const ask = () => client(h).chat.completions.create({ model: "demo", messages: [{ role: "user", content: "one two" }] });
  const [a, b] = await Promise.all([ask(), ask()]);
  expect(a.choices[0].message).toMatchObject({ role: "assistant", content: "echo: one two", refusal: null });
  expect(a.choices[0].finish_reason).toBe("stop");
  expect(a.usage).toMatchObject({ prompt_tokens: 3, completion_tokens: 3, total_tokens: 6, prompt_tokens_details: { cached_tokens: 0 } });
  expect(a.id).toMatch(/^chatcmpl-\w{24}$/);
  expect(a.id).not.toBe(b.id);
  expect(a._request_id).toMatch(/^req_/);
});

test("row 20: streamed answer with reasoning through the accumulating helper", async () => {
  await using h = await start([
    { type: "reasoning", text: "let me see" },
    { type: "text", text: "the answer is 4" },
  ]);
  const stream = client(h).chat.completions.stream({ model: "demo", messages: hi, stream_options: { include_usage: true } });
  const final = await stream.finalChatCompletion();
  expect(final.choices[0].message.content).toBe("the answer is 4");
  expect(final.choices[0].message.role).toBe("assistant");
  expect(final.choices[0].finish_reason).toBe("stop");
  expect(final.usage).toMatchObject({ completion_tokens: 7, completion_tokens_details: { reasoning_tokens: 3 } });
});

test("reasoning goes out under both names and is kept from content", async () => {
  await using h = await start([
    { type: "reasoning", text: "hmm" },
    { type: "text", text: "yes" },
  ]);
  const answer = await client(h).chat.completions.create({ model: "demo", messages: hi });
  expect(answer.choices[0].message).toMatchObject({ content: "yes", reasoning_content: "hmm", reasoning: "hmm" } as object);
});

test("row 25: tool round trip: call, result, answer", async () => {
  const script = (steps: { toolDone: boolean }): Step[] =>
    steps.toolDone ? [{ type: "text", text: "sunny" }] : [{ type: "tool", id: "call_1", name: "weather", arguments: '{"city":"Rome"}' }];
  await using h = await start({
    script: (r) => script({ toolDone: r.prompt.kind === "chat" && r.prompt.messages.some((m) => m.role === "tool") }),
  });
  const first = await client(h).chat.completions.create({ model: "demo", messages: hi, tools: [weather] });
  const message = first.choices[0].message;
  expect(first.choices[0].finish_reason).toBe("tool_calls");
  expect(message.content).toBeNull();
  expect(message.tool_calls).toEqual([{ id: "call_1", type: "function", function: { name: "weather", arguments: '{"city":"Rome"}' } }]);
  const second = await client(h).chat.completions.create({
    model: "demo",
    messages: [...hi, message, { role: "tool", tool_call_id: "call_1", content: "25 degrees" }],
    tools: [weather],
  });
  expect(second.choices[0].message.content).toBe("sunny");
  const seen = h.engine.requests[1].prompt;
  expect(seen).toMatchObject({
    tools: [{ name: "weather", parameters: weather.function.parameters }],
    toolChoice: "auto",
    messages: [
      { role: "user", content: "hi" },
      { role: "assistant", content: "", toolCalls: [{ id: "call_1", name: "weather", arguments: '{"city":"Rome"}' }] },
      { role: "tool", toolCallId: "call_1", name: "weather", content: "25 degrees" },
    ],
  });
});

test("row 21: a strict tool of the zod helper, streamed, with both versions of the client", async () => {
  await using h = await start([{ type: "tool", name: "weather", arguments: '{"city":"Rome","days":3}' }]);
  const parameters = z.object({ city: z.string(), days: z.number().int() });
  const request = { model: "demo", messages: hi };
  const connection = { baseURL: `${h.url}/v1`, apiKey: "none", maxRetries: 0 };
  const answers = [
    await new OpenAI(connection).chat.completions
      .stream({ ...request, tools: [zodFunction({ name: "weather", parameters })] })
      .finalChatCompletion(),
    await new OpenAI6(connection).chat.completions
      .stream({ ...request, tools: [zodFunction6({ name: "weather", parameters })] })
      .finalChatCompletion(),
  ];
  for (const { choices } of answers) {
    expect(choices[0].finish_reason).toBe("tool_calls");
    const [call] = choices[0].message.tool_calls!;
    if (call.type !== "function") throw new Error(`a ${call.type} call`);
    expect(call.function).toMatchObject({ name: "weather", parsed_arguments: { city: "Rome", days: 3 } });
  }
  for (const { prompt } of h.engine.requests) {
    expect(prompt).toMatchObject({ tools: [{ name: "weather", strict: true, parameters: { required: ["city", "days"] } }] });
  }
});

test("an answer in a zod schema is parsed by the helper", async () => {
  await using h = await start([{ type: "text", text: '{"city":"Rome"}' }]);
  const response_format = zodResponseFormat(z.object({ city: z.string() }), "answer");
  const answer = await client(h).chat.completions.parse({ model: "demo", messages: hi, response_format });
  expect(answer.choices[0].message.parsed).toEqual({ city: "Rome" });
});

test("row 22: three calls streamed in pieces keep their indexes and identities", async () => {
  await using h = await start([
    { type: "text", text: "calling" },
    ...["a", "b", "c"].map((city): Step => ({ type: "tool", name: "weather", arguments: JSON.stringify({ city }) })),
  ]);
  const final = await client(h)
    .chat.completions.stream({ model: "demo", messages: hi, tools: [weather] })
    .finalChatCompletion();
  const calls = final.choices[0].message.tool_calls!;
  expect(calls.map((c) => (c.type === "function" ? JSON.parse(c.function.arguments).city : ""))).toEqual(["a", "b", "c"]);
  expect(new Set(calls.map((c) => c.id)).size).toBe(3);
  expect(final.choices[0].finish_reason).toBe("tool_calls");
});

test("row 24: parallel_tool_calls: false keeps the first call only", async () => {
  const calls: Step[] = ["a", "b"].map((city) => ({ type: "tool", name: "weather", arguments: JSON.stringify({ city }) }));
  await using h = await start(calls);
  const request = { model: "demo", messages: hi, tools: [weather], parallel_tool_calls: false };
  const plain = await client(h).chat.completions.create(request);
  expect(plain.choices[0].message.tool_calls).toHaveLength(1);
  const streamed = await client(h).chat.completions.stream(request).finalChatCompletion();
  expect(streamed.choices[0].message.tool_calls).toHaveLength(1);
});

test("custom tools come back with raw input, streamed and not", async () => {
  await using h = await start([{ type: "tool", id: "call_9", name: "patch", arguments: '{"input":"line 1\\nline 2"}' }]);
  const tools = [{ type: "custom" as const, custom: { name: "patch", description: "applies" } }];
  const plain = await client(h).chat.completions.create({ model: "demo", messages: hi, tools });
  expect(plain.choices[0].message.tool_calls).toEqual([
    { id: "call_9", type: "custom", custom: { name: "patch", input: "line 1\nline 2" } },
  ]);
  const chunks = await Array.fromAsync(await client(h).chat.completions.create({ model: "demo", messages: hi, tools, stream: true }));
  const calls = chunks.flatMap((c) => c.choices[0]?.delta.tool_calls ?? []) as object[];
  expect(calls).toEqual([{ index: 0, id: "call_9", type: "custom", custom: { name: "patch", input: "line 1\nline 2" } }]);
});

test("legacy functions get function_call back", async () => {
  await using h = await start([{ type: "tool", name: "weather", arguments: '{"city":"x"}' }]);
  const functions = [{ name: "weather", parameters: {} }];
  const answer = await client(h).chat.completions.create({ model: "demo", messages: hi, functions });
  expect(answer.choices[0].finish_reason).toBe("function_call");
  expect(answer.choices[0].message.function_call).toEqual({ name: "weather", arguments: '{"city":"x"}' });
});

test("a call cut by the token limit is dropped, and the reason is length", async () => {
  await using h = await start([{ type: "tool", name: "weather", arguments: '{"city":"a long name"}' }]);
  const answer = await client(h).chat.completions.create({ model: "demo", messages: hi, tools: [weather], max_tokens: 2 });
  expect(answer.choices[0].finish_reason).toBe("length");
  expect(answer.choices[0].message.tool_calls).toBeUndefined();
});

test("row 29: n choices share the prompt's count; seeds differ per choice", async () => {
  await using h = await start();
  const answer = await client(h).chat.completions.create({ model: "demo", messages: hi, n: 3, seed: 7 });
  expect(answer.choices.map((c) => [c.index, c.message.content])).toEqual([0, 1, 2].map((i) => [i, "echo: hi"]));
  expect(answer.usage).toMatchObject({ prompt_tokens: 2, completion_tokens: 6 });
  expect(h.engine.requests.map((r) => r.sampling.seed)).toEqual([7, 8, 9]);
  const chunks = await Array.fromAsync(
    await client(h).chat.completions.create({ model: "demo", messages: hi, n: 3, stream: true, stream_options: { include_usage: true } }),
  );
  const indexes = chunks.flatMap((c) => c.choices.map((x) => x.index));
  // Not one choice after the other.
  expect(indexes.lastIndexOf(0)).toBeGreaterThan(indexes.indexOf(2));
  for (const index of [0, 1, 2]) {
    const own = chunks.flatMap((c) => c.choices.filter((x) => x.index === index));
    expect(own.map((x) => x.delta.content ?? "").join("")).toBe("echo: hi");
    expect(own.filter((x) => x.finish_reason !== null)).toHaveLength(1);
  }
  expect(chunks.at(-1)!.usage).toMatchObject({ prompt_tokens: 2, completion_tokens: 6 });
});

test("row 30: log-probabilities with alternatives, streamed and not", async () => {
  await using h = await start([
    { type: "reasoning", text: "not counted" },
    { type: "text", text: "a b" },
  ]);
  const request = { model: "demo", messages: hi, logprobs: true, top_logprobs: 5 };
  const plain = await client(h).chat.completions.create(request);
  const content = plain.choices[0].logprobs!.content!;
  expect(content.map((t) => t.token)).toEqual(["a", " b"]);
  expect(content[0]).toMatchObject({ bytes: [97], logprob: -0.7 });
  for (const { token, top_logprobs } of content) {
    expect(top_logprobs).toHaveLength(5);
    expect(top_logprobs.map((t) => t.token)).toContain(token);
  }
  const chunks = await Array.fromAsync(await client(h).chat.completions.create({ ...request, stream: true }));
  expect(chunks.flatMap((c) => c.choices[0]?.logprobs?.content ?? [])).toEqual(content);
});

test("row 31: stop strings split over tokens are not emitted", async () => {
  await using h = await start([{ type: "text", text: "one two END three" }]);
  // The second one begins inside of a token, and ends inside of another.
  for (const stop of [[" END", ""], "wo END thr"]) {
    const answer = await client(h).chat.completions.create({ model: "demo", messages: hi, stop });
    expect(answer.choices[0].message.content).toBe(typeof stop === "string" ? "one t" : "one two");
    expect(answer.choices[0].finish_reason).toBe("stop");
    const stream = client(h).chat.completions.stream({ model: "demo", messages: hi, stop });
    expect((await stream.finalChatCompletion()).choices[0].message.content).toBe(answer.choices[0].message.content);
  }
});

test("row 34: max_tokens", async () => {
  await using h = await start([{ type: "text", text: "one two three four five six seven" }]);
  for (const limit of [{ max_tokens: 5 }, { max_completion_tokens: 5 }]) {
    const answer = await client(h).chat.completions.create({ model: "demo", messages: hi, ...limit });
    expect(answer.choices[0]).toMatchObject({ message: { content: "one two three four five" }, finish_reason: "length" });
    expect(answer.usage!.completion_tokens).toBe(5);
  }
});

test("sampling fields reach the engine; null is absent", async () => {
  await using h = await start();
  await client(h).chat.completions.create({
    model: "demo",
    messages: hi,
    temperature: 0,
    top_p: 0.5,
    frequency_penalty: 1,
    presence_penalty: -1,
    seed: 3,
    stop: null,
    logit_bias: { "5": -100, word: 3 },
    max_tokens: 4,
    max_completion_tokens: 2,
    n: null,
    reasoning_effort: null,
  });
  const [request] = h.engine.requests;
  expect(request.sampling).toEqual({
    temperature: 0,
    topP: 0.5,
    frequencyPenalty: 1,
    presencePenalty: -1,
    seed: 3,
    logitBias: { 5: -100 },
  });
  expect(request.maxTokens).toBe(2);
  expect(request.prompt).toMatchObject({ thinking: undefined });
});

test("row 36: thinking: efforts, template switch, and models that cannot think", async () => {
  const models = [scriptedModel("demo"), scriptedModel("plain", { capabilities: ["completion"] })];
  await using h = await start({ models });
  const ask = (extra: object, model = "demo") => h.post("/v1/chat/completions", { model, messages: hi, ...extra });
  for (const extra of [
    { reasoning_effort: "none" },
    { reasoning_effort: "minimal" },
    { reasoning: { effort: "xhigh" } },
    { think: true },
    { reasoning_effort: "high", chat_template_kwargs: { enable_thinking: false } },
    { chat_template_kwargs: { enable_thinking: true } },
  ]) {
    expect((await ask(extra)).status).toBe(200);
  }
  expect((await ask({ reasoning_effort: "low" }, "plain")).status).toBe(200);
  const thinking = h.engine.requests.map((r) => (r.prompt.kind === "chat" ? r.prompt.thinking : "none"));
  expect(thinking).toEqual(["off", "low", "max", "on", "off", "on", undefined]);
  expect((await ask({ reasoning_effort: "extreme" })).status).toBe(400);
});

test("a trailing assistant message is continued", async () => {
  await using h = await start();
  await client(h).chat.completions.create({ model: "demo", messages: [...hi, { role: "assistant", content: "The" }] });
  expect(h.engine.requests[0].prompt).toMatchObject({ continueLast: true });
});

test("row 25: history that other servers choke on", async () => {
  await using h = await start();
  const response = await h.post("/v1/chat/completions", {
    model: "demo",
    messages: [
      { role: "developer", content: "be kind" },
      {
        role: "user",
        content: [
          { type: "text", text: "a" },
          { type: "image_url", image_url: "data:image/png;base64,AA" },
        ],
      },
      {
        role: "assistant",
        content: null,
        reasoning_content: "r",
        tool_calls: [{ id: "c1", type: "function", function: { name: "f", arguments: "{bad" } }],
      },
      { role: "tool", tool_call_id: "unknown", content: [{ type: "text", text: "t" }] },
      { role: "user", content: "b" },
      { role: "user", content: "c" },
    ],
  });
  expect(response.status).toBe(200);
  expect(h.engine.requests[0].prompt).toMatchObject({
    messages: [
      { role: "developer", content: "be kind" },
      { role: "user", content: "a\n[image omitted: model has no vision]" },
      { role: "assistant", content: "", reasoning: "r", toolCalls: [{ id: "c1", name: "f", arguments: "{bad" }] },
      { role: "tool", toolCallId: "unknown", content: "t" },
      { role: "user", content: "b" },
      { role: "user", content: "c" },
    ],
  });
});

test("row 40: completions: string, strings, ids, arrays of ids, echo, logprobs, stream, usage", async () => {
  await using h = await start({ script: () => [{ type: "text", text: " x y" }] });
  const c = client(h);
  const echo = await c.completions.create({ model: "demo", prompt: "a b", echo: true });
  expect(echo.choices[0]).toMatchObject({ text: "a b x y", index: 0, finish_reason: "stop", logprobs: null });
  expect(echo.id).toMatch(/^cmpl-\w{24}$/);
  const many = await c.completions.create({ model: "demo", prompt: ["a", "b b"], n: 2 });
  expect(many.choices.map((x) => x.index)).toEqual([0, 1, 2, 3]);
  expect(many.usage).toMatchObject({ prompt_tokens: 3, completion_tokens: 8 });
  await c.completions.create({ model: "demo", prompt: [1, 0] });
  expect(h.engine.requests.at(-1)!.prompt).toEqual({ kind: "ids", ids: [1, 0] });
  const arrays = await c.completions.create({ model: "demo", prompt: [[1], [0, 1]] });
  expect(arrays.choices).toHaveLength(2);
  const logprobs = await c.completions.create({ model: "demo", prompt: "a", logprobs: 2 });
  expect(logprobs.choices[0].logprobs).toMatchObject({ tokens: [" x", " y"], token_logprobs: [-0.7, -0.7], text_offset: [0, 2] });
  expect(Object.keys(logprobs.choices[0].logprobs!.top_logprobs![0])).toHaveLength(2);
  const suffix = await failure(c.completions.create({ model: "demo", prompt: "a", suffix: "b" }));
  expect(suffix).toMatchObject({ status: 400, code: "unsupported_capability", param: "suffix" });
  const best = await c.completions.create({ model: "demo", prompt: "a", best_of: 3 });
  expect(best.choices).toHaveLength(1);
  expect(best.usage).toMatchObject({ prompt_tokens: 1, completion_tokens: 6 });
  const stream = await c.completions.create({
    model: "demo",
    prompt: "a b",
    echo: true,
    stream: true,
    stream_options: { include_usage: true },
  });
  const chunks = await Array.fromAsync(stream);
  expect<unknown[]>(chunks.map((x) => x.choices[0]?.text)).toEqual(["a b", " x", " y", "", undefined]);
  expect(chunks.at(-2)!.choices[0].finish_reason).toBe("stop");
  expect(chunks.at(-1)!.usage).toMatchObject({ total_tokens: 4 });
  expect(chunks[0].usage).toBeNull();
});

test("row 40: a suffix, with a model that fills gaps", async () => {
  await using h = await start({ models: [gapFiller] });
  const answer = await client(h).completions.create({ model: "coder", prompt: ["a = ", "b ="], suffix: " + 1", max_tokens: 1 });
  expect(answer.choices).toHaveLength(2);
  // Prefix, suffix, middle, and the texts between them.
  expect(h.engine.requests.map((r) => r.prompt.kind === "ids" && r.prompt.ids.filter((id) => id >= 900))).toEqual([
    [901, 902, 903],
    [901, 902, 903],
  ]);
  const ids = await failure(client(h).completions.create({ model: "coder", prompt: [1, 2], suffix: "x" }));
  expect(ids).toMatchObject({ status: 400, code: "invalid_type", param: "prompt" });
});

test("row 42: models: list, retrieve with slash and colon, unknown", async () => {
  const models = [scriptedModel("demo"), scriptedModel("hf.co/org/repo:Q4_K_M", { modified: "2026-05-01T00:00:00Z" })];
  await using h = await start({ models }, { aliases: { fast: "demo" } });
  const list = await Array.fromAsync(client(h).models.list());
  expect(list.map((m) => m.id)).toEqual(["hf.co/org/repo:Q4_K_M", "demo", "fast"]);
  expect(list[0]).toMatchObject({ object: "model", owned_by: "hf.co/org", created: 1777593600 });
  expect((await client(h).models.retrieve("hf.co/org/repo:Q4_K_M")).id).toBe("hf.co/org/repo:Q4_K_M");
  expect((await fetch(`${h.url}/v1/models/hf.co/org/repo:q4_k_m`)).status).toBe(200);
  expect(await failure(client(h).models.retrieve("nope"))).toBeInstanceOf(OpenAI.NotFoundError);
});

test("row 39: a prompt over the window", async () => {
  await using h = await start({ contextLength: 50 });
  const messages = [{ role: "user" as const, content: "w ".repeat(100) }];
  for (const stream of [false, true]) {
    const overflow = await failure(client(h).chat.completions.create({ model: "demo", messages, stream }));
    expect(overflow).toBeInstanceOf(OpenAI.BadRequestError);
    expect(overflow).toMatchObject({ code: "context_length_exceeded", param: "messages" });
    expect(overflow.message).toContain("This model's maximum context length is 50 tokens. However, your messages resulted in 101 tokens");
  }
});

test("errors arrive as the client's own classes, with code and param", async () => {
  await using h = await start();
  const c = client(h).chat.completions;
  const error = async (promise: Promise<unknown>) =>
    promise.then(
      () => undefined,
      (e: unknown) => e as InstanceType<typeof OpenAI.APIError>,
    );
  const unknown = await error(c.create({ model: "nope", messages: hi }));
  expect(unknown).toBeInstanceOf(OpenAI.NotFoundError);
  expect(unknown).toMatchObject({ status: 404, code: "model_not_found", param: "model", type: "invalid_request_error" });
  const format = await error(c.create({ model: "demo", messages: hi, response_format: { type: "xml" as "text" } }));
  expect(format).toMatchObject({ status: 400, code: "invalid_value", param: "response_format.type" });
});

test("row 37: an image that the model cannot see, and one that lies elsewhere, are refused", async () => {
  await using h = await start();
  for (const url of ["https://x/y.png", "file:///etc/passwd", "data:image/png;base64,iVBORw0KGgo="]) {
    const messages = [{ role: "user" as const, content: [{ type: "image_url" as const, image_url: { url } }] }];
    const error = await failure(client(h).chat.completions.create({ model: "demo", messages }));
    expect(error).toBeInstanceOf(OpenAI.BadRequestError);
    expect(error).toMatchObject({ code: "unsupported_content", param: "messages[0].content[0]" });
    expect(error.message).toContain("'demo'");
  }
  expect(h.engine.requests).toEqual([]);
});

test("row 48: an engine fault in mid-stream raises in the client", async () => {
  await using h = await start([
    { type: "text", text: "so far" },
    { type: "error", error: new AlloyError("engine_died", "the engine stopped", { hint: "Send it again." }) },
  ]);
  const texts: string[] = [];
  const run = async () => {
    for await (const c of await client(h).chat.completions.create({ model: "demo", messages: hi, stream: true })) {
      texts.push(c.choices[0]?.delta.content ?? "");
    }
  };
  const error = await failure(run());
  expect(error).toBeInstanceOf(OpenAI.APIError);
  expect(error.message).toContain("the engine stopped. Send it again.");
  expect(texts.join("")).toContain("so far");
});

test("aborting the stream cancels the engine's request", async () => {
  await using h = await start({ script: () => [{ type: "text", text: "w ".repeat(5000) }], delayMs: 5 });
  const stream = await client(h).chat.completions.create({ model: "demo", messages: hi, stream: true, n: 2 });
  for await (const _ of stream) break;
  await until(() => h.engine.cancelled.length === 2 && h.engine.running === 0, "both choices cancelled");
});
