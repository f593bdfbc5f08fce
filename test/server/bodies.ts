/** A request that each endpoint takes, with many of its fields, for tests that change them. */
const text = [{ type: "text", text: "hi" }];
const tool = { type: "function", function: { name: "f", parameters: { type: "object" } } };
export const BODIES: Record<string, object> = {
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
export function places(value: unknown, path: (string | number)[] = []): (string | number)[][] {
  if (typeof value !== "object" || value === null) return [path];
  return [path, ...Object.entries(value).flatMap(([k, v]) => places(v, [...path, Array.isArray(value) ? Number(k) : k]))];
}

export function replaced(value: unknown, [key, ...rest]: (string | number)[], by: unknown): unknown {
  if (key === undefined) return by;
  if (Array.isArray(value)) return value.map((v, i) => (i === key ? replaced(v, rest, by) : v));
  return { ...(value as object), [key]: replaced((value as Record<string, unknown>)[key], rest, by) };
}
