/** Formats of tool calls and reasoning in the engine: bytes of a model in, events out. */
import { afterEach, expect, test } from "bun:test";
import { loadChatFormat } from "../../src/chat/load.ts";
import { EngineCore } from "../../src/engine/core.ts";
import { byteTokenizer, collect, fakeParts, request, scripted } from "./fakes.ts";

const open: EngineCore[] = [];
afterEach(async () => {
  for (const core of open.splice(0)) await core.close();
});

const tools = [{ name: "weather", parameters: { type: "object", properties: { city: { type: "string" }, days: { type: "integer" } } } }];

/** What comes out when a model with this template, of which `marks` is part, says something. */
async function events(marks: string, says: string) {
  const template = `{{ tools | tojson }}{% for m in messages %}{{ m.content }}{% endfor %}{{ '${marks}' if false }}?`;
  const { parts } = fakeParts({ logits: scripted(says), chat: loadChatFormat({ template, tokenizer: byteTokenizer }) });
  const core = await EngineCore.create(parts, { contextLength: 2048 });
  open.push(core);
  const answer = await collect(core.generate(request({ prompt: { kind: "chat", messages: [{ role: "user", content: "hi" }], tools } })));
  const deltas = answer.events.flatMap((e) => (e.type === "delta" ? [e.delta] : []));
  const joined = (type: "text" | "reasoning" | "tool_call_arguments") => deltas.map((d) => (d.type === type ? d.text : "")).join("");
  return {
    text: joined("text"),
    reasoning: joined("reasoning"),
    calls: deltas.flatMap((d) => (d.type === "tool_call_start" ? [d.name] : [])),
    arguments: joined("tool_call_arguments"),
    pieces: deltas.filter((d) => d.type === "tool_call_arguments").length,
    reason: answer.end.reason,
  };
}

test("tags: values become JSON as they come", async () => {
  const says =
    "<think>Grün.</think>Ok.\n<tool_call>\n<function=weather>\n<parameter=city>\nZürich 🎉\n</parameter>\n<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>";
  const { pieces, ...rest } = await events("<tool_call><function=</think>", says);
  expect(rest).toEqual({
    text: "Ok.",
    reasoning: "Grün.",
    calls: ["weather"],
    arguments: '{"city": "Zürich 🎉", "days": 3}',
    reason: "tool_calls",
  });
  expect(pieces).toBeGreaterThan(8);
});

test("messages: channels apart", async () => {
  const says =
    '<|channel|>analysis<|message|>Hm…<|end|><|start|>assistant<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{"city": "Åre"}<|call|>';
  expect(await events("<|channel|><|message|>", says)).toMatchObject({
    text: "",
    reasoning: "Hm…",
    calls: ["weather"],
    arguments: '{"city": "Åre"}',
    reason: "tool_calls",
  });
});

test("a call that is cut off is text, and no reason to end", async () => {
  expect(await events("<tool_call>", '<tool_call>\n{"name": "weather", "arguments": {"city": "Os')).toMatchObject({
    text: '{"name": "weather", "arguments": {"city": "Os',
    arguments: '{"city": "Os',
    reason: "stop",
  });
});
