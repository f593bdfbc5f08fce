/** Rows 49 to 63 of the acceptance matrix through the official `@anthropic-ai/sdk`, as far as a scripted model can show them. */
import { expect, test } from "bun:test";
import Anthropic from "@anthropic-ai/sdk";
import { AlloyError } from "../../src/support/errors.ts";
import { failure, type Harness, sseFrames, start, until } from "../server/harness.ts";
import type { Step } from "../server/scripted-engine.ts";

const client = (h: Harness) => new Anthropic({ baseURL: h.url, apiKey: "none", maxRetries: 0 });
const hi = [{ role: "user" as const, content: "hi" }];
const base = { model: "demo", max_tokens: 100, messages: hi };
const weather = { name: "weather", input_schema: { type: "object" as const, properties: { city: { type: "string" } } } };

test("row 49: plain answer with usage and request id", async () => {
  await using h = await start();
  const { data, request_id } = await client(h).messages.create(base).withResponse();
  expect(data).toMatchObject({ type: "message", role: "assistant", model: "demo", stop_reason: "end_turn", stop_sequence: null });
  expect<unknown>(data.content).toEqual([{ type: "text", text: "echo: hi" }]);
  expect(data.usage).toMatchObject({ input_tokens: 2, cache_read_input_tokens: 0, output_tokens: 2 });
  expect(request_id).toMatch(/^req_/);
  expect(data.id).toMatch(/^msg_\w{24}$/);
  const streamed = client(h).messages.stream(base);
  expect(await streamed.finalMessage()).toMatchObject({
    content: data.content,
    stop_reason: "end_turn",
    usage: { input_tokens: 2, output_tokens: 2 },
  });
  expect(streamed.request_id).toMatch(/^req_/);
});

test("row 50: streamed thinking, text and two tools: exact event order", async () => {
  const steps: Step[] = [
    { type: "reasoning", text: "hmm" },
    { type: "text", text: "calling" },
    { type: "tool", id: "call_a", name: "weather", arguments: '{"city":"Rome"}' },
    { type: "tool", id: "call_b", name: "weather", arguments: "" },
  ];
  await using h = await start(steps);
  const body = { ...base, tools: [weather], thinking: { type: "enabled" as const, budget_tokens: 1024 } };
  const raw = await (await h.post("/v1/messages", { ...body, stream: true })).text();
  const frames = sseFrames(raw);
  for (const f of frames) expect(JSON.parse(f.data!).type).toBe(f.event);
  const order = frames.map((f) => {
    const d = JSON.parse(f.data!);
    return [f.event, d.index, d.content_block?.type ?? (d.delta?.type as string | undefined)].filter((x) => x !== undefined).join(" ");
  });
  expect(order).toEqual([
    "message_start",
    "ping",
    "content_block_start 0 thinking",
    "content_block_delta 0 thinking_delta",
    "content_block_delta 0 signature_delta",
    "content_block_stop 0",
    "content_block_start 1 text",
    "content_block_delta 1 text_delta",
    "content_block_stop 1",
    "content_block_start 2 tool_use",
    "content_block_delta 2 input_json_delta",
    "content_block_delta 2 input_json_delta",
    "content_block_delta 2 input_json_delta",
    "content_block_stop 2",
    "content_block_start 3 tool_use",
    "content_block_stop 3",
    "message_delta",
    "message_stop",
  ]);
  const final = await client(h).messages.stream(body).finalMessage();
  expect(final.stop_reason).toBe("tool_use");
  expect(final.content).toMatchObject([
    { type: "thinking", thinking: "hmm", signature: expect.stringMatching(/^alloy1:.+/) },
    { type: "text", text: "calling" },
    { type: "tool_use", id: "toolu_a", name: "weather", input: { city: "Rome" } },
    { type: "tool_use", id: "toolu_b", name: "weather", input: {} },
  ]);
  const plain = await client(h).messages.create(body);
  expect(plain.content).toEqual(final.content);
});

test("tool round trip: the engine sees its own ids again, results come before text", async () => {
  await using h = await start([{ type: "tool", id: "call_a", name: "weather", arguments: '{"city":"Rome"}' }]);
  const first = await client(h).messages.create({ ...base, tools: [weather] });
  const id = (first.content[0] as Anthropic.ToolUseBlock).id;
  await client(h).messages.create({
    ...base,
    system: [
      { type: "text", text: "x-anthropic-billing-header: cc_version=1" },
      { type: "text", text: "be brief" },
      { type: "text", text: "be kind", cache_control: { type: "ephemeral" } },
    ],
    tools: [weather],
    messages: [
      ...hi,
      { role: "assistant", content: first.content },
      {
        role: "user",
        content: [
          { type: "text", text: "and now?" },
          { type: "tool_result", tool_use_id: id, content: [{ type: "text", text: "25" }], is_error: true },
        ],
      },
    ],
  });
  expect(h.engine.requests[1].prompt).toMatchObject({
    thinking: "off",
    toolChoice: "auto",
    messages: [
      { role: "system", content: "be brief\n\nbe kind" },
      { role: "user", content: "hi" },
      { role: "assistant", content: "", toolCalls: [{ id: "call_a", name: "weather", arguments: '{"city":"Rome"}' }] },
      { role: "tool", toolCallId: "call_a", name: "weather", content: "error: 25" },
      { role: "user", content: "and now?" },
    ],
  });
});

test("row 55: system messages in the middle stay in place; consecutive turns merge; unknown blocks are dropped", async () => {
  await using h = await start();
  const response = await h.post("/v1/messages?beta=true", {
    ...base,
    context_management: { edits: [] },
    metadata: { user_id: "{}" },
    messages: [
      { role: "user", content: "a" },
      {
        role: "user",
        content: [
          { type: "text", text: "b" },
          { type: "from_the_future", x: 1 },
        ],
      },
      { role: "system", content: [{ type: "text", text: "mid" }] },
      { role: "user", content: [{ type: "document", title: "T", source: { type: "text", data: "doc", media_type: "text/plain" } }] },
    ],
  });
  expect(response.status).toBe(200);
  expect(h.engine.requests[0].prompt).toMatchObject({
    messages: [
      { role: "user", content: "a\nb" },
      { role: "system", content: "mid" },
      { role: "user", content: "T\ndoc" },
    ],
  });
});

test("row 57: thinking follows the thinking field alone", async () => {
  await using h = await start();
  const effort = { effort: "high" as const };
  for (const extra of [
    { output_config: effort },
    { thinking: { type: "disabled" as const } },
    { thinking: { type: "adaptive" as const } },
    { thinking: { type: "adaptive" as const }, output_config: effort },
    { thinking: { type: "enabled" as const, budget_tokens: 64 } },
  ]) {
    expect((await h.post("/v1/messages", { ...base, ...extra })).status).toBe(200);
  }
  expect(h.engine.requests.map((r) => (r.prompt.kind === "chat" ? r.prompt.thinking : ""))).toEqual(["off", "off", "on", "high", "on"]);
  const prefill = [...hi, { role: "assistant", content: "The" }];
  expect((await h.post("/v1/messages", { ...base, messages: prefill })).status).toBe(200);
  expect(h.engine.requests.at(-1)!.prompt).toMatchObject({ continueLast: true });
  expect((await h.post("/v1/messages", { ...base, messages: prefill, thinking: { type: "enabled", budget_tokens: 5 } })).status).toBe(400);
});

test("row 51: stop reasons: stop_sequence with its text, max_tokens, the window", async () => {
  await using h = await start({
    script: (r) =>
      r.maxTokens === 77 ? [{ type: "text", text: "a" }, { type: "window" }] : [{ type: "text", text: "one two STOP three" }],
  });
  const stopped = await client(h).messages.create({ ...base, stop_sequences: [" STOP"] });
  expect(stopped).toMatchObject({ stop_reason: "stop_sequence", stop_sequence: " STOP", content: [{ text: "one two" }] });
  expect((await client(h).messages.create({ ...base, max_tokens: 1 })).stop_reason).toBe("max_tokens");
  // This SDK sends anthropic-version 2026-10-21, which knows the reason; older clients hear max_tokens.
  const window = async (version: string) => {
    const r = await h.post("/v1/messages", { ...base, max_tokens: 77 }, { "anthropic-version": version });
    return ((await r.json()) as { stop_reason: string }).stop_reason;
  };
  expect(await window("2026-10-21")).toBe("model_context_window_exceeded");
  expect(await window("2023-06-01")).toBe("max_tokens");
});

test("an empty answer still has one text block", async () => {
  await using h = await start([]);
  expect<unknown>((await client(h).messages.create(base)).content).toEqual([{ type: "text", text: "" }]);
  const streamed = await client(h).messages.stream(base).finalMessage();
  expect<unknown>(streamed.content).toEqual([{ type: "text", text: "" }]);
});

test("arguments that are no JSON: repaired where only the end lacks, raw otherwise", async () => {
  await using h = await start([
    { type: "tool", name: "weather", arguments: '{"city":"Ro' },
    { type: "tool", name: "weather", arguments: "city=Rome" },
  ]);
  const { content } = await client(h).messages.create({ ...base, tools: [weather] });
  expect(content).toMatchObject([{ input: { city: "Ro" } }, { input: { __raw: "city=Rome" } }]);
  await client(h).messages.create({ ...base, tools: [weather], messages: [...hi, { role: "assistant", content }, ...hi] });
  const { prompt } = h.engine.requests[1];
  expect(prompt.kind === "chat" && prompt.messages[1].toolCalls![1].arguments).toBe("city=Rome");
});

test("row 52: disable_parallel_tool_use, tool_choice and server tools", async () => {
  await using h = await start([
    { type: "tool", name: "weather", arguments: "{}" },
    { type: "tool", name: "weather", arguments: "{}" },
  ]);
  const search = { type: "web_search_20250305" as const, name: "web_search" as const };
  const answer = await client(h).messages.create({
    ...base,
    tools: [weather, search],
    tool_choice: { type: "any", disable_parallel_tool_use: true },
  });
  expect(answer.content).toHaveLength(1);
  expect(h.engine.requests[0].prompt).toMatchObject({ tools: [{ name: "weather" }], toolChoice: "required" });
  await client(h).messages.create({ ...base, tools: [weather], tool_choice: { type: "tool", name: "weather" } });
  expect(h.engine.requests[1].prompt).toMatchObject({ toolChoice: { name: "weather" } });
  const absent = await h.post("/v1/messages", { ...base, tools: [weather], tool_choice: { type: "tool", name: "nope" } });
  expect(absent.status).toBe(400);
});

test("row 71: a request with nothing but a web search gets a plain refusal, not a model's invention", async () => {
  await using h = await start();
  const search = { ...base, tools: [{ type: "web_search_20250305" as const, name: "web_search" as const, max_uses: 8 }] };
  const whole = await client(h).messages.create(search);
  const streamed = await client(h).messages.stream(search).finalMessage();
  for (const { content, stop_reason } of [whole, streamed]) {
    expect(content).toEqual([expect.objectContaining({ type: "text", text: expect.stringContaining("Web search is not available") })]);
    expect(stop_reason).toBe("end_turn");
  }
  expect(h.engine.requests).toEqual([]);
});

test("row 61: deferred tools stay hidden until a reference brings them; without a way to find them all are shown", async () => {
  await using h = await start();
  const deferred = { ...weather, defer_loading: true };
  const finder = { name: "ToolSearch", input_schema: { type: "object" } };
  const names = (i: number) => {
    const { prompt } = h.engine.requests[i];
    return prompt.kind === "chat" ? [prompt.tools ?? [], prompt.foundTools ?? []].map((list) => list.map((t) => t.name)) : [];
  };
  await h.post("/v1/messages", { ...base, tools: [finder, deferred] });
  expect(names(0)).toEqual([["ToolSearch"], []]);
  await h.post("/v1/messages", { ...base, tools: [deferred] });
  expect(names(1)).toEqual([["weather"], []]);
  const references = ["weather", "gone"].map((tool_name) => ({ type: "tool_reference", tool_name }));
  const result = [{ type: "tool_result", tool_use_id: "toolu_1", content: references }];
  await h.post("/v1/messages", { ...base, tools: [finder, deferred], messages: [...hi, { role: "user", content: result }] });
  expect(names(2)).toEqual([["ToolSearch"], ["weather"]]);
  const { prompt } = h.engine.requests[2];
  const text = prompt.kind === "chat" ? prompt.messages.at(-1)!.content : "";
  expect(text).toContain('<functions><function>{"description":"","name":"weather","parameters":{"type":"object"');
  expect(text).toContain("tool not found: gone");
});

test("count_tokens agrees with the later message", async () => {
  await using h = await start();
  const body = { model: "demo", messages: hi, system: "be brief", tools: [weather] };
  const counted = await client(h).messages.countTokens(body);
  const message = await client(h).messages.create({ ...body, max_tokens: 5 });
  expect(counted.input_tokens).toBe(message.usage.input_tokens + (message.usage.cache_read_input_tokens ?? 0));
});

test("row 54: 24 counts at once answer while all slots generate", async () => {
  await using h = await start({ slots: 1, delayMs: 20, script: () => [{ type: "text", text: "w ".repeat(50_000) }] });
  const abort = new AbortController();
  const running = client(h)
    .messages.create(base, { signal: abort.signal })
    .catch(() => {});
  await until(() => h.engine.running === 1, "the long request runs");
  await Promise.all(Array.from({ length: 24 }, () => client(h).messages.countTokens({ model: "demo", messages: hi })));
  expect(h.engine.running).toBe(1);
  abort.abort();
  await running;
});

test("row 59: errors: exact overflow text, unknown model, missing field, overload", async () => {
  await using h = await start({
    contextLength: 50,
    slots: 1,
    queueLimit: 0,
    delayMs: 20,
    script: () => [{ type: "text", text: "w ".repeat(40) }],
  });
  const fail = async (body: object) => {
    const r = await h.post("/v1/messages", body);
    return { status: r.status, ...((await r.json()) as { type: string; error: { type: string; message: string }; request_id: string }) };
  };
  const overflow = await fail({ ...base, messages: [{ role: "user", content: "w ".repeat(100) }] });
  expect(overflow).toMatchObject({ status: 400, type: "error", error: { type: "invalid_request_error" } });
  expect(overflow.error.message).toBe("prompt is too long: 101 tokens > 50 maximum");
  expect(overflow.request_id).toMatch(/^req_/);
  const thrown = await failure(client(h).messages.create({ ...base, messages: [{ role: "user", content: "w ".repeat(100) }] }));
  expect(thrown).toBeInstanceOf(Anthropic.BadRequestError);
  expect((thrown as InstanceType<typeof Anthropic.BadRequestError>).error).toMatchObject({
    error: { message: expect.stringMatching(/^prompt is too long: \d+ tokens > \d+ maximum$/) },
  });
  expect(await fail({ ...base, model: "nope" })).toMatchObject({ status: 404, error: { type: "not_found_error", message: "model: nope" } });
  expect(await fail({ ...base, max_tokens: undefined })).toMatchObject({ status: 400, error: { message: "max_tokens: Field required" } });
  expect((await fail({ ...base, messages: [{ role: "user", content: [] }] })).error.message).toStartWith("messages.0.content: ");
  expect((await fail({ ...base, messages: [{ role: "narrator", content: "x" }] })).error.message).toStartWith(
    "messages.0.role: must be one of",
  );
  expect((await fail({ ...base, output_config: { format: { type: "json_schema", schema: null } } })).error.message).toBe(
    "output_config.format.schema: Field required",
  );
  const abort = new AbortController();
  const running = client(h)
    .messages.create(base, { signal: abort.signal })
    .catch(() => {});
  await until(() => h.engine.running === 1, "the slot is taken");
  const busy = await h.post("/v1/messages", base);
  expect([busy.status, busy.headers.get("retry-after")]).toEqual([529, "1"]);
  expect(await busy.json()).toMatchObject({ error: { type: "overloaded_error" } });
  abort.abort();
  await running;
});

test("row 58: output_config.format holds the answer to its schema", async () => {
  await using h = await start([{ type: "text", text: '{"title":"x"}' }]);
  const schema = { type: "object", properties: { title: { type: "string" } }, required: ["title"], additionalProperties: false };
  const body = { ...base, output_config: { format: { type: "json_schema" as const, schema } } };
  expect(await client(h).messages.create(body)).toMatchObject({ content: [{ type: "text", text: '{"title":"x"}' }] });
  expect(h.engine.requests[0].constraint).toMatchObject({ kind: "schema", schema });
});

test("row 60: max_tokens far beyond the window is clamped, not refused", async () => {
  await using h = await start({ contextLength: 32_768 });
  const final = await client(h)
    .messages.stream({ ...base, max_tokens: 128_000 })
    .finalMessage();
  expect(final).toMatchObject({ content: [{ text: "echo: hi" }], stop_reason: "end_turn" });
});

test("an engine fault in mid-stream is an error event and ends the stream", async () => {
  await using h = await start([
    { type: "text", text: "so far" },
    { type: "error", error: new AlloyError("engine_died", "the engine stopped") },
  ]);
  const frames = sseFrames(await (await h.post("/v1/messages", { ...base, stream: true })).text());
  expect(frames.at(-1)!.event).toBe("error");
  expect(JSON.parse(frames.at(-1)!.data!)).toMatchObject({ type: "error", error: { type: "api_error", message: "the engine stopped" } });
  expect((await failure(client(h).messages.stream(base).finalMessage())).message).toContain("the engine stopped");
});

test("abort cancels the engine's request, streaming and not", async () => {
  await using h = await start({ delayMs: 5, script: () => [{ type: "text", text: "w ".repeat(5000) }] });
  const stream = client(h).messages.stream(base);
  for await (const _ of stream) break;
  await until(() => h.engine.cancelled.length === 1, "the stream's request is cancelled");
  const abort = new AbortController();
  const plain = client(h)
    .messages.create(base, { signal: abort.signal })
    .catch((e: unknown) => e);
  await until(() => h.engine.running === 1, "the plain request runs");
  abort.abort();
  expect(await plain).toBeInstanceOf(Anthropic.APIUserAbortError);
  await until(() => h.engine.cancelled.length === 2, "the plain request is cancelled");
});

test("claude names fall back to the one model there is, and say so", async () => {
  await using h = await start();
  const r = await h.post("/v1/messages", { ...base, model: "claude-opus-5-5" });
  expect([r.status, r.headers.get("x-alloy-model")]).toEqual([200, "demo"]);
  expect(((await r.json()) as { model: string }).model).toBe("claude-opus-5-5");
  await using strict = await start({}, { strictNames: true });
  expect((await strict.post("/v1/messages", { ...base, model: "claude-opus-5-5" })).status).toBe(404);
});

test("row 62: an image in a tool result, a block of an unknown type and a server tool are no errors", async () => {
  await using h = await start();
  const image = { type: "image" as const, source: { type: "base64" as const, media_type: "image/png" as const, data: "iVBORw0KGgo=" } };
  const answer = await client(h).messages.create({
    ...base,
    tools: [
      { name: "Read", input_schema: { type: "object" } },
      { type: "web_search_20250305", name: "web_search" },
    ],
    messages: [
      ...hi,
      { role: "assistant", content: [{ type: "tool_use", id: "toolu_1", name: "Read", input: { file_path: "a.png" } }] },
      {
        role: "user",
        content: [
          { type: "tool_result", tool_use_id: "toolu_1", content: [image] },
          { type: "from_the_future", x: 1 } as unknown as Anthropic.TextBlockParam,
          { type: "text", text: "what is it?" },
        ],
      },
    ],
  });
  expect(answer.content).toMatchObject([{ type: "text", text: "echo: what is it?" }]);
  expect(h.engine.requests[0].prompt).toMatchObject({
    tools: [{ name: "Read" }],
    messages: [
      { role: "user" },
      { role: "assistant" },
      { role: "tool", content: "[image omitted: model has no vision]" },
      { role: "user", content: "what is it?" },
    ],
  });
});

test("row 63: the SDK's model list", async () => {
  await using h = await start();
  const models = await Array.fromAsync(client(h).models.list());
  expect(models).toMatchObject([{ id: "demo", type: "model", display_name: "demo", max_input_tokens: 65536 }]);
  expect(await failure(client(h).models.retrieve("nope"))).toBeInstanceOf(Anthropic.NotFoundError);
});
