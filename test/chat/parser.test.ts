import { describe, expect, test } from "bun:test";
import type { ToolSpec } from "../../src/chat/api.ts";
import { writeCalls } from "../../src/chat/formats/grammar.ts";
import type { ToolFormat } from "../../src/chat/formats/format.ts";
import { granite } from "../../src/chat/formats/granite.ts";
import { generic } from "../../src/chat/formats/generic.ts";
import { hermes } from "../../src/chat/formats/hermes.ts";
import { TOOL_FORMATS, toolFormat } from "../../src/chat/formats/index.ts";
import { llama3 } from "../../src/chat/formats/llama3.ts";
import { mistral } from "../../src/chat/formats/mistral.ts";
import { outputParser } from "../../src/chat/parser.ts";
import type { ReasoningMarkers } from "../../src/chat/reasoning.ts";
import { collect, feed, pieces, random, seed, type Turn } from "./helpers.ts";

const tools: ToolSpec[] = [{ name: "get_weather" }, { name: "add.numbers" }];
const think: ReasoningMarkers = { open: "<think>", close: "</think>" };

interface Case {
  name: string;
  format: ToolFormat;
  output: string;
  startsInReasoning?: boolean;
  tools?: ToolSpec[];
  expected: Partial<Turn>;
}

const call = (name: string, args: string, ended = true) => ({ name, arguments: args, ended });
const weather = (args: string) => `<tool_call>\n{"name": "get_weather", "arguments": ${args}}\n</tool_call>`;

const CASES: Case[] = [
  {
    name: "plain text stays as it is",
    format: hermes,
    output: " Hello\n\n  world \n",
    expected: { text: " Hello\n\n  world \n", reasoning: "", calls: [] },
  },
  {
    name: "reasoning, then text",
    format: hermes,
    output: "<think>\nHm.\n\nYes.\n</think>\n\nFour.",
    expected: { reasoning: "Hm.\n\nYes.", text: "Four." },
  },
  {
    name: "reasoning that the prompt opened",
    format: hermes,
    startsInReasoning: true,
    output: "\nHm.</think>Four.",
    expected: { reasoning: "Hm.", text: "Four." },
  },
  {
    name: "reasoning opened twice",
    format: hermes,
    startsInReasoning: true,
    output: "<think>\nHm.</think>Four.",
    expected: { reasoning: "Hm.", text: "Four." },
  },
  {
    name: "reasoning without end",
    format: hermes,
    startsInReasoning: true,
    output: "Hm. </thin",
    expected: { reasoning: "Hm. </thin", text: "" },
  },
  { name: "empty reasoning", format: hermes, output: "<think>\n\n</think>\n\nFour.", expected: { reasoning: "", text: "Four." } },
  { name: "a stray closing marker is dropped", format: hermes, output: "Four.</think> And five.", expected: { text: "Four.And five." } },
  {
    name: "things that only look like markers",
    format: hermes,
    output: "a < b <thin <think </ <tool_cal",
    expected: { text: "a < b <thin <think </ <tool_cal", calls: [] },
  },
  {
    name: "text around calls",
    format: hermes,
    output: `<think>Need it.</think>\nLet me look.\n${weather('{"city": "Oslo"}')}\n${weather('{"city": "Rome"}')}\nDone.`,
    expected: {
      reasoning: "Need it.",
      text: "Let me look.Done.",
      calls: [call("get_weather", '{"city": "Oslo"}'), call("get_weather", '{"city": "Rome"}')],
    },
  },
  {
    name: "arguments exactly as written",
    format: hermes,
    output: weather('{ "city":"O\\"s\\\\lo </tool_call> }{", "n": [1, {"a": null}] , "e": 1e3}'),
    expected: { text: "", calls: [call("get_weather", '{ "city":"O\\"s\\\\lo </tool_call> }{", "n": [1, {"a": null}] , "e": 1e3}')] },
  },
  {
    name: "line breaks in strings, which JSON does not allow",
    format: hermes,
    output: weather('{\n"city": "a\nb\\\n\tc\\n"}'),
    expected: { text: "", calls: [call("get_weather", '{\n"city": "a\\nb\\n\\tc\\n"}')] },
  },
  {
    name: "arguments before the name",
    format: hermes,
    output: '<tool_call>{"arguments": {"a": 1}, "name": "get_weather"}</tool_call>',
    expected: { calls: [call("get_weather", '{"a": 1}')] },
  },
  {
    name: "arguments as a JSON string",
    format: hermes,
    output: '<tool_call>{"name": "get_weather", "arguments": "{\\"a\\": 1}"}</tool_call>',
    expected: { calls: [call("get_weather", '{"a": 1}')] },
  },
  {
    name: "no arguments",
    format: hermes,
    output: '<tool_call>{"name": "get_weather"}</tool_call>',
    expected: { calls: [call("get_weather", "{}")] },
  },
  {
    name: "null arguments",
    format: hermes,
    output: '<tool_call>{"name": "get_weather", "arguments": null}</tool_call>',
    expected: { calls: [call("get_weather", "{}")] },
  },
  {
    name: "a wrapped call",
    format: hermes,
    output: '<tool_call>{"type": "function", "function": {"name": "get_weather", "arguments": {"a": 1}}}</tool_call>',
    expected: { calls: [call("get_weather", '{"a": 1}')] },
  },
  {
    name: "a list of calls",
    format: hermes,
    output: '<tool_call>[{"name": "get_weather", "arguments": {}}, {"name": "add.numbers", "arguments": {"x": 2}}]</tool_call>!',
    expected: { text: "!", calls: [call("get_weather", "{}"), call("add.numbers", '{"x": 2}')] },
  },
  {
    name: "a brace forgotten before the closing marker",
    format: hermes,
    output: '<tool_call>{"name": "get_weather", "arguments": {"a": [1</tool_call>ok',
    expected: { text: "ok", calls: [call("get_weather", '{"a": [1]}')] },
  },
  {
    name: "a closing marker in the middle of something else",
    format: hermes,
    output: '<tool_call>{"name": "get_weather", "list": ["a" b </tool_call>',
    expected: { text: '{"name": "get_weather", "list": ["a" b', calls: [call("get_weather", "", false)] },
  },
  {
    name: "a closing marker forgotten at the end",
    format: hermes,
    output: '<tool_call>{"name": "get_weather", "arguments": {"a": 1}}',
    expected: { text: "", calls: [call("get_weather", '{"a": 1}')] },
  },
  {
    name: "an unfinished call without a name",
    format: hermes,
    output: 'Hm. <tool_call>\n{"name": "get_w',
    expected: { text: 'Hm.{"name": "get_w', calls: [] },
  },
  {
    name: "an unfinished call with a name",
    format: hermes,
    output: '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Os',
    expected: { text: '{"name": "get_weather", "arguments": {"city": "Os', calls: [call("get_weather", '{"city": "Os', false)] },
  },
  { name: "no JSON in a call", format: hermes, output: "<tool_call>oops</tool_call> and on", expected: { text: "oopsand on", calls: [] } },
  {
    name: "a call after one that failed",
    format: hermes,
    output: `<tool_call>oops ${weather("{}")}`,
    expected: { text: "oops", calls: [call("get_weather", "{}")] },
  },
  {
    name: "without tools a marker is text",
    format: hermes,
    tools: [],
    output: weather("{}"),
    expected: { text: weather("{}"), calls: [] },
  },

  {
    name: "a bare call",
    format: llama3,
    output: '{"name": "get_weather", "parameters": {"city": "Oslo"}}',
    expected: { text: "", calls: [call("get_weather", '{"city": "Oslo"}')] },
  },
  {
    name: "a bare call with its type first",
    format: llama3,
    output: '\n{"type": "function", "name": "get_weather", "parameters": {}}',
    expected: { text: "", calls: [call("get_weather", "{}")] },
  },
  {
    name: "bare calls in a row",
    format: llama3,
    output: '{"name": "get_weather", "parameters": {}}; {"name": "add.numbers", "parameters": {"x": 1}}',
    expected: { text: "", calls: [call("get_weather", "{}"), call("add.numbers", '{"x": 1}')] },
  },
  {
    name: "braces doubled",
    format: llama3,
    output:
      '{{"name": "get_weather", "parameters": {{"city": "{{Oslo}}", "at": {{"x": {{}}}}}}}} {"name": "add.numbers", "parameters": {"x": {}}}',
    expected: { text: "", calls: [call("get_weather", '{"city": "{{Oslo}}", "at": {"x": {}}}'), call("add.numbers", '{"x": {}}')] },
  },
  {
    name: "a tagged call",
    format: llama3,
    output: '<|python_tag|>{"name": "get_weather", "parameters": {}}',
    expected: { text: "", calls: [call("get_weather", "{}")] },
  },
  { name: "code after the tag", format: llama3, output: "<|python_tag|>print(1)", expected: { text: "print(1)", calls: [] } },
  {
    name: "JSON that is no call",
    format: llama3,
    output: '{"answer": {"name": "get_weather"}}',
    expected: { text: '{"answer": {"name": "get_weather"}}', calls: [] },
  },
  {
    name: "JSON with a name that is no tool",
    format: llama3,
    output: '{"name": "Ann", "age": 3}',
    expected: { text: '{"name": "Ann", "age": 3}', calls: [] },
  },
  {
    name: "JSON after text",
    format: llama3,
    output: 'Like this: {"name": "get_weather", "parameters": {}}',
    expected: { text: 'Like this: {"name": "get_weather", "parameters": {}}', calls: [] },
  },
  { name: "a list that is no call", format: llama3, output: "[1, 2] are numbers", expected: { text: "[1, 2] are numbers", calls: [] } },

  {
    name: "a list",
    format: mistral,
    output: 'Ok.[TOOL_CALLS] [{"name": "get_weather", "arguments": {"a": 1}, "id": "abcdefghi"}, {"name": "add.numbers", "arguments": {}}]',
    expected: { text: "Ok.", calls: [call("get_weather", '{"a": 1}'), call("add.numbers", "{}")] },
  },
  {
    name: "names and arguments",
    format: mistral,
    output: '[TOOL_CALLS]get_weather[ARGS]{"a": {"b": 1}}[TOOL_CALLS]add.numbers[CALL_ID]xyz[ARGS]{}',
    expected: { text: "", calls: [call("get_weather", '{"a": {"b": 1}}'), call("add.numbers", "{}")] },
  },
  { name: "an unfinished list", format: mistral, output: '[TOOL_CALLS][{"name": "get', expected: { text: '[{"name": "get', calls: [] } },
  { name: "no call", format: mistral, output: "[TOOL_CALLS]what is {this}?", expected: { text: "what is {this}?", calls: [] } },

  {
    name: "a tagged list",
    format: granite,
    output: 'Ok.<|tool_call|>[{"name": "get_weather", "arguments": {"a": [1]}}, {"name": "add.numbers", "arguments": {}}]',
    expected: { text: "Ok.", calls: [call("get_weather", '{"a": [1]}'), call("add.numbers", "{}")] },
  },

  {
    name: "marked",
    format: generic,
    output: `Text ${weather('{"a":1}')}`,
    expected: { text: "Text", calls: [call("get_weather", '{"a":1}')] },
  },
  {
    name: "bare",
    format: generic,
    output: '[{"name": "get_weather", "arguments": {"a": 1}}]',
    expected: { text: "", calls: [call("get_weather", '{"a": 1}')] },
  },
  {
    name: "bare after reasoning",
    format: generic,
    output: '<think>x</think>\n{"name": "get_weather", "arguments": {}}',
    expected: { reasoning: "x", text: "", calls: [call("get_weather", "{}")] },
  },
];

const parser = (c: Case) =>
  outputParser({ tools: c.tools ?? tools, format: c.format, reasoning: think, startsInReasoning: c.startsInReasoning ?? false });

const next = random(seed("output parser"));
for (const format of TOOL_FORMATS) {
  describe(format.name, () => {
    for (const c of CASES.filter((x) => x.format === format)) {
      test(c.name, () => {
        const whole = feed(parser(c), [c.output]);
        expect(whole).toMatchObject(c.expected);
        // However the output is cut, the same comes out.
        expect({ ...feed(parser(c), [...c.output]), order: [] }).toEqual({ ...whole, order: [] });
        for (let n = 0; n < 30; n++) {
          const parts = pieces(c.output, next, 9);
          expect({ parts, turn: { ...feed(parser(c), parts), order: [] } }).toEqual({ parts, turn: { ...whole, order: [] } });
        }
      });
    }
  });
}

test("arguments stream while they arrive", () => {
  const p = parser({ name: "", format: hermes, output: "", expected: {} });
  expect(p.push('<tool_call>\n{"name": "get_weather", "arg').map((d) => d.type)).toEqual(["tool_call_start"]);
  expect(p.push('uments": {"city": "O')).toMatchObject([{ type: "tool_call_arguments", text: '{"city": "O' }]);
  expect(p.push('slo"}')).toMatchObject([{ type: "tool_call_arguments", text: 'slo"}' }]);
  expect(p.push("}\n</tool_call>").map((d) => d.type)).toEqual(["tool_call_end"]);
  expect(p.finish()).toEqual([]);
});

test("text streams at once, but for what may be a marker", () => {
  const p = parser({ name: "", format: hermes, output: "", expected: {} });
  expect(p.push("Hello")).toEqual([{ type: "text", text: "Hello" }]);
  expect(p.push(" world <")).toEqual([{ type: "text", text: " world" }]);
  expect(p.push("b>")).toEqual([{ type: "text", text: " <b>" }]);
});

test("ids differ and have the usual form", () => {
  const p = parser({ name: "", format: hermes, output: "", expected: {} });
  const ids = p.push(weather("{}") + weather("{}")).flatMap((d) => (d.type === "tool_call_start" ? [d.id] : []));
  expect(new Set(ids).size).toBe(2);
  for (const id of ids) expect(id).toMatch(/^call_[0-9a-f]{24}$/);
});

test("random output never breaks the parser and markers never come out", () => {
  const words = [
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    '{"name": "get_weather"',
    ', "arguments": ',
    "{",
    "}",
    '"',
    "a",
    "\n",
    " ",
    "[",
    "]",
    ":",
    ",",
    "\\",
  ];
  for (let n = 0; n < 3000; n++) {
    const output = Array.from({ length: 1 + Math.floor(next() * 25) }, () => words[Math.floor(next() * words.length)]).join("");
    const c: Case = { name: "", format: [hermes, llama3, mistral, generic][n % 4], output, startsInReasoning: n % 3 === 0, expected: {} };
    const whole = feed(parser(c), [output]);
    const cut = feed(parser(c), pieces(output, next, 7));
    expect({ output, turn: { ...cut, order: [] } }).toEqual({ output, turn: { ...whole, order: [] } });
    expect({ output, text: whole.text + whole.reasoning }).toEqual({ output, text: expect.not.stringMatching(/<\/?think>/) });
    if (c.format === hermes) expect({ output, text: whole.text }).toEqual({ output, text: expect.not.stringMatching(/<\/?tool_call>/) });
  }
});

test("every format reads what it writes", () => {
  for (const format of TOOL_FORMATS) {
    const calls = [
      { name: "get_weather", arguments: '{"city": "Os\\"lo"}' },
      { name: "add.numbers", arguments: "{}" },
    ];
    const p = outputParser({ tools, format, startsInReasoning: false });
    expect(feed(p, [writeCalls(format.grammar, calls)])).toMatchObject({ text: "", calls: calls.map((c) => ({ ...c, ended: true })) });
  }
});

test("formats are chosen by the template", () => {
  expect(toolFormat("... <tool_call>\n{...}").name).toBe("hermes");
  expect(toolFormat("... [TOOL_CALLS] ...").name).toBe("mistral");
  expect(toolFormat('<|start_header_id|> {"name": ..., "parameters": ...}').name).toBe("llama3");
  expect(toolFormat("something new").name).toBe("json");
  expect(() => collect([{ type: "tool_call_end", index: 0 }])).toThrow();
});
