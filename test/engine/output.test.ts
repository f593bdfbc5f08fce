/** What becomes of generated tokens: text, stop strings, reasoning, tool calls, log-probabilities. */
import { afterEach, expect, test } from "bun:test";
import type { GenerateRequest } from "../../src/engine/api.ts";
import type { ChatDelta } from "../../src/chat/api.ts";
import { hermes } from "../../src/chat/formats/hermes.ts";
import { outputParser } from "../../src/chat/parser.ts";
import { EngineCore } from "../../src/engine/core.ts";
import { Output } from "../../src/engine/output.ts";
import { byteTokenizer, collect, errorOf, fakeParts, request, scripted, type Answer } from "./fakes.ts";

const open: EngineCore[] = [];
afterEach(async () => {
  for (const core of open.splice(0)) await core.close();
});

/** What the model's text `says` becomes. */
async function answer(says: string, over: Partial<GenerateRequest> = {}): Promise<Answer> {
  const { parts } = fakeParts({ logits: scripted(says) });
  const core = await EngineCore.create(parts, { contextLength: 512 });
  open.push(core);
  return collect(core.generate(request({ text: "well?", ...over })));
}

const chat = (tools: { name: string }[] = []): Partial<GenerateRequest> => ({
  prompt: { kind: "chat", messages: [{ role: "user", content: "hi" }], tools },
});

test("characters of several bytes come whole", async () => {
  const { text, events } = await answer("grün ✓ 🎉");
  expect(text).toBe("grün ✓ 🎉");
  expect(events.every((e) => e.type !== "delta" || e.delta.type !== "text" || !e.delta.text.includes("\ufffd"))).toBe(true);
});

test("a stop string ends the text before it, and its beginning is held back", async () => {
  const { text, end, events } = await answer("one two three", { stop: ["two t"] });
  expect(text).toBe("one ");
  expect(end).toMatchObject({ reason: "stop", stop: "two t" });
  expect(events.filter((e) => e.type === "delta").length).toBeLessThan(8);
  const almost = await answer("one two", { stop: ["two t"] });
  expect(almost.text).toBe("one two");
  expect(almost.end.stop).toBeUndefined();
});

test("a chat format's own stop strings end the answer without being named", async () => {
  const { text, end } = await answer("fine|user:more", chat());
  expect(text).toBe("fine");
  expect(end).toMatchObject({ reason: "stop", stop: undefined });
});

test("reasoning is counted, and a tool call gives its reason to end", async () => {
  const thought = await answer("<think>hm</think>yes", chat());
  expect(thought.events.flatMap((e) => (e.type === "delta" ? [e.delta] : []))).toEqual([
    { type: "reasoning", text: "hm" },
    { type: "text", text: "yes" },
  ]);
  const call = await answer("CALL weather", chat([{ name: "weather" }]));
  expect(call.end.reason).toBe("tool_calls");
  const none = await answer("CALL weather", {
    prompt: { kind: "chat", messages: [], tools: [{ name: "weather" }], toolChoice: "none" },
  });
  expect(none.end.reason).toBe("stop");
  expect(none.text).toBe("CALL weather");
});

test("every token has its log-probability, also those without text of their own", async () => {
  const { events, end } = await answer("ü!", { logprobs: 1 });
  const all = events.flatMap((e) => (e.type === "delta" ? (e.logprobs ?? []) : []));
  expect(all.map((l) => l.id)).toEqual(end.ids);
  expect(all.map((l) => l.bytes)).toEqual([[0xc3], [0xbc], [0x21]]);
});

test("echo returns the prompt, and ids as prompts are checked", async () => {
  expect((await answer("x", { echo: true })).start.prompt).toBe("well?");
  expect((await answer("x", { prompt: { kind: "ids", ids: [104, 105, 63] }, echo: true })).start.prompt).toBe("hi?");
  const { parts } = fakeParts();
  const core = await EngineCore.create(parts, { contextLength: 64 });
  open.push(core);
  for (const ids of [[-1], [258], [1.5]]) {
    expect((await errorOf(core.generate(request({ prompt: { kind: "ids", ids } })))).code).toBe("invalid_value");
  }
  expect((await errorOf(core.generate(request({ text: "" })))).message).toBe("the prompt is empty");
});

test("parameters that make no sense are refused, and layers of defaults apply in order", async () => {
  const { parts } = fakeParts();
  parts.samplingDefaults = () => ({ temperature: 0, topK: 3 });
  const core = await EngineCore.create(parts, { contextLength: 256 });
  open.push(core);
  const run = (sampling: GenerateRequest["sampling"], samplingDefaults?: GenerateRequest["sampling"]) =>
    core.generate(request({ sampling, samplingDefaults, maxTokens: 12, ignoreEos: true }));
  const greedy = await collect(run({}, { temperature: 2 }));
  expect((await collect(run({ seed: 9 }))).text).toBe(greedy.text);
  expect((await collect(run({ temperature: 2, seed: 9 }))).text).not.toBe(greedy.text);
  expect((await collect(run({ seed: 2 ** 40 }))).start.seed).toBe(2 ** 40);
  for (const [wrong, param] of [
    [{ temperature: NaN }, "temperature"],
    [{ temperature: -0.1 }, "temperature"],
    [{ repeatPenalty: 0 }, "repeatPenalty"],
    [{ topK: Infinity }, "topK"],
    [{ logitBias: { 999: 1 } }, "logitBias"],
    [{ seed: NaN }, "seed"],
  ] as const) {
    const e = await errorOf(run(wrong));
    expect([e.code, e.param]).toEqual(["invalid_value", param]);
  }
});

test("where one call is allowed the answer is over with it, and without that limit it goes on", () => {
  const call = (name: string): string => `<tool_call>\n{"name": "${name}", "arguments": {}}\n</tool_call>\n`;
  const bytes = byteTokenizer.encode(`${call("a")}${call("b")}done`);
  const run = (single: boolean): { taken: number; deltas: ChatDelta[] } => {
    const deltas: ChatDelta[] = [];
    const output = new Output({
      stream: byteTokenizer.stream(),
      stops: { push: (text) => ({ text }), finish: () => "" },
      hiddenStops: [],
      parser: outputParser({ tools: [{ name: "a" }, { name: "b" }], format: hermes, startsInReasoning: false }),
      startsInReasoning: false,
      single,
      emit: (event) => event.type === "delta" && deltas.push(event.delta),
    });
    const taken = bytes.findIndex((b) => output.push(b));
    output.finish();
    return { taken, deltas };
  };
  const started = (deltas: ChatDelta[]): string[] => deltas.flatMap((d) => (d.type === "tool_call_start" ? [d.name] : []));
  const one = run(true);
  expect(started(one.deltas)).toEqual(["a"]);
  expect(one.deltas.at(-1)!.type).toBe("tool_call_end");
  expect(one.taken).toBeLessThan(call("a").length);
  expect(one.taken).toBeGreaterThan(0);
  expect(started(run(false).deltas)).toEqual(["a", "b"]);
});
