/** Rows 94 to 96 of the acceptance matrix: what litellm and aider send, and llama-server's routes, on the demo model. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { sseFrames, start } from "../server/harness.ts";
import { type Demo, startDemo } from "./demo.ts";

setDefaultTimeout(120_000);

let demo: Demo;
beforeAll(async () => void (demo = await startDemo()));
afterAll(() => demo[Symbol.asyncDispose]());

const json = async (path: string, body: unknown) => (await demo.post(path, body)).json();

test("row 94: `ollama_chat/` with another num_ctx in each request does not load the model again", async () => {
  const work = async () => (await demo.engine.loaded()).map((m) => [m.name, m.contextLength, m.work.steps] as const);
  const messages = [{ role: "user", content: "What is the capital of France?" }];
  let [[, window, steps]] = await work();
  for (const num_ctx of [8292, 9113, 12_001]) {
    expect((await json("/api/show", { name: "demo" })).model_info).toBeObject();
    const body = { model: "demo", messages, options: { num_ctx, temperature: 0, think: false }, stream: true };
    const lines = (await (await demo.post("/api/chat", body)).text()).trimEnd().split("\n");
    expect(JSON.parse(lines.at(-1)!)).toMatchObject({ done: true, done_reason: "stop", eval_count: expect.any(Number) });
    const after = await work();
    // One that was loaded again would begin to count at 0.
    expect(after).toEqual([["demo", window, expect.any(Number)]]);
    expect(after[0][2]).toBeGreaterThan(steps);
    steps = after[0][2];
  }
});

test("row 95: `openai/` as aider uses it: an edit block as it is, and an answer that is continued after `length`", async () => {
  const edit = "a.py\n```python\n<<<<<<< SEARCH\n\tprint(1)\n=======\n\tprint(2)  # \u00e9\n>>>>>>> REPLACE\n```\n";
  await using h = await start([{ type: "text", text: edit }]);
  const chunks = async (response: Response) =>
    sseFrames(await response.text())
      .filter((f) => f.data !== "[DONE]")
      .map((f) => JSON.parse(f.data!));
  const ask = { model: "demo", stream: true, temperature: 0, stream_options: { include_usage: true } };
  const content = (list: { choices: { delta: { content?: string } }[] }[]) => list.map((c) => c.choices[0]?.delta.content ?? "").join("");
  const edited = await chunks(await h.post("/v1/chat/completions", { ...ask, messages: [{ role: "user", content: "edit" }] }));
  expect(content(edited)).toBe(edit);

  const messages = [{ role: "user", content: "What is the capital of France?" }];
  const off = { reasoning_effort: "none" };
  const whole = content(await chunks(await demo.post("/v1/chat/completions", { ...ask, ...off, messages })));
  const cut = await chunks(await demo.post("/v1/chat/completions", { ...ask, ...off, messages, max_tokens: 4 }));
  expect(cut.at(-2).choices[0].finish_reason).toBe("length");
  const begun = [...messages, { role: "assistant", content: content(cut), prefix: true }];
  const rest = await chunks(await demo.post("/v1/chat/completions", { ...ask, ...off, messages: begun }));
  expect(rest.at(-2).choices[0].finish_reason).toBe("stop");
  expect(content(cut) + content(rest)).toBe(whole);

  const long = await demo.post("/v1/chat/completions", { ...ask, messages: [{ role: "user", content: "word ".repeat(6000) }] });
  expect(long.status).toBe(400);
  // By this text it becomes litellm's ContextWindowExceededError, which aider explains instead of trying again.
  expect((await long.json()).error.message).toStartWith("This model's maximum context length is ");
});

test("row 96: health, props, slots, tokens, template", async () => {
  const get = async (path: string) => (await fetch(demo.url + path)).json();
  expect(await get("/health")).toEqual({ status: "ok" });
  const props = await get("/props");
  expect(props).toMatchObject({ total_slots: 4, model_alias: "demo", endpoint_slots: true, endpoint_metrics: true, is_sleeping: false });
  expect(props.chat_template).not.toBe("");
  const slots = await get("/slots");
  expect(slots).toHaveLength(4);
  for (const slot of slots) expect(slot).toMatchObject({ is_processing: false, n_ctx: props.default_generation_settings.n_ctx });
  expect((await fetch(`${demo.url}/slots?fail_on_no_slot=1`)).status).toBe(200);
  for (const content of ["", "Grüße, 世界! 🎉", "  two  spaces\n\n\ttab ", "<|im_start|>user"]) {
    const { tokens } = await json("/tokenize", { content });
    expect(await json("/detokenize", { tokens })).toEqual({ content });
  }
  const { prompt } = await json("/apply-template", { messages: [{ role: "user", content: "Hello" }] });
  expect(prompt).toContain("Hello");
});
