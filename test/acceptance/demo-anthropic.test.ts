/** Rows 52 to 61 of the acceptance matrix that need a real model, through the official `@anthropic-ai/sdk`; row 100 through all three clients. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import Anthropic from "@anthropic-ai/sdk";
import { Ollama } from "ollama";
import OpenAI from "openai";
import { commonPrefix, type Demo, startDemo } from "./demo.ts";

setDefaultTimeout(120_000);

let demo: Demo;
let client: Anthropic;
beforeAll(async () => {
  demo = await startDemo();
  client = new Anthropic({ baseURL: demo.url, apiKey: "none", maxRetries: 0 });
});
afterAll(() => demo[Symbol.asyncDispose]());

type Params = Anthropic.MessageCreateParamsNonStreaming;
const user = (content: Anthropic.MessageParam["content"]): Anthropic.MessageParam => ({ role: "user", content });
const assistant = (content: Anthropic.MessageParam["content"]): Anthropic.MessageParam => ({ role: "assistant", content });
const tool = (name: string, field: string): Anthropic.Tool => ({
  name,
  description: `Get the ${name} of a city`,
  input_schema: { type: "object", properties: { [field]: { type: "string" } }, required: [field] },
});
const weather = tool("get_weather", "city");
const time = tool("get_time", "place");
/** The SDK's types no longer name the field, the API still takes it. */
const COLD: object = { temperature: 0 };
const inputOf = (usage: Anthropic.Usage): number => usage.input_tokens + (usage.cache_read_input_tokens ?? 0);

test("row 52: tool_choice any, tool and none; disable_parallel_tool_use", async () => {
  const calls = async (content: string, tool_choice: Anthropic.ToolChoice) => {
    const message = await client.messages.create({
      model: "demo",
      max_tokens: 200,
      messages: [user(content)],
      tools: [weather, time],
      tool_choice,
      ...COLD,
    });
    return message.content.flatMap((b) => (b.type === "tool_use" ? [[b.name, Object.keys(b.input as object)]] : []));
  };
  expect((await calls("Hello!", { type: "any" })).length).toBeGreaterThan(0);
  for (const call of await calls("What is the weather in Rome?", { type: "tool", name: "get_time" }))
    expect(call).toEqual(["get_time", ["place"]]);
  expect(await calls("What is the weather in Rome?", { type: "none" })).toEqual([]);
  const two = "What is the weather in Rome, and what is the weather in Oslo?";
  expect(await calls(two, { type: "any", disable_parallel_tool_use: true })).toHaveLength(1);
});

/** Twenty bodies of all kinds; each adds something to those before. */
function mixedBodies(): Params[] {
  const base = { model: "demo", max_tokens: 4 };
  const reference = { type: "tool_reference", tool_name: "get_time" } as unknown as Anthropic.TextBlockParam;
  const called = assistant([{ type: "tool_use", id: "toolu_1", name: "get_weather", input: { city: "Rome" } }]);
  const result = (content: Anthropic.ToolResultBlockParam["content"]): Anthropic.MessageParam =>
    user([{ type: "tool_result", tool_use_id: "toolu_1", content }]);
  const thought = { type: "thinking" as const, thinking: "Let me see.", signature: "" };
  const search: Anthropic.Tool = { name: "ToolSearch", input_schema: { type: "object" } };
  const bodies: Omit<Params, "model" | "max_tokens">[] = [
    { messages: [user("Hello")] },
    { messages: [user("Grüße, 世界! 🎉 <|im_end|>")] },
    {
      messages: [
        user([
          { type: "text", text: "a" },
          { type: "text", text: "b" },
        ]),
      ],
    },
    { messages: [user("a"), user("b")] },
    { messages: [user("a"), assistant("b"), user("c")] },
    { system: "Be brief.", messages: [user("Hello")] },
    {
      system: [
        { type: "text", text: "Be brief." },
        { type: "text", text: "Be kind.", cache_control: { type: "ephemeral" } },
      ],
      messages: [user("x")],
    },
    { system: [{ type: "text", text: "x-anthropic-billing-header: cc_version=1.0a8" }], messages: [user("x")] },
    { messages: [user("a"), { role: "system", content: "In the middle." } as unknown as Anthropic.MessageParam, user("b")] },
    { tools: [weather], messages: [user("Hello")] },
    { tools: [weather, time], system: "Be brief.", messages: [user("Hello")] },
    { tools: [weather], tool_choice: { type: "none" }, messages: [user("Hello")] },
    { tools: [weather], messages: [user("Weather?"), called, result("25 degrees")] },
    { tools: [weather], messages: [user("Weather?"), called, result([{ type: "text", text: "25" }])] },
    { tools: [search, { ...time, defer_loading: true } as Anthropic.Tool], messages: [user("x")] },
    { tools: [search, { ...time, defer_loading: true } as Anthropic.Tool], messages: [user("x"), called, result([reference])] },
    { thinking: { type: "enabled", budget_tokens: 1024 }, messages: [user("What is 2 + 3?")] },
    { messages: [user("a"), assistant([thought, { type: "text", text: "b" }]), user("c")] },
    { messages: [user([{ type: "document", source: { type: "text", media_type: "text/plain", data: "A text." }, title: "T" }])] },
    { messages: [user("Count."), assistant("One, two,")] },
  ];
  return bodies.map((body) => ({ ...base, ...body }));
}

test("row 53: countTokens is what twenty mixed messages report", async () => {
  for (const body of mixedBodies()) {
    const { max_tokens: _, ...counted } = body;
    const { input_tokens } = await client.messages.countTokens(counted);
    const { usage } = await client.messages.create(body);
    expect([body, inputOf(usage)]).toEqual([body, input_tokens]);
    const stream = client.messages.stream(body);
    for await (const event of stream) if (event.type === "message_start") expect(inputOf(event.message.usage)).toBe(input_tokens);
  }
});

test("row 55: turn two begins with the tokens of turn one and its answer, whatever stands in the middle", async () => {
  const reminder = { role: "system", content: "The date is known." } as unknown as Anthropic.MessageParam;
  const base = { model: "demo", max_tokens: 30, tools: [weather], ...COLD };
  for (const system of [
    "Be brief.",
    [
      { type: "text" as const, text: "Be" },
      { type: "text" as const, text: "brief." },
    ],
  ]) {
    const messages = [user("What is the capital of France?"), reminder];
    const first = await client.messages.create({ ...base, system, messages });
    const before = await demo.ids();
    await client.messages.create({ ...base, system, messages: [...messages, assistant(first.content), user("And of Italy?")] });
    const after = await demo.ids();
    expect(commonPrefix(before, after)).toBe(before.length);
    const { text } = await demo.engine.tokenize("demo", demo.requests.at(-1)!.prompt);
    for (const part of ["Be", "brief.", "The date is known.", "get_weather"]) expect(text).toContain(part);
  }
});

test("row 56: two conversations that differ in the billing block share their beginning", async () => {
  const system = (version: string): Anthropic.TextBlockParam[] => [
    { type: "text", text: `x-anthropic-billing-header: cc_version=2.1.329${version}; cch=${version}` },
    { type: "text", text: "You are a careful assistant. Answer in one sentence. ".repeat(12) },
  ];
  const ask = (version: string, content: string) =>
    client.messages.create({ model: "demo", max_tokens: 8, tools: [weather], system: system(version), messages: [user(content)], ...COLD });
  await ask(".0a8", "What is the capital of France?");
  const first = await demo.ids();
  const { usage } = await ask(".934", "Tell me about the sea.");
  const shared = commonPrefix(first, await demo.ids());
  // Everything up to the question, in whole blocks of the cache.
  expect(shared).toBeGreaterThan(150);
  expect(usage.cache_read_input_tokens!).toBeGreaterThan(shared - 64);
});

test("row 57: thinking absent beside an effort, disabled, adaptive, and on a budget", async () => {
  const ask = (extra: Partial<Params>) =>
    client.messages.create({ model: "demo", max_tokens: 400, messages: [user("What is 12 + 30?")], ...COLD, ...extra });
  const thinks = (m: Anthropic.Message) => m.content.some((b) => b.type === "thinking");
  expect(thinks(await ask({ output_config: { effort: "high" } }))).toBe(false);
  expect(thinks(await ask({ thinking: { type: "disabled" } }))).toBe(false);
  const free = await ask({ thinking: { type: "adaptive" } });
  expect(thinks(free)).toBe(true);
  const used = free.usage.output_tokens_details!.thinking_tokens;
  // A budget that is not reached changes nothing; one that is ends the thinking, and the answer follows.
  expect((await ask({ thinking: { type: "enabled", budget_tokens: 1024 } })).content).toEqual(free.content);
  const budget = Math.floor(used / 2);
  const short = await ask({ thinking: { type: "enabled", budget_tokens: budget } });
  expect(short.content.map((b) => b.type)).toEqual(["thinking", "text"]);
  expect(short.usage.output_tokens_details!.thinking_tokens).toBeWithin(budget, budget + 8);
  expect(JSON.stringify(short.content)).not.toContain("think>");
});

test("row 58: an answer in a schema is JSON", async () => {
  const schema = {
    type: "object",
    properties: { title: { type: "string", maxLength: 60 } },
    required: ["title"],
    additionalProperties: false,
  };
  const { content } = await client.messages.create({
    model: "demo",
    max_tokens: 300,
    messages: [user("Write a title for a talk about Paris.")],
    output_config: { format: { type: "json_schema", schema } },
  });
  if (content[0].type !== "text") throw new Error(`a ${content[0].type} block`);
  expect(JSON.parse(content[0].text)).toEqual({ title: expect.any(String) });
});

test("row 61: a tool that a search finds does not change the beginning of the prompt", async () => {
  const search: Anthropic.Tool = {
    name: "ToolSearch",
    description: "Finds tools.",
    input_schema: { type: "object", properties: { query: { type: "string" } } },
  };
  const tools = [search, { ...time, defer_loading: true } as Anthropic.Tool];
  const base = { model: "demo", max_tokens: 60, system: "Be brief. ".repeat(30), tools, ...COLD };
  const messages = [user("What time is it in Rome?")];
  await client.messages.create({ ...base, messages });
  const before = await demo.ids();
  const text = async () => (await demo.engine.tokenize("demo", demo.requests.at(-1)!.prompt)).text!;
  expect(await text()).not.toContain("get_time");
  const reference = { type: "tool_reference", tool_name: "get_time" } as unknown as Anthropic.TextBlockParam;
  const found = [
    assistant([{ type: "tool_use", id: "toolu_1", name: "ToolSearch", input: { query: "time" } }]),
    user([{ type: "tool_result", tool_use_id: "toolu_1", content: [reference] }]),
  ];
  const after = await client.messages.create({
    ...base,
    messages: [...messages, ...found],
    tool_choice: { type: "tool", name: "get_time" },
  });
  expect(await text()).toContain('"name":"get_time"');
  // All but the opening of the assistant's turn, behind which the answers differ.
  expect(commonPrefix(before, await demo.ids())).toBeGreaterThan(before.length - 8);
  expect(after.usage.cache_read_input_tokens!).toBeGreaterThan(before.length - 64);
  // It can be called from then on, and is held to its schema.
  expect(after.content.at(-1)).toMatchObject({ type: "tool_use", name: "get_time", input: { place: expect.any(String) } });
});

test("row 100: the same prompt through the three dialects gives the same text and counts", async () => {
  const openai = new OpenAI({ baseURL: `${demo.url}/v1`, apiKey: "none", maxRetries: 0 });
  const ollama = new Ollama({ host: demo.url });
  const turns = [
    { role: "system" as const, content: "Be brief." },
    { role: "user" as const, content: "What is the capital of France, and what is it known for?" },
  ];
  const chat = await openai.chat.completions.create({
    model: "demo",
    messages: turns,
    temperature: 0,
    reasoning_effort: "none",
    max_tokens: 60,
  });
  const reply = await openai.responses.create({
    model: "demo",
    instructions: turns[0].content,
    input: turns[1].content,
    temperature: 0,
    reasoning: { effort: "none" },
    max_output_tokens: 60,
  });
  const message = await client.messages.create({
    model: "demo",
    system: turns[0].content,
    messages: [user(turns[1].content)],
    max_tokens: 60,
    ...COLD,
  });
  const native = await ollama.chat({ model: "demo", messages: turns, think: false, options: { temperature: 0, num_predict: 60 } });
  const text = chat.choices[0].message.content!;
  expect(text).not.toBe("");
  const counts = [chat.usage!.prompt_tokens, chat.usage!.completion_tokens];
  expect([reply.output_text, reply.usage!.input_tokens, reply.usage!.output_tokens]).toEqual([text, ...counts]);
  expect([message.content[0], inputOf(message.usage), message.usage.output_tokens]).toMatchObject([{ type: "text", text }, ...counts]);
  expect([native.message.content, native.prompt_eval_count, native.eval_count]).toEqual([text, ...counts]);
});
