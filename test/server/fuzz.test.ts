/** Any JSON value in any field: an answer or a shaped refusal, never a crash or a 5xx. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { start } from "./harness.ts";

const seed = Number(process.env.ALLOY_FUZZ_SEED ?? Date.now() % 2 ** 31);
const text = [{ type: "text", text: "hi" }];
const tool = { type: "function", function: { name: "f", parameters: { type: "object" } } };
const BODIES: Record<string, object> = {
  "/v1/chat/completions": {
    model: "demo",
    messages: [
      { role: "user", content: text },
      { role: "assistant", content: null, tool_calls: [{ id: "c", type: "function", function: { name: "f", arguments: "{}" } }] },
      { role: "tool", tool_call_id: "c", content: "x" },
    ],
    tools: [tool],
    tool_choice: "auto",
    stream_options: { include_usage: true },
    response_format: { type: "text" },
    logit_bias: { "1": 1 },
    keep_alive: "5m",
    options: { top_k: 3 },
  },
  "/v1/completions": { model: "demo", prompt: ["a", "b"], echo: true, stop: ["x"], n: 1, best_of: 1 },
  "/v1/messages": {
    model: "demo",
    max_tokens: 9,
    system: text,
    messages: [
      { role: "user", content: text },
      {
        role: "assistant",
        content: [
          { type: "thinking", thinking: "t" },
          { type: "tool_use", id: "toolu_1", name: "f", input: {} },
        ],
      },
      {
        role: "user",
        content: [
          { type: "tool_result", tool_use_id: "toolu_1", content: text },
          { type: "document", source: { type: "text", data: "d" } },
        ],
      },
    ],
    tools: [{ name: "f", input_schema: { type: "object" } }],
    tool_choice: { type: "auto" },
    thinking: { type: "disabled" },
    output_config: { effort: "low" },
  },
  "/api/chat": {
    model: "demo",
    messages: [{ role: "user", content: "hi" }],
    tools: [tool],
    options: { stop: ["x"], seed: 1 },
    think: false,
    keep_alive: 3,
  },
  "/api/generate": { model: "demo", prompt: "hi", system: "s", context: [1, 2], options: { num_predict: 3 }, images: [], format: "" },
  "/api/show": { model: "demo", verbose: true },
  "/v1/responses": {
    model: "demo",
    instructions: "i",
    input: [
      { role: "user", content: [{ type: "input_text", text: "hi" }] },
      { type: "reasoning", summary: [{ type: "summary_text", text: "t" }], content: null, encrypted_content: "x" },
      { type: "function_call", call_id: "c1", name: "f", namespace: "ns", arguments: "{}" },
      { type: "function_call_output", call_id: "c1", output: [{ type: "input_text", text: "x" }] },
      { type: "custom_tool_call", call_id: "c2", name: "g", input: "y" },
      { type: "tool_search_output", call_id: "c3", tools: [{ type: "function", name: "h" }] },
      { type: "local_shell_call", call_id: "c4", action: { command: ["ls"] } },
    ],
    tools: [
      { type: "custom", name: "g", format: { type: "grammar", syntax: "lark", definition: "d" } },
      { type: "namespace", name: "ns", tools: [{ type: "function", name: "f", parameters: {} }] },
    ],
    tool_choice: { type: "allowed_tools", mode: "auto", tools: [{ type: "custom", name: "g" }] },
    reasoning: { effort: "low", summary: "auto" },
    text: { format: { type: "text" }, verbosity: "low" },
    include: ["reasoning.encrypted_content"],
    truncation: "auto",
    metadata: { a: "b" },
  },
  "/v1/responses/input_tokens": { model: "demo", input: "x" },
  "/completion": { model: "demo", prompt: ["a", ["b", 1]], n_predict: 3, stop: ["x"], n_probs: 1 },
  "/tokenize": { model: "demo", content: "a", with_pieces: true },
  "/detokenize": { model: "demo", tokens: [1, 2] },
  "/apply-template": { model: "demo", messages: [{ role: "user", content: "hi" }] },
};

/** Every place in a value, as the path to it. */
function places(value: unknown, path: (string | number)[] = []): (string | number)[][] {
  if (typeof value !== "object" || value === null) return [path];
  return [path, ...Object.entries(value).flatMap(([k, v]) => places(v, [...path, Array.isArray(value) ? Number(k) : k]))];
}

function replaced(value: unknown, [key, ...rest]: (string | number)[], by: unknown): unknown {
  if (key === undefined) return by;
  if (Array.isArray(value)) return value.map((v, i) => (i === key ? replaced(v, rest, by) : v));
  return { ...(value as object), [key]: replaced((value as Record<string, unknown>)[key], rest, by) };
}

test(`mutated bodies (seed ${seed})`, async () => {
  await using h = await start();
  const cases = Object.entries(BODIES).flatMap(([path, body]) => places(body).map((place) => ({ path, body, place })));
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...cases), fc.jsonValue(), async ({ path, body, place }, by) => {
      const response = await h.post(path, replaced(body, place, by) as object);
      const answer = await response.text();
      const context = `${path} ${place.join(".")} = ${JSON.stringify(by)}: ${response.status} ${answer.slice(0, 300)}`;
      if (response.status >= 500) throw new Error(context);
      if (response.status !== 200) {
        const { error } = JSON.parse(answer) as { error: unknown };
        const message = typeof error === "string" ? error : (error as { message: unknown }).message;
        if (typeof message !== "string" || message === "" || /undefined|\[object/.test(message)) throw new Error(context);
      } else if (/"error":(?!null)/.test(answer)) throw new Error(context);
    }),
    { seed, numRuns: 3000 },
  );
  expect(h.engine.running).toBe(0);
}, 60_000);

test(`broken bytes (seed ${seed})`, async () => {
  await using h = await start();
  const source = new TextEncoder().encode(JSON.stringify(BODIES["/v1/messages"]));
  await fc.assert(
    fc.asyncProperty(fc.nat(source.length - 1), fc.nat(255), fc.boolean(), async (at, byte, cut) => {
      const bytes = cut ? source.slice(0, at) : source.with(at, byte);
      const response = await fetch(`${h.url}/v1/messages`, { method: "POST", body: bytes });
      await response.text();
      if (response.status >= 500) throw new Error(`${response.status} for byte ${byte} at ${at}, cut ${cut}`);
    }),
    { seed, numRuns: 300 },
  );
}, 60_000);
