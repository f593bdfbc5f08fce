/** What a model's store says is applied when the model runs. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import type { ChatMessage } from "../../src/chat/api.ts";
import type { Engine, Prompt } from "../../src/engine/api.ts";
import { createEngine } from "../../src/engine/create.ts";
import { presetContext, presetMaxTokens, withPreset } from "../../src/engine/preset.ts";
import { createModel } from "../../src/hub/store/create.ts";
import { Machine } from "../hub/machine.ts";
import { errorOf } from "./fakes.ts";

// The first run after a change of the kernels compiles them.
setDefaultTimeout(120_000);

const user: ChatMessage = { role: "user", content: "hi" };
const system: ChatMessage = { role: "system", content: "asked" };
const preset = {
  system: "own",
  messages: [
    { role: "user", content: "a" },
    { role: "assistant", content: "b" },
    { role: "tool", content: "?" },
  ],
};
const own = [
  { role: "user", content: "a" },
  { role: "assistant", content: "b" },
] as ChatMessage[];

test("system message and first messages go in front; a conversation's own system message wins", () => {
  expect(withPreset([user], preset)).toEqual([{ role: "system", content: "own" }, ...own, user]);
  expect(withPreset([system, user], preset)).toEqual([system, ...own, user]);
  expect(withPreset([user], {})).toEqual([user]);
  expect(withPreset([user])).toEqual([user]);
});

test("numbers that make no sense are no limits", () => {
  expect([512, 0, -1, 1.5, "512", NaN].map((num_ctx) => presetContext({ parameters: { num_ctx } }))).toEqual([512, ...Array(5)]);
  expect([-1, -2, 7].map((num_predict) => presetMaxTokens({ parameters: { num_predict } }))).toEqual([undefined, undefined, 7]);
});

describe("with the demo model", () => {
  const machine = new Machine();
  const before = process.env.ALLOY_MODELS;
  let engine: Engine;
  beforeAll(async () => {
    process.env.ALLOY_MODELS = machine.path("models");
    const env = { ...machine.env, ALLOY_MODELS: process.env.ALLOY_MODELS };
    const parameters = { num_ctx: 256, num_predict: 3, temperature: 0, stop: ["zzz"] };
    await createModel(
      { name: "tuned", from: "demo", system: "Own system.", messages: [{ role: "user", content: "Own first." }], parameters },
      { env },
    );
    await createModel(
      { name: "framed", from: "demo", template: "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}" },
      { env },
    );
    await createModel({ name: "go", from: "demo", template: "{{ range .Messages }}({{ .Role }}){{ .Content }}{{ end }}" }, { env });
    engine = await createEngine({ place: "here" });
  });
  afterAll(async () => {
    await engine.close();
    if (before === undefined) delete process.env.ALLOY_MODELS;
    else process.env.ALLOY_MODELS = before;
    machine[Symbol.dispose]();
  });
  const chat = (messages: ChatMessage[], bare?: boolean): Prompt => ({ kind: "chat", messages, bare });

  test("its messages are in the prompt, unless the caller wants it bare", async () => {
    const { text } = await engine.tokenize("tuned", chat([user]));
    expect(text).toMatch(/Own system\.[\s\S]*Own first\.[\s\S]*hi/);
    expect((await engine.tokenize("tuned", chat([system, user]))).text).not.toContain("Own system.");
    expect((await engine.tokenize("tuned", chat([user], true))).text).not.toContain("Own");
    expect((await engine.tokenize("demo", chat([user]))).text).not.toContain("Own");
  });

  test("its template is rendered instead of the file's", async () => {
    expect((await engine.tokenize("framed", chat([system, user]))).text).toBe("[system]asked[user]hi");
    expect((await engine.model("framed")).template).toContain("[{{ m.role }}]");
    expect((await engine.tokenize("go", chat([system, user]))).text).toBe("(system)asked(user)hi");
  });

  test("a template that comes with a request wins", async () => {
    const template = "{{ range .Messages }}<{{ .Role }}>{{ .Content }}{{ end }}";
    expect((await engine.tokenize("framed", { kind: "chat", messages: [user], template })).text).toBe("<user>hi");
  });

  test("num_ctx is the window, num_predict the longest answer", async () => {
    const run = async (prompt: Prompt, maxTokens?: number) => {
      let end;
      for await (const event of engine.generate({ id: "t", model: "tuned", prompt, sampling: {}, maxTokens }))
        if (event.type === "end") end = event;
      return end!;
    };
    expect((await engine.loaded()).find((m) => m.name === "tuned:latest")?.contextLength).toBe(256);
    expect(await run(chat([{ role: "user", content: "Tell me about Paris." }]))).toMatchObject({
      reason: "length",
      usage: { completionTokens: 3 },
    });
    expect((await run(chat([{ role: "user", content: "Tell me about Paris." }]), 2)).usage.completionTokens).toBe(2);
    const error = await errorOf(run(chat([{ role: "user", content: "word ".repeat(400) }])));
    expect([error.code, error.data?.window]).toEqual(["context_length_exceeded", 256]);
  });
});
