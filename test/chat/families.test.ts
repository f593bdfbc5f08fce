/** What models write whose calls are JSON, Python or messages, well-formed and not. */
import { expect, test } from "bun:test";
import { TOOL_FORMATS } from "../../src/chat/formats/index.ts";
import { outputParser } from "../../src/chat/parser.ts";
import { call, none, testFamilies, tools } from "./family-cases.ts";

const call1 = "<｜tool▁call▁begin｜>";
const sep = "<｜tool▁sep｜>";

testFamilies({
  "deepseek-v3": [
    {
      what: "fenced JSON, without the outer markers too",
      output: `Ok.${call1}function${sep}get_weather\n\`\`\`json\n{"city": "a\`\`\`b"}\n\`\`\`<｜tool▁call▁end｜>\n${call1}function${sep}now\n\`\`\`json\n{}\n\`\`\`<｜tool▁call▁end｜><｜tool▁calls▁end｜>`,
      expected: { text: "Ok.", calls: [call('{"city": "a```b"}'), call("{}", "now")] },
    },
    {
      what: "no JSON",
      output: `${call1}function${sep}now\nplease<｜tool▁call▁end｜>`,
      expected: { text: "functionnow\nplease", calls: none },
    },
  ],
  "deepseek-v3.1": [
    {
      what: "calls",
      output: `<think>x</think><｜tool▁calls▁begin｜>${call1}get_weather${sep}{"days": 1}<｜tool▁call▁end｜>${call1}now${sep}{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>`,
      expected: { reasoning: "x", text: "", calls: [call('{"days": 1}'), call("{}", "now")] },
    },
  ],
  kimi: [
    {
      what: "without section and end markers, inside of reasoning",
      startsInReasoning: true,
      output:
        'two calls<|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>{"days": 1}<|tool_call_begin|>functions.now:1<|tool_call_argument_begin|>{}',
      expected: { reasoning: "two calls", text: "", calls: [call('{"days": 1}'), call("{}", "now")] },
    },
    {
      what: "a section, and calls without one",
      output:
        '<think>a</think>b<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>{"days": 1}<|tool_call_end|><|tool_calls_section_end|><|tool_call_begin|>now<|tool_call_argument_begin|> {}<|tool_call_end|>',
      expected: { reasoning: "a", text: "b", calls: [call('{"days": 1}'), call("{}", "now")] },
    },
    {
      what: "a call ends reasoning",
      startsInReasoning: true,
      output:
        "a<|tool_calls_section_begin|><|tool_call_begin|>functions.now:3<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>",
      expected: { reasoning: "a", text: "", calls: [call("{}", "now")] },
    },
  ],
  "functionary-3.1": [
    {
      what: "a tag and JSON",
      output: 'Ok.<function=get_weather>{"days": 1}</function><function=now>{}</function>',
      expected: { text: "Ok.", calls: [call('{"days": 1}'), call("{}", "now")] },
    },
  ],
  "gigachat-3.1": [
    {
      what: "a marker",
      output: 'Ok.<|function_call|>{"name": "now", "arguments": {}}<|message_sep|>',
      expected: { text: "Ok.", calls: [call("{}", "now")] },
    },
  ],
  solar: [
    {
      what: "messages",
      output:
        '<|think|>Hm.<|end|><|begin|>assistant<|content|>Well.<|end|><|begin|>assistant<|tool_calls|><|tool_call:begin|>a1b2c3d4e5<|tool_call:name|>get_weather<|tool_call:args|>{"days": 1}<|tool_call:end|><|tool_call:begin|>x<|tool_call:name|>now<|tool_call:args|>{}<|tool_call:end|><|calls|>',
      expected: { reasoning: "Hm.", text: "Well.", calls: [call('{"days": 1}'), call("{}", "now")] },
    },
    { what: "content alone, without tools", tools: [], output: "<|content|>Well.", expected: { text: "Well.", calls: none } },
  ],
  gemma: [
    {
      what: "empty channels, and markers left over",
      output: "<|channel><|channel>thought<channel|>Hi.<|channel>thought\n<channel|><channel|>",
      expected: { reasoning: "", text: "Hi.", calls: none },
    },
    {
      what: "bare keys and raw texts",
      output:
        '<|channel>thought\nHm.\n<channel|>Ok.<|tool_call>call:get_weather{city:<|"|>a "b" \\n {,}<|"|>,days:2,place:{lat:1.5,names:[<|"|>x<|"|>,<|"|><|"|>]},hot:false,at:None}<tool_call|><|tool_call>call:now{}<tool_call|><|tool_response>',
      expected: {
        reasoning: "Hm.",
        text: "Ok.",
        calls: [
          call('{"city": "a \\"b\\" \\\\n {,}", "days": 2, "place": {"lat": 1.5, "names": ["x", ""]}, "hot": false, "at": null}'),
          call("{}", "now"),
        ],
      },
    },
    {
      what: "quotes of JSON, and none",
      output: '<|tool_call>call:get_weather{"city": "O\\"slo", at:noon today}<tool_call|>',
      expected: {
        text: 'call:get_weather{"city": "O\\"slo", at:noon today}',
        calls: [call('{"city": "O\\"slo", "at": "noon"', "get_weather", false)],
      },
    },
    { what: "no call", output: "<|tool_call>hello {you}<tool_call|>", expected: { text: "hello {you}", calls: none } },
  ],
  gigachat: [
    {
      what: "text, then a call as a message",
      output: 'Ok.<|message_sep|>\n\nfunction call<|role_sep|>\n{"name": "get_weather", "arguments": {"days": 1}}<|message_sep|>\n\n',
      expected: { text: "Ok.", calls: [call('{"days": 1}')] },
    },
    { what: "text alone", tools: [], output: "Ok.<|message_sep|>", expected: { text: "Ok.", calls: none } },
  ],
  functionary: [
    {
      what: "text and calls",
      output: 'all\nOk.\n>>>get_weather\n{"days": 1}>>>now\n{}',
      expected: { text: "Ok.\n", calls: [call('{"days": 1}'), call("{}", "now")] },
    },
    { what: "a call first", output: "now\n{}", expected: { text: "", calls: [call("{}", "now")] } },
    {
      what: "a prompt of Python is text",
      output: "all\n>>> x = 1\n>>>nowhere\n",
      expected: { text: ">>> x = 1\n>>>nowhere\n", calls: none },
    },
    { what: "no header at all", output: "Hello.", expected: { text: "Hello.", calls: none } },
    { what: "without tools", tools: [], output: "all\nHello.", expected: { text: "Hello.", calls: none } },
    { what: "unfinished", output: 'now\n{"a', expected: { text: '{"a', calls: [call('{"a', "now", false)] } },
  ],
  firefunction: [
    {
      what: "a list",
      output: 'Ok. functools[{"name": "get_weather", "arguments": {"days": 1}}, {"name": "now", "arguments": {}}]',
      expected: { text: "Ok.", calls: [call('{"days": 1}'), call("{}", "now")] },
    },
    {
      what: "the word alone",
      output: "import functools\nfunctools[0] x",
      expected: { text: "import functools\nfunctools[0] x", calls: none },
    },
  ],
  "command-r": [
    {
      what: "a list of actions",
      output: 'Plan.\nAction:\n```json\n[\n    {\n        "tool_name": "get_weather",\n        "parameters": {\n "days": 1}\n    }\n]```\n',
      expected: { text: "Plan.", calls: [call('{\n "days": 1}')] },
    },
    { what: "the word alone", output: "Action:\n```json\nno", expected: { text: "Action:\n```json\nno", calls: none } },
  ],
  "command-a": [
    {
      what: "actions",
      output: '<think>a</think><|START_ACTION|>[\n{"tool_call_id": "0", "tool_name": "now", "parameters": {}}\n]<|END_ACTION|>',
      expected: { reasoning: "a", text: "", calls: [call("{}", "now")] },
    },
    { what: "a response", output: "<|START_RESPONSE|>Hi.<|END_RESPONSE|>", expected: { text: "Hi.", calls: none } },
  ],
  "mistral-args": [
    {
      what: "in both forms",
      output: 'Ok.[TOOL_CALLS]get_weather[ARGS]{"days": 1}[TOOL_CALLS]now[CALL_ID]x1[ARGS]{}[TOOL_CALLS][{"name": "now", "arguments": {}}]',
      expected: { text: "Ok.", calls: [call('{"days": 1}'), call("{}", "now"), call("{}", "now")] },
    },
  ],
  apriel: [
    {
      what: "reasoning in prose",
      startsInReasoning: true,
      output: 'Step 1.\n[BEGIN FINAL RESPONSE]\nOk.\n<tool_calls>[{"name": "now", "arguments": {}}]</tool_calls>\n[END FINAL RESPONSE]',
      expected: { reasoning: "Step 1.", text: "Ok.", calls: [call("{}", "now")] },
    },
    {
      what: "reasoning that the model opens",
      output: "Here are my reasoning steps:\nStep 1.\n[BEGIN FINAL RESPONSE]\nOk.",
      expected: { reasoning: "Step 1.", text: "Ok.", calls: none },
    },
    {
      what: "a call without a response",
      startsInReasoning: true,
      output: 'Step 1.\n<tool_calls>[{"name": "now", "arguments": {}}]</tool_calls>',
      expected: { reasoning: "Step 1.", text: "", calls: [call("{}", "now")] },
    },
  ],
  nemotron: [
    {
      what: "a list",
      output: 'Ok.<TOOLCALL>[{"name": "now", "arguments": {}}, {"name": "get_weather", "arguments": {"days": 1}}]</TOOLCALL>',
      expected: { text: "Ok.", calls: [call("{}", "now"), call('{"days": 1}')] },
    },
  ],
  granite: [
    {
      what: "an answer in tags",
      output: "<think>a</think>\n<response>Hi.</response>",
      expected: { reasoning: "a", text: "Hi.", calls: none },
    },
  ],
  lfm2: [
    {
      what: "reasoning may speak of calls",
      output: "<think>Maybe <|tool_call_start|>[now()]<|tool_call_end|> then.</think><|tool_call_start|>[now()]<|tool_call_end|>",
      expected: { reasoning: "Maybe <|tool_call_start|>[now()]<|tool_call_end|> then.", text: "", calls: [call("{}", "now")] },
    },
    {
      what: "Python calls",
      output:
        'Ok.<|tool_call_start|>[get_weather(city="O\'slo", days=-2, hot=True, at=None, tags=[\'a\', "b",], place={"lat": 1.5, \'names\': []}), now()]<|tool_call_end|>Done.',
      expected: {
        text: "Ok.Done.",
        calls: [
          call('{"city": "O\'slo", "days": -2, "hot": true, "at": null, "tags": ["a", "b"], "place": {"lat": 1.5, "names": []}}'),
          call("{}", "now"),
        ],
      },
    },
    {
      what: "escapes, and quotes that are not escaped",
      output: "<|tool_call_start|>[get_weather(city='it's, \"x\" (y)', at='a\\n\\'b\\u00fc\\ud83c\\udf89')]<|tool_call_end|>",
      expected: { calls: [call('{"city": "it\'s, \\"x\\" (y)", "at": "a\\n\'bü🎉"}')] },
    },
    {
      what: "quotes before what looks like an argument but is none",
      output: "<|tool_call_start|>[get_weather(city='f(x='a', y=\"b\")', days=1)]<|tool_call_end|>",
      expected: { calls: [call('{"city": "f(x=\'a\', y=\\"b\\")", "days": 1}')] },
    },
    {
      what: "without the list, or its end",
      output: "<|tool_call_start|>now()<|tool_call_end|><|tool_call_start|>[get_weather(city='a')",
      expected: { text: "", calls: [call("{}", "now"), call('{"city": "a"}')] },
    },
    {
      what: "JSON instead",
      output: '<|tool_call_start|>[{"name": "now", "arguments": {}}]<|tool_call_end|>',
      expected: { text: "", calls: [call("{}", "now")] },
    },
    {
      what: "unfinished, positional, no call",
      output: "<|tool_call_start|>[now(1)]<|tool_call_end|><|tool_call_start|>hi<|tool_call_end|><|tool_call_start|>[get_weather(city='a",
      expected: {
        text: "[now(1)]hi[get_weather(city='a",
        calls: [call("", "now", false), call('{"city": "a', "get_weather", false)],
      },
    },
  ],
  harmony: [
    {
      what: "a header to the assistant before the real one, and spaces behind markers",
      output:
        "<|channel|>commentary to=assistant<|channel|>analysis<|message|>Hm.<|end|><|start|> assistant<|channel|> analysis<|message|> Hm!<|end|><|start|> assistant to=functions.now<|channel|> commentary <|constrain|>  json<|message|> {}<|end|><|start|> assistant<|channel|> final<|message|>Done.",
      expected: { reasoning: "Hm. Hm!", text: "Done.", calls: [call("{}", "now")] },
    },
    {
      what: "channels",
      output:
        '<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary<|message|>I look.<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{"days": 1}<|call|>',
      expected: { reasoning: "Hm.", text: "I look.", calls: [call('{"days": 1}')] },
    },
    {
      what: "the recipient in the role, several calls, a final answer",
      output:
        " to=functions.now<|channel|>commentary json<|message|>{}<|call|><|start|>assistant to=functions.now<|channel|>analysis<|message|>{}<|call|><|start|>assistant<|channel|>final<|message|>Done. <|return|>",
      expected: { text: "Done. ", calls: [call("{}", "now"), call("{}", "now")] },
    },
    {
      what: "without tools",
      tools: [],
      output: "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Hi <|x|>.",
      expected: { reasoning: "Hm.", text: "Hi <|x|>.", calls: none },
    },
    {
      what: "a call to nobody",
      output: '<|channel|>commentary to=functions.<|message|>{"a": 1}<|call|>',
      expected: { text: '{"a": 1}', calls: none },
    },
    { what: "no header at all", output: "assist me", expected: { text: "assist me", calls: none } },
    { what: "a header that never ends", output: "Hi.<|end|><|start|>assistant<|channel|>fin", expected: { text: "Hi.", calls: none } },
    {
      what: "code for a tool that takes JSON",
      output: "<|channel|>commentary to=python code<|message|>print(1)<|call|>",
      expected: { text: "print(1)", calls: [call("", "python", false)] },
    },
    {
      what: "an unfinished call",
      output: '<|channel|>commentary to=functions.get_weather<|message|>{"city": "Os',
      expected: { text: '{"city": "Os', calls: [call('{"city": "Os', "get_weather", false)] },
    },
  ],
});

const NS = "]<]minimax[>[";

test("texts stream while they arrive, whatever the format", () => {
  const openings: Record<string, string> = {
    "qwen-xml": "<tool_call><function=get_weather><parameter=city>",
    glm: "<tool_call>get_weather\n<arg_key>city</arg_key><arg_value>",
    "deepseek-dsml": '<｜DSML｜invoke name="get_weather"><｜DSML｜parameter name="city" string="true">',
    "minimax-m3": `${NS}<invoke name="get_weather">${NS}<city>`,
    gemma: '<|tool_call>call:get_weather{city:<|"|>',
    lfm2: "<|tool_call_start|>[get_weather(city='",
    kimi: '<|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>{"city": "',
    harmony: '<|channel|>commentary to=functions.get_weather<|message|>{"city": "',
  };
  for (const [name, opening] of Object.entries(openings)) {
    const format = TOOL_FORMATS.find((f) => f.name === name)!;
    const p = outputParser({ tools, format, startsInReasoning: false });
    p.push(opening);
    expect({ name, deltas: p.push("several ") }).toEqual({ name, deltas: [{ type: "tool_call_arguments", index: 0, text: "several " }] });
    expect({ name, deltas: p.push("words") }).toEqual({ name, deltas: [{ type: "tool_call_arguments", index: 0, text: "words" }] });
  }
});
