/** Rows 18 to 35 of the acceptance matrix that need a real model, through the official `openai` client. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import Ajv from "ajv";
import OpenAI from "openai";
import { failure } from "../server/harness.ts";
import { type Demo, startDemo } from "./demo.ts";

setDefaultTimeout(120_000);

let demo: Demo;
let client: OpenAI;
beforeAll(async () => {
  demo = await startDemo();
  client = new OpenAI({ baseURL: `${demo.url}/v1`, apiKey: "none", maxRetries: 0 });
});
afterAll(() => demo[Symbol.asyncDispose]());

const user = (content: string) => [{ role: "user" as const, content }];
const tool = (name: string, field: string) => ({
  type: "function" as const,
  function: {
    name,
    description: `Get the ${name} of a city`,
    parameters: { type: "object", properties: { [field]: { type: "string" } }, required: [field], additionalProperties: false },
  },
});
const weather = tool("get_weather", "city");
const time = tool("get_time", "place");

test("row 18: characters that take several tokens come whole, in every dialect", async () => {
  // A choice at every character: what a grammar leaves no choice of would come in one piece.
  const pattern = "^(世|界|é|ß|🎉|👩‍👩‍👧|𝕏){12,16}$";
  const structured_outputs = { regex: pattern };
  const messages = user("Say it.");
  const ask = async (path: string, body: object) => (await demo.post(path, { model: "demo", stream: true, ...body })).text();
  const deltas = async (path: string, body: object, pick: (value: any) => string | undefined) =>
    (await ask(path, body))
      .split("\n")
      .map((line) => line.replace(/^data: /, ""))
      .filter((line) => line.startsWith("{"))
      .map((line) => pick(JSON.parse(line)) ?? "");
  const schema = { type: "string", pattern };
  const format = { type: "json_schema", schema, name: "x" };
  const streams = {
    chat: await deltas("/v1/chat/completions", { messages, structured_outputs }, (c) => c.choices[0]?.delta.content),
    completions: await deltas("/v1/completions", { prompt: "x", structured_outputs }, (c) => c.choices[0]?.text),
    responses: await deltas("/v1/responses", { input: "Say it.", text: { format } }, (e) =>
      e.type === "response.output_text.delta" ? e.delta : "",
    ),
    messages: await deltas("/v1/messages", { messages, max_tokens: 200, output_config: { format } }, (e) => e.delta?.text),
    ollama: await deltas("/api/chat", { messages, format: schema }, (c) => c.message.content),
    generate: await deltas("/api/generate", { prompt: "Say it.", format: schema }, (c) => c.response),
  };
  for (const [name, pieces] of Object.entries(streams)) {
    expect([name, pieces.join("").replace(/^\s*"|"\s*$/g, "")]).toEqual([name, expect.stringMatching(new RegExp(pattern))]);
    // Several deltas, or nothing was shown; a half of a pair of surrogates would be no well-formed string.
    expect([name, pieces.length > 5, pieces.every((p) => p.isWellFormed() && !p.includes("\uFFFD"))]).toEqual([name, true, true]);
  }
});

test("row 20: the second run of a conversation comes from the cache", async () => {
  const messages = [{ role: "system" as const, content: "Be brief and kind, and answer in one sentence. ".repeat(8) }, ...user("Hello")];
  const run = () =>
    client.chat.completions
      .stream({ model: "demo", messages, temperature: 0, max_tokens: 40, stream_options: { include_usage: true } })
      .finalChatCompletion();
  const first = await run();
  const second = await run();
  const { message, finish_reason } = first.choices[0];
  expect([message.role, message.content !== "", finish_reason]).toEqual(["assistant", true, expect.stringMatching(/^(stop|length)$/)]);
  expect(second.choices[0].message.content).toBe(message.content);
  expect(second.usage!.prompt_tokens_details!.cached_tokens).toBeGreaterThan(0);
  expect(second.usage!.prompt_tokens).toBe(first.usage!.prompt_tokens);
});

test("row 23: tool_choice none, required, a name, and allowed tools", async () => {
  const ask = async (content: string, tool_choice: OpenAI.ChatCompletionToolChoiceOption) => {
    const request = { model: "demo", messages: user(content), tools: [weather, time], tool_choice, temperature: 0, max_tokens: 200 };
    const { choices } = await client.chat.completions.create(request);
    const calls = choices[0].message.tool_calls ?? [];
    return calls.map((c) => {
      if (c.type !== "function") throw new Error(`a ${c.type} call`);
      return [c.function.name, Object.keys(JSON.parse(c.function.arguments))];
    });
  };
  expect(await ask("What is the weather in Paris?", "none")).toEqual([]);
  expect((await ask("Hello!", "required")).length).toBeGreaterThan(0);
  const named = await ask("What is the weather in Paris?", { type: "function", function: { name: "get_time" } });
  expect(named).toEqual([["get_time", ["place"]]]);
  const allowed = await ask("What is the weather in Paris?", {
    type: "allowed_tools",
    allowed_tools: { mode: "required", tools: [{ type: "function", function: { name: "get_time" } }] },
  });
  expect(allowed.length).toBeGreaterThan(0);
  for (const call of allowed) expect(call).toEqual(["get_time", ["place"]]);
});

test("row 26: json_object is always an object", async () => {
  for (const content of ["Give me a city and its country as JSON.", "Just say hello.", "[1, 2, 3]"]) {
    const { choices } = await client.chat.completions.create({
      model: "demo",
      messages: user(content),
      response_format: { type: "json_object" },
      seed: 1,
      max_tokens: 400,
    });
    const { message, finish_reason } = choices[0];
    // The token limit alone may leave it unfinished.
    expect(message.content).toMatch(/^\s*\{/);
    if (finish_reason === "stop") expect(JSON.parse(message.content!)).toBeObject();
  }
});

test("row 27: a strict schema holds in 50 runs", async () => {
  const schema = {
    type: "object",
    $defs: {
      tag: { type: "object", properties: { name: { enum: ["old", "big", "new"] } }, required: ["name"], additionalProperties: false },
    },
    properties: {
      place: {
        type: "object",
        properties: { kind: { enum: ["city", "country"] }, tag: { $ref: "#/$defs/tag" } },
        required: ["kind", "tag"],
        additionalProperties: false,
      },
      size: { anyOf: [{ type: "integer", minimum: 0, maximum: 99 }, { type: "null" }] },
      tags: { type: "array", items: { $ref: "#/$defs/tag" }, minItems: 1, maxItems: 3 },
    },
    required: ["place", "size", "tags"],
    additionalProperties: false,
  };
  const valid = new Ajv({ strict: false }).compile(schema);
  const response_format = { type: "json_schema" as const, json_schema: { name: "place", schema, strict: true } };
  const run = async (seed: number) => {
    const messages = user("Describe Paris.");
    const { choices } = await client.chat.completions.create({ model: "demo", messages, response_format, seed, temperature: 1.2 });
    expect(choices[0].finish_reason).toBe("stop");
    return JSON.parse(choices[0].message.content!);
  };
  const answers = await Promise.all(Array.from({ length: 50 }, (_, i) => run(i)));
  for (const answer of answers) expect([answer, valid(answer), valid.errors]).toEqual([answer, true, null]);
  expect(new Set(answers.map((a) => JSON.stringify(a))).size).toBeGreaterThan(1);
});

test("row 28: a strict schema with a keyword that cannot be held is refused", async () => {
  const schema = { type: "object", properties: { a: { type: "integer", multipleOf: 3 } }, additionalProperties: false };
  const ask = (strict: boolean) =>
    client.chat.completions.create({
      model: "demo",
      messages: user("Give me a number."),
      max_tokens: 40,
      response_format: { type: "json_schema", json_schema: { name: "x", schema, strict } },
    });
  const error = await failure(ask(true));
  expect(error).toBeInstanceOf(OpenAI.BadRequestError);
  expect(error).toMatchObject({ code: "invalid_json_schema" });
  expect(error.message).toContain("multipleOf");
  expect((await ask(false)).choices[0].message.content).toMatch(/^\s*\{/);
});

test("row 30: log-probabilities are those of a distribution, and hold the chosen token", async () => {
  const { choices } = await client.chat.completions.create({
    model: "demo",
    messages: user("What is the capital of France?"),
    logprobs: true,
    top_logprobs: 5,
    seed: 3,
    max_tokens: 20,
  });
  const content = choices[0].logprobs!.content!;
  expect(content.length).toBeGreaterThan(1);
  for (const { token, logprob, top_logprobs: top } of content) {
    expect(top).toHaveLength(5);
    expect(top.reduce((sum, t) => sum + Math.exp(t.logprob), 0)).toBeLessThanOrEqual(1 + 1e-6);
    expect(top.map((t) => t.logprob)).toEqual(top.map((t) => t.logprob).toSorted((a, b) => b - a));
    // A token that was drawn from farther down ranks below the five.
    const own = top.find((t) => t.token === token);
    if (own) expect(own.logprob).toBeCloseTo(logprob, 5);
    else expect(logprob).toBeLessThanOrEqual(top[4].logprob);
  }
});

test("row 32: a seed gives the same text again, alone and among others", async () => {
  const run = async (seed: number) => {
    const messages = user("Tell me about the sea.");
    const { choices } = await client.chat.completions.create({ model: "demo", messages, seed, temperature: 1, max_tokens: 60 });
    return choices[0].message.content;
  };
  const alone = await run(7);
  expect(await run(7)).toBe(alone);
  const [among, ...others] = await Promise.all([7, 8, 9, 10].map(run));
  expect(among).toBe(alone);
  expect(others.some((text) => text !== alone)).toBe(true);
});

test("row 35: reasoning_effort none and high; tags are never in the content", async () => {
  for (const [reasoning_effort, thinks] of [
    ["none", false],
    ["high", true],
  ] as const) {
    const request = { model: "demo", messages: user("What is 12 + 30?"), reasoning_effort, temperature: 0, max_tokens: 400 };
    const whole = (await client.chat.completions.create(request)).choices[0].message as { content: string; reasoning_content?: string };
    expect([reasoning_effort, (whole.reasoning_content ?? "") !== ""]).toEqual([reasoning_effort, thinks]);
    expect(whole.content).toContain("42");
    let content = "";
    for await (const chunk of await client.chat.completions.create({ ...request, stream: true }))
      content += chunk.choices[0]?.delta.content ?? "";
    expect(content).toBe(whole.content);
    expect(content).not.toMatch(/<\/?think/);
  }
});
