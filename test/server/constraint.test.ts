/** Answers of a given form through the official clients: what reaches the engine, and on the demo model what comes back. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import Anthropic from "@anthropic-ai/sdk";
import { Ollama } from "ollama";
import OpenAI from "openai";
import type { Engine } from "../../src/engine/api.ts";
import { createEngine } from "../../src/engine/create.ts";
import { createServer, type RunningServer } from "../../src/server/app.ts";
import { failure, start } from "./harness.ts";

setDefaultTimeout(120_000);

const hi = [{ role: "user" as const, content: "Tell me about Paris." }];
const schema = {
  type: "object",
  properties: { city: { enum: ["Paris", "Rome"] }, size: { type: "integer", minimum: 1, maximum: 99 } },
  required: ["city", "size"],
  additionalProperties: false,
};
const fits = { city: expect.stringMatching(/^(Paris|Rome)$/) as string, size: expect.any(Number) as number };

describe("what reaches the engine", () => {
  test.each([
    [{ response_format: { type: "text" } }, undefined],
    [{ response_format: { type: "json_object" } }, { kind: "json", param: "response_format" }],
    [{ response_format: { type: "json_object", schema } }, { kind: "schema", schema, strict: false, param: "response_format.schema" }],
    [
      { response_format: { type: "json_schema", json_schema: { name: "x", schema, strict: true } } },
      { kind: "schema", schema, strict: true, param: "response_format.json_schema.schema" },
    ],
    [{ grammar: 'root ::= "a"' }, { kind: "ebnf", text: 'root ::= "a"', param: "grammar" }],
    [{ json_schema: schema }, { kind: "schema", schema, strict: false, param: "json_schema" }],
    [{ guided_json: JSON.stringify(schema) }, { kind: "schema", schema, strict: false, param: "guided_json" }],
    [{ guided_regex: "a+" }, { kind: "regex", pattern: "a+", param: "guided_regex" }],
    [{ structured_outputs: { choice: ["a"] } }, { kind: "choice", options: ["a"], param: "structured_outputs.choice" }],
  ])("%j", async (fields, constraint) => {
    await using h = await start();
    expect((await h.post("/v1/chat/completions", { model: "demo", messages: hi, ...fields })).status).toBe(200);
    expect((await h.post("/v1/completions", { model: "demo", prompt: "a", ...fields })).status).toBe(200);
    expect(h.engine.requests.map((r) => r.constraint as unknown)).toEqual([constraint, constraint]);
  });

  test("the format of a response", async () => {
    await using h = await start();
    const format = { type: "json_schema", name: "x", schema, strict: true };
    expect((await h.post("/v1/responses", { model: "demo", input: "a", text: { format } })).status).toBe(200);
    expect(h.engine.requests[0].constraint).toEqual({ kind: "schema", schema, strict: true, param: "text.format.schema" });
  });

  test("llama-server's own completion", async () => {
    await using h = await start();
    expect((await h.post("/completion", { model: "demo", prompt: "a", grammar: 'root ::= "a"' })).status).toBe(200);
    expect(h.engine.requests[0].constraint).toEqual({ kind: "ebnf", text: 'root ::= "a"', param: "grammar" });
  });

  test("two forms at once are refused", async () => {
    await using h = await start();
    const r = await h.post("/v1/completions", { model: "demo", prompt: "a", grammar: "x", guided_regex: "y" });
    expect(r.status).toBe(400);
    expect(await r.json()).toMatchObject({
      error: { param: "guided_regex", message: expect.stringContaining("cannot be combined with 'grammar'") as string },
    });
  });
});

describe("on the demo model", () => {
  let engine: Engine;
  let server: RunningServer;
  beforeAll(async () => {
    engine = await createEngine({ place: "here", models: ["demo"] });
    server = await createServer({ engine, host: "127.0.0.1", port: 0, env: {} });
  });
  afterAll(async () => {
    await server.stop(0);
    await engine.close();
  });

  const openai = () => new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });

  test("OpenAI's helper parses the answer, streamed or not", async () => {
    const body = {
      model: "demo",
      messages: hi,
      response_format: { type: "json_schema" as const, json_schema: { name: "city", schema, strict: true } },
    };
    const whole = await openai().chat.completions.parse(body);
    expect(JSON.parse(whole.choices[0].message.content!)).toEqual(fits);
    const streamed = await openai().chat.completions.stream(body).finalChatCompletion();
    expect(JSON.parse(streamed.choices[0].message.content!)).toEqual(fits);
  });

  test("a schema that cannot be followed is a 400 with place and keyword", async () => {
    const bad = { type: "object", properties: { a: { not: {} } } };
    const body = {
      model: "demo",
      messages: hi,
      response_format: { type: "json_schema" as const, json_schema: { name: "x", schema: bad, strict: true } },
    };
    expect(await failure(openai().chat.completions.create(body))).toMatchObject({
      status: 400,
      code: "invalid_json_schema",
      param: "response_format.json_schema.schema",
      message: expect.stringContaining("#/properties/a has the keyword not") as string,
    });
  });

  test("a required call, through OpenAI and Anthropic", async () => {
    const parameters = { ...schema, type: "object" as const };
    const tools = [{ type: "function" as const, function: { name: "look", parameters } }];
    const answer = await openai().chat.completions.create({
      model: "demo",
      messages: hi,
      tools,
      tool_choice: "required",
      parallel_tool_calls: false,
    });
    const [call] = answer.choices[0].message.tool_calls!;
    if (call.type !== "function") throw new Error(call.type);
    expect(call.function.name).toBe("look");
    expect(JSON.parse(call.function.arguments)).toEqual(fits);
    const message = await new Anthropic({ baseURL: server.url, apiKey: "none", maxRetries: 0 }).messages.create({
      model: "demo",
      max_tokens: 300,
      messages: hi,
      tools: [{ name: "look", input_schema: parameters }],
      tool_choice: { type: "tool", name: "look", disable_parallel_tool_use: true },
    });
    expect(message.content).toMatchObject([{ type: "tool_use", id: expect.any(String) as string, name: "look", input: fits }]);
  });

  test("Anthropic's output format", async () => {
    const r = await fetch(`${server.url}/v1/messages`, {
      method: "POST",
      body: JSON.stringify({ model: "demo", max_tokens: 300, messages: hi, output_config: { format: { type: "json_schema", schema } } }),
    });
    const { content } = (await r.json()) as { content: { text: string }[] };
    expect(JSON.parse(content[0].text)).toEqual(fits);
  });

  test("Ollama's format", async () => {
    const ollama = new Ollama({ host: server.url });
    const chat = await ollama.chat({ model: "demo", messages: hi, format: schema });
    expect(JSON.parse(chat.message.content)).toEqual(fits);
    const generated = await ollama.generate({ model: "demo", prompt: "Paris", format: schema });
    expect(JSON.parse(generated.response!)).toEqual(fits);
  });
});
