/** Vercel's AI SDK on a scripted model, by way of its three providers and Ollama's. */
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, isStepCount, type LanguageModel, streamText, tool } from "ai";
import { describe, expect, test } from "bun:test";
import { createOllama } from "ollama-ai-provider-v2";
import { z } from "zod";
import { AlloyError } from "../../src/support/errors.ts";
import { type Harness, start } from "../server/harness.ts";
import { call, messages, results, say, tools, turnByTurn } from "./harness.ts";

// Warnings are looked at in the results; the SDK would print them as well.
Object.assign(globalThis, { AI_SDK_LOG_WARNINGS: false });

const providers: Record<string, (h: Harness) => LanguageModel> = {
  "openai (Responses)": ({ url }) => createOpenAI({ baseURL: `${url}/v1`, apiKey: "x" })("demo"),
  "openai (chat)": ({ url }) => createOpenAI({ baseURL: `${url}/v1`, apiKey: "x" }).chat("demo"),
  "openai-compatible": ({ url }) =>
    createOpenAICompatible({ name: "alloy", baseURL: `${url}/v1`, supportsStructuredOutputs: true, includeUsage: true })("demo"),
  anthropic: ({ url }) => createAnthropic({ baseURL: `${url}/v1`, apiKey: "x" })("demo"),
  ollama: ({ url }) => createOllama({ baseURL: `${url}/api` })("demo"),
};

/** A tool whose executions are counted. */
function weather() {
  const asked: string[] = [];
  const execute = async ({ city }: { city: string }) => {
    asked.push(city);
    return { city, degrees: 21 };
  };
  return { asked, tools: { weather: tool({ description: "Weather of a city", inputSchema: z.object({ city: z.string() }), execute }) } };
}

describe.each(Object.keys(providers))("AI SDK, %s", (name) => {
  const model = providers[name];

  test("row 81: generateText", async () => {
    await using h = await start({ script: () => [{ type: "reasoning", text: "easy" }, say("It is Paris.")] });
    const { text, reasoningText, finishReason, usage } = await generateText({ model: model(h), prompt: "Capital of France?" });
    expect({ text, finishReason }).toEqual({ text: "It is Paris.", finishReason: "stop" });
    expect(reasoningText ?? "easy").toBe("easy");
    expect(usage.inputTokens).toBeGreaterThan(0);
    expect(usage.outputTokens).toBe(4);
  });

  test("row 81: streamText", async () => {
    await using h = await start({ script: () => [{ type: "reasoning", text: "easy" }, say("It is Paris.")] });
    const stream = streamText({ model: model(h), prompt: "Capital of France?" });
    const parts = await Array.fromAsync(stream.fullStream);
    expect(parts.filter((p) => p.type === "error")).toEqual([]);
    const texts = parts.flatMap((p) => (p.type === "text-delta" ? [p.text] : []));
    expect(texts.join("")).toBe("It is Paris.");
    expect(texts.length).toBeGreaterThan(1);
    expect(await stream.finishReason).toBe("stop");
    expect((await stream.usage).outputTokens).toBe(4);
  });

  test.each(["generateText", "streamText"])("row 81: tools with %s", async (way) => {
    const script = turnByTurn([
      [say("Looking."), call("weather", { city: "Paris" }), call("weather", { city: "Rome" })],
      [say("21 in both.")],
    ]);
    await using h = await start(script);
    const { asked, tools: weatherTools } = weather();
    const options = { model: model(h), tools: weatherTools, prompt: "Weather in Paris and Rome?", stopWhen: isStepCount(3) };
    const text = way === "generateText" ? (await generateText(options)).text : await streamText(options).text;
    expect(text).toBe("21 in both.");
    expect(asked).toEqual(["Paris", "Rome"]);
    expect(results(h.engine.requests[1]).map((r) => JSON.parse(r))).toEqual([
      { city: "Paris", degrees: 21 },
      { city: "Rome", degrees: 21 },
    ]);
    const assistant = messages(h.engine.requests[1]).find((m) => m.toolCalls);
    expect(assistant).toMatchObject({ content: "Looking.", toolCalls: [{ name: "weather" }, { name: "weather" }] });
  });

  test("row 81: generateObject holds the answer to the schema", async () => {
    const schema = z.object({ city: z.string(), people: z.number().int() });
    const answer = { city: "Paris", people: 2_100_000 };
    await using h = await start({ script: (request) => [tools(request).length > 0 ? call("json", answer) : say(JSON.stringify(answer))] });
    const { object } = await generateObject({ model: model(h), schema, prompt: "The capital of France" });
    expect(object).toEqual(answer);
    const wanted = { required: ["city", "people"] };
    const [request] = h.engine.requests;
    // Of a model of Anthropic's that it does not know, the SDK asks for a call of a tool with that schema.
    if (name !== "anthropic") expect(request.constraint).toMatchObject({ kind: "schema", schema: wanted });
    else expect(request.prompt).toMatchObject({ toolChoice: "required", tools: [{ name: "json", parameters: wanted }] });
  });

  // Ollama's provider drops lines that are no chunk, with a note on the console.
  if (name === "ollama") return;
  test("row 82: a fault in mid-stream is an error part with its message", async () => {
    await using h = await start({
      script: () => [say("It is"), { type: "error", error: new AlloyError("engine_died", "the engine stopped working") }],
    });
    const stream = streamText({ model: model(h), prompt: "Capital of France?", maxRetries: 0, onError: () => {} });
    const parts = await Array.fromAsync(stream.fullStream);
    expect(parts.flatMap((p) => (p.type === "text-delta" ? [p.text] : [])).join("")).toBe("It is");
    const errors = parts.flatMap((p) => (p.type === "error" ? [p.error] : []));
    expect(errors).toHaveLength(1);
    expect(JSON.stringify(errors[0]) + String(errors[0])).toContain("the engine stopped working");
  });
});
