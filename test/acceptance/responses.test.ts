/** Rows 43 to 46 and 48 of the acceptance matrix: POST /v1/responses through the official `openai` client, and its events as they are on the wire. */
import { expect, test } from "bun:test";
import OpenAI from "openai";
import type { ResponseInputItem, Tool } from "openai/resources/responses/responses";
import { AlloyError } from "../../src/support/errors.ts";
import { failure, type Harness, sseFrames, start, until } from "../server/harness.ts";
import { type Step, scriptedModel } from "../server/scripted-engine.ts";

const client = (h: Harness) => new OpenAI({ baseURL: `${h.url}/v1`, apiKey: "none", maxRetries: 0 });
const weather: Tool = {
  type: "function",
  name: "weather",
  parameters: { type: "object", properties: { city: { type: "string" } } },
  strict: false,
};
const chatPrompt = (h: Harness, at = -1) => {
  const prompt = h.engine.requests.at(at)!.prompt;
  if (prompt.kind !== "chat") throw new Error("not a chat prompt");
  return prompt;
};

type Event = { type: string } & Record<string, any>;

/** Events of a streamed request, with the rules that hold for all of them checked. */
async function events(h: Harness, body: object): Promise<Event[]> {
  const response = await h.post("/v1/responses", { model: "demo", input: "hi", stream: true, ...body });
  expect(response.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
  const list = sseFrames(await response.text()).map(({ event, data }) => {
    const value = JSON.parse(data!);
    expect(event).toBe(value.type);
    return value;
  });
  expect(list.map((e) => e.sequence_number)).toEqual(list.map((_, i) => i));
  const added = list.filter((e) => e.type === "response.output_item.added");
  expect(added.map((e) => e.output_index)).toEqual(added.map((_, i) => i));
  expect(new Set(list.flatMap((e) => (e.response ? [e.response.id] : []))).size).toBe(1);
  return list;
}

/** Repeated deltas as one. */
const types = (list: { type: string }[]) => list.map((e) => e.type.replace(/^response\./, "")).filter((t, i, all) => t !== all[i - 1]);

const everything: Step[] = [
  { type: "reasoning", text: "let me see" },
  { type: "text", text: "I look it up" },
  { type: "tool", id: "call_1", name: "weather", arguments: '{"city":"Rome"}' },
];

test("a plain answer: text, usage, and what the request said", async () => {
  await using h = await start();
  const answer = await client(h).responses.create({
    model: "demo",
    instructions: "Be brief.",
    input: "one two",
    temperature: 0.5,
    metadata: { a: "b" },
  });
  expect(answer.output_text).toBe("echo: one two");
  expect(answer.id).toMatch(/^resp_\w{24}$/);
  expect(answer).toMatchObject({
    object: "response",
    status: "completed",
    model: "demo",
    instructions: "Be brief.",
    temperature: 0.5,
    metadata: { a: "b" },
    error: null,
    incomplete_details: null,
    usage: { output_tokens: 3, input_tokens_details: { cached_tokens: 0 }, output_tokens_details: { reasoning_tokens: 0 } },
  });
  expect(answer.usage!.total_tokens).toBe(answer.usage!.input_tokens + 3);
  expect(chatPrompt(h).messages).toEqual([
    { role: "system", content: "Be brief." },
    { role: "user", content: "one two" },
  ]);
  expect(h.engine.requests[0].sampling.temperature).toBe(0.5);
});

test("row 43: reasoning, text and a call: three items, streamed and whole", async () => {
  await using h = await start(everything);
  const request = { model: "demo", input: "hi", tools: [weather] };
  const whole = await client(h).responses.create(request);
  const streamed = await client(h).responses.stream(request).finalResponse();
  for (const answer of [whole, streamed]) {
    expect(answer.output_text).toBe("I look it up");
    expect(answer.output.map((o) => o.type)).toEqual(["reasoning", "message", "function_call"]);
    expect(answer.output[0]).toMatchObject({ summary: [{ type: "summary_text", text: "let me see" }], status: "completed" });
    expect(answer.output[0]).not.toHaveProperty("encrypted_content");
    expect(answer.output[2]).toMatchObject({ call_id: "call_1", name: "weather", arguments: '{"city":"Rome"}', status: "completed" });
    expect(answer.usage!.output_tokens_details.reasoning_tokens).toBe(3);
  }
});

test("row 43: events in order", async () => {
  await using h = await start(everything);
  const list = await events(h, { tools: [weather] });
  expect(types(list)).toEqual([
    "created",
    "in_progress",
    "output_item.added",
    "reasoning_summary_part.added",
    "reasoning_summary_text.delta",
    "reasoning_summary_text.done",
    "reasoning_summary_part.done",
    "output_item.done",
    "output_item.added",
    "content_part.added",
    "output_text.delta",
    "output_text.done",
    "content_part.done",
    "output_item.done",
    "output_item.added",
    "function_call_arguments.delta",
    "function_call_arguments.done",
    "output_item.done",
    "completed",
  ]);
  expect(list[0].response).toMatchObject({ status: "in_progress", output: [], usage: null, model: "demo" });
  expect(list[0].response.created_at).toBeNumber();
  const done = list.filter((e) => e.type === "response.output_item.done").map((e) => e.item);
  expect(list.at(-1)!.response.output).toEqual(done);
  // Every event about an item names it.
  for (const e of list.filter((x) => x.item_id)) expect(done[e.output_index].id).toBe(e.item_id);
});

test("row 44: function, custom, namespace and search tools go back as what they are; hosted ones are not shown", async () => {
  const calls: Step[] = [
    { type: "tool", name: "weather", arguments: "{}" },
    { type: "tool", name: "apply_patch", arguments: JSON.stringify({ input: "*** Begin\n+a" }) },
    { type: "tool", name: "agents__wait", arguments: '{"ids":[1]}' },
    { type: "tool", name: "agents.wait", arguments: "{}" },
    { type: "tool", name: "wait", arguments: "{}" },
    { type: "tool", name: "tool_search", arguments: '{"query":"mail"}' },
    { type: "tool", name: "nobody", arguments: "{}" },
  ];
  await using h = await start(calls);
  const tools = [
    weather,
    {
      type: "custom",
      name: "apply_patch",
      description: "Edits files.",
      format: { type: "grammar", syntax: "lark", definition: "start: X" },
    },
    { type: "namespace", name: "agents", description: "", tools: [{ type: "function", name: "wait", parameters: {} }] },
    { type: "tool_search", execution: "client", parameters: { type: "object" } },
    { type: "web_search" },
    { type: "local_shell" },
    { type: "tool_search", execution: "server" },
  ];
  const list = await events(h, { tools });
  const { output, tools: echoed } = list.at(-1)!.response;
  expect(echoed).toEqual(tools);
  expect(output.map(({ id, call_id, status, ...rest }: Record<string, unknown>) => (id && call_id && status ? rest : undefined))).toEqual([
    { type: "function_call", name: "weather", arguments: "{}" },
    { type: "custom_tool_call", name: "apply_patch", input: "*** Begin\n+a" },
    { type: "function_call", name: "wait", namespace: "agents", arguments: '{"ids":[1]}' },
    { type: "function_call", name: "wait", namespace: "agents", arguments: "{}" },
    { type: "function_call", name: "wait", namespace: "agents", arguments: "{}" },
    { type: "tool_search_call", execution: "client", arguments: { query: "mail" } },
    { type: "function_call", name: "nobody", arguments: "{}" },
  ]);
  expect(list.find((e) => e.type === "response.custom_tool_call_input.done")).toMatchObject({ input: "*** Begin\n+a" });
  const shown = chatPrompt(h).tools!;
  expect(shown.map((t) => t.name)).toEqual(["weather", "apply_patch", "agents__wait", "tool_search"]);
  expect(shown[1].description).toContain("start: X");
});

test("a tool round trip with reasoning sealed and opened again", async () => {
  await using h = await start({
    script: (r) =>
      r.prompt.kind === "chat" && r.prompt.messages.some((m) => m.role === "tool") ? [{ type: "text", text: "sunny" }] : everything,
  });
  const first = await client(h).responses.create({
    model: "demo",
    input: "hi",
    tools: [weather],
    store: false,
    include: ["reasoning.encrypted_content"],
  });
  const reasoning = first.output[0];
  if (reasoning.type !== "reasoning") throw new Error("no reasoning");
  expect(reasoning.encrypted_content).toBeString();
  const second = await client(h).responses.create({
    model: "demo",
    input: [
      { role: "user", content: "hi" },
      // As Codex sends it back.
      { ...reasoning, summary: [], content: null } as unknown as ResponseInputItem,
      ...(first.output.slice(1) as ResponseInputItem[]),
      { type: "function_call_output", call_id: "call_1", output: "25 degrees" },
    ],
    tools: [weather],
  });
  expect(second.output_text).toBe("sunny");
  expect(chatPrompt(h).messages).toEqual([
    { role: "user", content: "hi" },
    {
      role: "assistant",
      content: "I look it up",
      reasoning: "let me see",
      toolCalls: [{ id: "call_1", name: "weather", arguments: '{"city":"Rome"}' }],
    },
    { role: "tool", toolCallId: "call_1", name: "weather", content: "25 degrees" },
  ]);
});

test("input items of every kind", async () => {
  await using h = await start();
  const mail = { name: "mail", description: "Sends.", parameters: {} };
  const found = [
    { type: "function", ...mail, strict: false, defer_loading: true },
    { type: "namespace", name: "agents", tools: [{ type: "function", ...mail }] },
  ];
  const input = [
    { type: "message", role: "developer", content: [{ type: "input_text", text: "rules" }] },
    {
      role: "user",
      content: [
        { type: "input_text", text: "a" },
        { type: "input_image", image_url: "data:image/png;base64,AA==" },
      ],
    },
    { type: "function_call", call_id: "c1", name: "wait", namespace: "agents", arguments: "" },
    { type: "custom_tool_call", call_id: "c2", name: "apply_patch", input: "x" },
    {
      type: "function_call_output",
      call_id: "c1",
      output: [
        { type: "input_text", text: "one" },
        { type: "input_image", image_url: "x" },
      ],
    },
    { type: "custom_tool_call_output", call_id: "c2", output: "two" },
    { type: "tool_search_call", call_id: "c3", execution: "client", arguments: { query: "mail" } },
    { type: "tool_search_output", call_id: "c3", tools: found },
    { type: "local_shell_call", call_id: "c4", action: { command: ["ls"] } },
    { type: "local_shell_call_output", id: "c4", output: "files" },
    { type: "web_search_call", id: "w1", status: "completed" },
    { type: "invented_next_month", anything: [1] },
    {
      type: "message",
      role: "assistant",
      content: [
        { type: "output_text", text: "done" },
        { type: "refusal", refusal: "not that" },
      ],
    },
    { role: "user", content: "more" },
  ];
  expect((await h.post("/v1/responses", { model: "demo", input, tools: [weather] })).status).toBe(200);
  const prompt = chatPrompt(h);
  const call = (id: string, name: string, args: object) => ({ id, name, arguments: JSON.stringify(args) });
  expect(prompt.messages).toEqual([
    { role: "developer", content: "rules" },
    { role: "user", content: "a\n[image omitted: model has no vision]" },
    { role: "assistant", content: "", toolCalls: [call("c1", "agents__wait", {}), call("c2", "apply_patch", { input: "x" })] },
    { role: "tool", toolCallId: "c1", name: "agents__wait", content: "one\n[image omitted: model has no vision]" },
    { role: "tool", toolCallId: "c2", name: "apply_patch", content: "two" },
    { role: "assistant", content: "", toolCalls: [call("c3", "tool_search", { query: "mail" })] },
    { role: "tool", toolCallId: "c3", name: "tool_search", content: JSON.stringify([mail, { ...mail, name: "agents__mail" }]) },
    { role: "assistant", content: "", toolCalls: [call("c4", "local_shell", { command: ["ls"] })] },
    { role: "tool", toolCallId: "c4", name: "local_shell", content: "files" },
    { role: "assistant", content: "done\nnot that" },
    { role: "user", content: "more" },
  ]);
  // What a search found was shown there, and the list stays as it was.
  expect(prompt.tools!.map((t) => t.name)).toEqual(["weather"]);
  expect(prompt.foundTools!.map((t) => t.name)).toEqual(["mail", "agents__mail"]);
});

test("row 45: previous_response_id continues a conversation; stored responses can be read and deleted", async () => {
  await using h = await start();
  const c = client(h);
  const first = await c.responses.create({ model: "demo", input: "one", instructions: "only now" });
  const second = await c.responses.stream({ model: "demo", input: "two", previous_response_id: first.id }).finalResponse();
  const third = await c.responses.create({ model: "demo", input: "three", previous_response_id: second.id });
  expect(third.previous_response_id).toBe(second.id);
  expect(chatPrompt(h).messages.map((m) => `${m.role}: ${m.content}`)).toEqual([
    "user: one",
    "assistant: echo: one",
    "user: two",
    "assistant: echo: two",
    "user: three",
  ]);
  expect(await c.responses.retrieve(second.id)).toMatchObject({ id: second.id, output_text: "echo: two" });
  const items = await c.responses.inputItems.list(second.id);
  expect(items.data).toMatchObject([{ type: "message", role: "user" }]);
  expect(await failure(c.responses.cancel(second.id))).toMatchObject({ status: 400 });
  await c.responses.delete(second.id);
  expect(await failure(c.responses.retrieve(second.id))).toMatchObject({ status: 404, code: "response_not_found" });
  const orphan = await failure(c.responses.create({ model: "demo", input: "x", previous_response_id: second.id }));
  expect(orphan).toMatchObject({ status: 400, code: "previous_response_not_found", param: "previous_response_id" });
  const unstored = await c.responses.create({ model: "demo", input: "x", store: false });
  expect(await failure(c.responses.create({ model: "demo", input: "x", previous_response_id: unstored.id }))).toMatchObject({
    status: 400,
  });
});

test("row 46: the token limit: incomplete, and a call that was cut is not handed out", async () => {
  await using h = await start([
    { type: "text", text: "a b c" },
    { type: "tool", name: "weather", arguments: '{"city":"a long name of a city"}' },
  ]);
  const list = await events(h, { max_output_tokens: 6, tools: [weather] });
  expect(types(list).slice(-4)).toEqual(["output_item.done", "output_item.added", "function_call_arguments.delta", "incomplete"]);
  const { response } = list.at(-1)!;
  expect(response).toMatchObject({
    status: "incomplete",
    incomplete_details: { reason: "max_output_tokens" },
    usage: { output_tokens: 6 },
  });
  expect(response.output.map((o: { type: string }) => o.type)).toEqual(["message"]);
  const whole = await client(h).responses.create({ model: "demo", input: "hi", max_output_tokens: 2 });
  expect(whole).toMatchObject({ status: "incomplete", output: [{ status: "incomplete" }] });
});

test("an answer of nothing is one empty message", async () => {
  await using h = await start([]);
  const answer = await client(h).responses.create({ model: "demo", input: "hi" });
  expect(answer.output).toMatchObject([{ type: "message", content: [{ type: "output_text", text: "", annotations: [] }] }]);
  expect(await client(h).responses.stream({ model: "demo", input: "hi" }).finalResponse()).toMatchObject({ output_text: "" });
});

test("parallel_tool_calls: false hands out the first call only", async () => {
  await using h = await start(["a", "b"].map((city): Step => ({ type: "tool", name: "weather", arguments: JSON.stringify({ city }) })));
  const answer = await client(h).responses.create({ model: "demo", input: "hi", tools: [weather], parallel_tool_calls: false });
  expect(answer.output).toHaveLength(1);
});

test("tool_choice reaches the engine; a hosted or absent tool cannot be forced", async () => {
  await using h = await start();
  const custom: Tool = { type: "custom", name: "patch" };
  const ask = (tool_choice: unknown) => h.post("/v1/responses", { model: "demo", input: "hi", tools: [weather, custom], tool_choice });
  for (const [choice, seen] of [
    ["required", "required"],
    [{ type: "function", name: "weather" }, { name: "weather" }],
    [{ type: "custom", name: "patch" }, { name: "patch" }],
  ]) {
    expect((await ask(choice)).status).toBe(200);
    expect(chatPrompt(h).toolChoice).toEqual(seen as never);
  }
  expect((await ask({ type: "allowed_tools", mode: "required", tools: [{ type: "custom", name: "patch" }] })).status).toBe(200);
  expect(chatPrompt(h)).toMatchObject({ toolChoice: "required", tools: [{ name: "patch" }] });
  expect((await ask({ type: "web_search" })).status).toBe(400);
  expect(await (await ask({ type: "function", name: "nobody" })).json()).toMatchObject({ error: { param: "tool_choice" } });
});

test("log-probabilities when they are asked for", async () => {
  await using h = await start([{ type: "text", text: "a b" }]);
  const answer = await client(h).responses.create({
    model: "demo",
    input: "hi",
    top_logprobs: 2,
    include: ["message.output_text.logprobs"],
  });
  const message = answer.output[0];
  if (message.type !== "message" || message.content[0].type !== "output_text") throw new Error("no message");
  expect(message.content[0].logprobs).toHaveLength(2);
  expect(message.content[0].logprobs![0].top_logprobs).toHaveLength(2);
});

test("a prompt beyond the window, and truncation: auto", async () => {
  await using h = await start({ contextLength: 12 });
  const words = (n: number) => Array.from({ length: n }, (_, i) => `w${i}`).join(" ");
  const input: ResponseInputItem[] = [
    { role: "developer", content: "rules" },
    { role: "user", content: words(6) },
    { role: "assistant", content: words(6) },
    { role: "user", content: "last" },
  ];
  const error = await failure(client(h).responses.create({ model: "demo", input }));
  expect(error).toMatchObject({ status: 400, code: "context_length_exceeded", param: "input" });
  expect(error.message).toContain("maximum context length is 12 tokens");
  const response = await h.post("/v1/responses", { model: "demo", input, truncation: "auto" });
  expect(response.status).toBe(200);
  expect(Number(response.headers.get("x-alloy-truncated"))).toBeGreaterThan(0);
  const kept = chatPrompt(h).messages.map((m) => m.role);
  expect(kept[0]).toBe("developer");
  expect(chatPrompt(h).messages.at(-1)!.content).toBe("last");
});

test("row 48: an engine that fails in the middle: response.failed", async () => {
  await using h = await start([
    { type: "text", text: "so far" },
    { type: "error", error: new AlloyError("device_error", "the device is gone") },
  ]);
  const list = await events(h, {});
  expect(list.at(-1)).toMatchObject({
    type: "response.failed",
    response: { status: "failed", error: { code: "server_error", message: "the device is gone" } },
  });
  expect(await failure(client(h).responses.create({ model: "demo", input: "hi" }))).toMatchObject({ status: 500 });
});

test("silence is bridged by comments, and leaving cancels", async () => {
  const { promise: hold, resolve: speak } = Promise.withResolvers<void>();
  await using h = await start({ hold }, { heartbeatMs: 10 });
  const response = await h.post("/v1/responses", { model: "demo", input: "hi", stream: true });
  let text = "";
  for await (const piece of response.body!.pipeThrough(new TextDecoderStream())) {
    text += piece;
    if (text.includes(": ping\n\n")) speak();
  }
  expect(sseFrames(text).some((f) => f.comment === "ping")).toBe(true);
  await using slow = await start({ delayMs: 20, script: () => [{ type: "text", text: "w ".repeat(1000) }] });
  const stream = await client(slow).responses.create({ model: "demo", input: "hi", stream: true });
  for await (const event of stream) if (event.type === "response.output_text.delta") break;
  await until(() => slow.engine.cancelled.length === 1, "the request is cancelled");
});

test("what is refused, and with which field", async () => {
  await using h = await start({ models: [scriptedModel("demo"), scriptedModel("embed", { capabilities: ["embedding"] })] });
  const image = [{ type: "input_image", image_url: "data:image/png;base64,AA==" }];
  for (const [body, param, code] of [
    [{}, "input", "missing_required_parameter"],
    [{ input: 5 }, "input", "invalid_type"],
    [{ input: [{ role: "king", content: "x" }] }, "input[0].role", "invalid_value"],
    [{ input: [{ type: "function_call", name: "x" }] }, "input[0].call_id", "missing_required_parameter"],
    [{ input: [{ role: "user", content: image }] }, "input[0].content[0]", "unsupported_content"],
    [{ input: "x", background: true }, "background", "unsupported_feature"],
    [{ input: "x", conversation: "conv_1" }, "conversation", "unsupported_feature"],
    [{ input: "x", prompt: { id: "p" } }, "prompt", "unsupported_feature"],
    [{ input: "x", reasoning: { effort: "silly" } }, "reasoning.effort", "invalid_value"],
    [{ input: "x", tools: [{ type: "function", name: "a b" }] }, "tools[0].name", "invalid_value"],
    [{ input: "x", model: "embed" }, "model", "unsupported_capability"],
    [{ input: "x", model: "nope" }, "model", "model_not_found"],
  ] as const) {
    const response = await h.post("/v1/responses", { model: "demo", ...body });
    expect(response.status).toBe(code === "model_not_found" ? 404 : 400);
    expect(await response.json()).toMatchObject({ error: { param, code } });
  }
  expect((await h.post("/v1/responses/compact", { model: "demo" })).status).toBe(404);
});

test("input_tokens counts what a response reports", async () => {
  await using h = await start();
  const body = { model: "demo", input: "one two three", tools: [weather] };
  const count = await (await h.post("/v1/responses/input_tokens", body)).json();
  const answer = await client(h).responses.create(body);
  expect(count).toEqual({ object: "response.input_tokens", input_tokens: answer.usage!.input_tokens });
});
