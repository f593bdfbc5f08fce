/** How conversations are bent to what a template takes, thinking is switched, and templates are chosen. */
import { describe, expect, test } from "bun:test";
import type { ChatMessage, ToolSpec } from "../../src/chat/api.ts";
import { BUILTIN_TEMPLATES } from "../../src/chat/builtin.ts";
import { loadChatFormat } from "../../src/chat/load.ts";
import { argumentsObject } from "../../src/chat/formats/grammar.ts";
import { shortId } from "../../src/chat/messages.ts";
import { AlloyError } from "../../src/support/errors.ts";
import { feed, tokenizerWith } from "./helpers.ts";

const load = (template: string | Record<string, string>, ...pieces: string[]) =>
  loadChatFormat({ template, tokenizer: tokenizerWith(...pieces) });
const user = (content: string): ChatMessage => ({ role: "user", content });
const assistant = (content: string): ChatMessage => ({ role: "assistant", content });
const system = (content: string): ChatMessage => ({ role: "system", content });
const tools: ToolSpec[] = [{ name: "add", description: "Adds.", parameters: { type: "object", properties: { x: { type: "number" } } } }];
const calls = (...args: string[]): ChatMessage => ({
  role: "assistant",
  content: "",
  toolCalls: args.map((a, i) => ({ id: `call_${i}`, name: "add", arguments: a })),
});
const result = (n: number, content: string): ChatMessage => ({ role: "tool", content, toolCallId: `call_${n}` });

/** Knows only user and assistant, in turns. */
const STRICT =
  "{% for m in messages %}{% if m.role not in ['user', 'assistant'] %}{{ raise_exception('Only user and assistant roles') }}{% endif %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}[{{ m.role }}:{{ m.content }}]{% endfor %}{% if add_generation_prompt %}[assistant:{% endif %}";
/** Shows everything. */
const OPEN =
  "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}[{{ m.role }}:{{ m.content }}{% for c in m.tool_calls or [] %}<tool_call>{{ c.function.name }}{{ c.function.arguments if c.function.arguments is string else c.function.arguments | tojson }}</tool_call>{% endfor %}]{% endfor %}{% if add_generation_prompt %}[assistant:{% endif %}";

describe("system messages", () => {
  test("without a place go into the first user turn", () => {
    const f = load(STRICT);
    expect(f.capabilities.system).toBe(false);
    expect(f.render([system("S"), user("U")]).text).toBe("[user:S\n\nU][assistant:");
    expect(f.render([system("S")]).text).toBe("[user:S][assistant:");
  });

  test("later ones go into the user turn before them, as a reminder", () => {
    const text = load(STRICT).render([system("S"), user("U"), system("T"), assistant("A"), user("V")]).text;
    expect(text).toBe("[user:S\n\nU\n\n<system-reminder>\nT\n</system-reminder>][assistant:A][user:V][assistant:");
  });

  test("stay in place where the template shows them; developer counts as system", () => {
    const text = load(OPEN).render([system("S"), user("U"), { role: "developer", content: "D" }, user("V")]).text;
    expect(text).toBe("[system:S][user:U][system:D][user:V][assistant:");
  });
});

test("messages of one role become one where turns are demanded", () => {
  expect(load(STRICT).render([user("A"), user("B"), assistant("C"), assistant("D"), user("E")]).text).toBe(
    "[user:A\n\nB][assistant:C\n\nD][user:E][assistant:",
  );
  expect(load(OPEN).render([user("A"), user("B")]).text).toBe("[user:A][user:B][assistant:");
});

describe("tool calls", () => {
  test("arguments stay text where the template takes text", () => {
    expect(load(OPEN).render([user("U"), calls('{"x":  1}'), result(0, "R")], { tools }).text).toContain(
      '<tool_call>add{"x":  1}</tool_call>][tool:R]',
    );
  });

  test("arguments become an object where the template writes JSON itself", () => {
    const f = load(OPEN.replace("c.function.arguments if c.function.arguments is string else ", ""));
    expect(f.render([user("U"), calls('{"x":1}')], { tools }).text).toContain('add{"x": 1}<');
    expect(f.render([user("U"), calls("")], { tools }).text).toContain("add{}<");
    expect(f.render([user("U"), calls("{oops")], { tools }).text).toContain('add{"arguments": "{oops"}<');
    expect(argumentsObject("[1]")).toEqual({ arguments: "[1]" });
  });

  test("several calls are put one after another for a template that takes one", () => {
    const one = OPEN.replace(
      "{% for m in messages %}",
      "{% for m in messages %}{% if m.tool_calls and m.tool_calls | length != 1 %}{{ raise_exception('one call only') }}{% endif %}",
    );
    const text = load(one).render([user("U"), calls('{"x":1}', '{"x":2}'), result(0, "R0"), result(1, "R1")], { tools }).text;
    expect(text).toContain('<tool_call>add{"x":1}</tool_call>][tool:R0][assistant:<tool_call>add{"x":2}</tool_call>][tool:R1]');
  });

  test("a template without tools gets them by instruction, and calls and results as text", () => {
    const f = load(STRICT);
    expect(f.capabilities.tools).toBe(false);
    expect(f.toolFormat).toBe("hermes");
    const { text } = f.render([user("U"), calls('{"x":1}'), result(0, "R")], { tools });
    expect(text).toContain('"name":"add"');
    expect(text).toContain('<tool_call>\n{"name": "add", "arguments": {"x":1}}\n</tool_call>');
    expect(text).toContain("<tool_response>\nR\n</tool_response>");
    expect(feed(f.parser({ tools, startsInReasoning: false }), ['<tool_call>{"name": "add", "arguments": {}}</tool_call>']).calls).toEqual([
      { name: "add", arguments: "{}", ended: true },
    ]);
  });

  test("ids of nine characters for templates that count them", () => {
    const nine = OPEN.replace(
      "{{ c.function.name }}",
      "{% if c.id | length != 9 %}{{ raise_exception('length') }}{% endif %}{{ c.id }}{{ c.function.name }}",
    );
    const { text } = load(nine).render([user("U"), calls("{}"), result(0, "R")], { tools });
    expect(text).toContain(`${shortId("call_0")}add`);
    expect(shortId("abcDEF123")).toBe("abcDEF123");
    expect(shortId("call_0")).toMatch(/^[a-z0-9]{9}$/);
    expect(shortId("call_0")).not.toBe(shortId("call_1"));
  });

  test("a template that fails on a schema gets the tools in fewer words", () => {
    const strict =
      "{% macro type(s) %}{% if s.type is not string %}{{ raise_exception('one type only') }}{% endif %}{{ s.type }}{% for k, v in (s.properties or {}).items() %} {{ k }}:{{ type(v) }}{% endfor %}{% if s.type == 'array' %}[{{ type(s['items']) }}]{% endif %}{% endmacro %}" +
      OPEN.replace("{{ tools | tojson }}", "{% for t in tools %}<{{ t.function.name }} {{ type(t.function.parameters) }}>{% endfor %}");
    const listed = (properties: object) =>
      load(strict).render([user("U")], {
        tools: [{ name: "f", parameters: { type: "object", properties, $defs: { n: { type: "number" } } } }],
      }).text;
    expect(listed({ a: { type: "string" } })).toStartWith("<f object a:string>");
    expect(listed({ a: { type: ["null", "string"] }, b: { anyOf: [{ $ref: "#/$defs/n" }] }, c: { type: "array" }, d: {} })).toStartWith(
      "<f object a:string b:number c:array[string] d:string>",
    );
    expect(() => load("{{ raise_exception('never') }}").render([user("U")], { tools })).toThrow("never");
  });

  test("results go into the message with their calls where a template looks for them there", () => {
    const beside =
      "{{ tools | tojson }}{% for m in messages %}[{{ m.role }}:{{ m.content }}{% for c in m.tool_calls or [] %}<tool_call>{{ c.function.arguments }}</tool_call>{% endfor %}{% for r in m['tool_responses'] or [] %}({{ r.name }}={{ r.response }}){% endfor %}]{% endfor %}";
    const { text } = load(beside).render([user("U"), calls('{"x":1}', '{"x":2}'), result(0, "R0"), result(1, "R1"), user("V")], { tools });
    expect(text).toContain('[assistant:<tool_call>{"x":1}</tool_call><tool_call>{"x":2}</tool_call>(add=R0)(add=R1)][user:V]');
  });

  test("results come in the order of their calls", () => {
    const { text } = load(OPEN).render([user("U"), calls("{}", "{}"), result(1, "R1"), result(0, "R0"), user("V")], { tools });
    expect(text).toContain("[tool:R0][tool:R1][user:V]");
    const foreign = load(OPEN).render([user("U"), calls("{}", "{}"), result(7, "R7"), result(0, "R0")], { tools }).text;
    expect(foreign).toContain("[tool:R7][tool:R0]");
  });

  test("Kimi gets ids with the names in them", () => {
    const kimi =
      "{{ tools | tojson }}{% for m in messages %}{% if m.role == 'tool' %}({{ m.tool_call_id }}={{ m.content }}){% endif %}{% for c in m.tool_calls or [] %}<|tool_call_begin|>{{ c.id }}<|tool_call_argument_begin|>{{ c.function.arguments }}<|tool_call_end|>{% endfor %}{% endfor %}";
    const again: ChatMessage = { role: "assistant", content: "", toolCalls: [{ id: "x", name: "sub", arguments: "{}" }] };
    const { text } = load(kimi).render(
      [user("U"), calls("{}", "{}"), result(0, "R0"), result(1, "R1"), again, { role: "tool", content: "R2", toolCallId: "x" }],
      { tools },
    );
    expect(text).toContain(
      "<|tool_call_begin|>functions.add:1<|tool_call_argument_begin|>{}<|tool_call_end|>(functions.add:0=R0)(functions.add:1=R1)",
    );
    expect(text).toContain("<|tool_call_begin|>functions.sub:2<|tool_call_argument_begin|>{}<|tool_call_end|>(functions.sub:2=R2)");
  });

  test("a template that shows calls but lists no tools gets them in its family's words", () => {
    const deepseek =
      "{% for m in messages %}{% if m.tool_calls %}{% for c in m.tool_calls %}<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>{{ c.function.name }}<｜tool▁sep｜>{{ c.function.arguments }}<｜tool▁call▁end｜><｜tool▁calls▁end｜>{% endfor %}{% else %}[{{ m.role }}:{{ m.content }}]{% endif %}{% endfor %}";
    const f = load(deepseek);
    expect([f.toolFormat, f.capabilities.tools]).toEqual(["deepseek-v3.1", false]);
    const { text } = f.render([user("U"), calls('{"x":1}'), result(0, "R")], { tools });
    expect(text).toContain("### add\nDescription: Adds.");
    expect(text).toContain("<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>tool_call_name<｜tool▁sep｜>tool_call_arguments<｜tool▁call▁end｜>");
    expect(text).toContain('add<｜tool▁sep｜>{"x":1}<｜tool▁call▁end｜>');
  });

  test("a template without tools, of a family with markup of its own, is told to use that", () => {
    const harmony =
      "{% for m in messages %}<|start|>{{ m.role }}<|channel|>final<|message|>{{ m.content }}<|end|>{% endfor %}<|start|>assistant";
    const f = load(harmony);
    const { text } = f.render([user("U")], { tools });
    expect(text).toContain("<|channel|>commentary to=functions.<function-name> <|constrain|>json<|message|><arguments-object><|call|>");
    const output =
      '<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary to=functions.add<|message|>{"x": 1}<|call|>';
    expect(feed(f.parser({ tools, startsInReasoning: false }), [output])).toMatchObject({
      reasoning: "Hm.",
      calls: [{ name: "add", arguments: '{"x": 1}' }],
    });
  });

  test("another template for conversations with tools", () => {
    const f = load({ default: "plain{% for m in messages %}{{ m.content }}{% endfor %}", tool_use: `T${OPEN}` });
    expect(f.render([user("U")]).text).toBe("plainU");
    expect(f.render([user("U")], { tools }).text.startsWith("T[{")).toBe(true);
    expect(f.template.startsWith("plain")).toBe(true);
  });
});

describe("thinking", () => {
  const switched = `${OPEN}{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}`;
  const always = `${OPEN}{{ '</think>' if false else '<think>' }}{{ '\\n' }}`;

  test("is switched where the template can", () => {
    const f = load(switched);
    expect(f.capabilities.thinking).toBe(true);
    expect(f.render([user("U")], { thinking: "off" })).toEqual({
      text: "[user:U][assistant:<think>\n\n</think>\n\n",
      startsInReasoning: false,
    });
    expect(f.render([user("U")], { thinking: "high" })).toEqual({ text: "[user:U][assistant:", startsInReasoning: false });
    expect(f.render([user("U")]).text).toBe("[user:U][assistant:");
  });

  test("that the prompt opens is noticed, and closed when it is to be off", () => {
    const f = load(always);
    expect(f.render([user("U")])).toEqual({ text: "[user:U][assistant:<think>\n", startsInReasoning: true });
    expect(f.render([user("U")], { thinking: "off" })).toEqual({
      text: "[user:U][assistant:<think>\n\n</think>\n\n",
      startsInReasoning: false,
    });
    expect(feed(f.parser({ tools: [], startsInReasoning: true }), ["a", "</think>b"])).toMatchObject({ reasoning: "a", text: "b" });
  });

  test("effort has the template's own words", () => {
    const f = load(`${OPEN}{{ reasoning_effort }}`);
    const effort = (thinking: "off" | "on" | "low" | "max") => f.render([user("U")], { thinking }).text.replace("[user:U][assistant:", "");
    expect([effort("off"), effort("on"), effort("low"), effort("max")]).toEqual(["low", "", "low", "high"]);
  });

  test("extra variables win", () => {
    expect(load(switched).render([user("U")], { thinking: "on", extra: { enable_thinking: false } }).text).toContain("<think>");
  });

  test("a model without it does not have it", () => {
    const f = load(OPEN);
    expect(f.capabilities.thinking).toBe(false);
    expect(f.render([user("U")], { thinking: "high" }).text).toBe("[user:U][assistant:");
    expect(feed(f.parser({ tools: [], startsInReasoning: false }), ["<think>x</think>"])).toMatchObject({
      reasoning: "",
      text: "<think>x</think>",
    });
  });

  test("markers that only the vocabulary knows are read as well", () => {
    const f = load(OPEN, "<think>", "</think>");
    expect(f.capabilities.thinking).toBe(true);
    expect(feed(f.parser({ tools: [], startsInReasoning: false }), ["<think>x</think>y"])).toMatchObject({ reasoning: "x", text: "y" });
  });

  test("earlier reasoning is handed to a template that asks for it", () => {
    const f = load(OPEN.replace("{{ m.content }}", "{% if m.reasoning_content %}({{ m.reasoning_content }}){% endif %}{{ m.content }}"));
    expect(f.render([user("U"), { role: "assistant", content: "A", reasoning: "R" }, user("V")]).text).toContain("[assistant:(R)A]");
  });
});

describe("continuing the last answer", () => {
  test("ends with its text exactly", () => {
    const { text, startsInReasoning } = load(OPEN).render([user("U"), assistant(" Hello \n")], { addGenerationPrompt: false });
    expect(text).toBe("[user:U][assistant: Hello \n");
    expect(startsInReasoning).toBe(false);
  });

  test("knows that reasoning is open", () => {
    const f = load(OPEN, "<think>", "</think>");
    expect(f.render([user("U"), assistant("<think>Hm")], { addGenerationPrompt: false }).startsInReasoning).toBe(true);
    expect(f.render([user("U"), assistant("<think>Hm</think>A")], { addGenerationPrompt: false }).startsInReasoning).toBe(false);
  });

  test("a template that hides it is an error that says so", () => {
    const hides = "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}";
    try {
      load(hides).render([user("U"), assistant("A")], { addGenerationPrompt: false });
      throw new Error("nothing was thrown");
    } catch (e) {
      expect((e as AlloyError).code).toBe("template_error");
      expect((e as AlloyError).message).toContain("continued");
    }
  });
});

describe("built-in templates", () => {
  const by = (...pieces: string[]) => loadChatFormat({ tokenizer: tokenizerWith(...pieces) });

  test("are chosen by the vocabulary, then by the architecture", () => {
    expect(by("<|im_start|>", "<|im_end|>").render([user("U")]).text).toBe("<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n");
    expect(by("<|start_header_id|>", "<|eot_id|>").render([user("U")]).text).toBe(
      "<s><|start_header_id|>user<|end_header_id|>\n\nU<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    );
    expect(by("<start_of_turn>", "<end_of_turn>").render([system("S"), user("U")]).text).toBe(
      "<s><start_of_turn>user\nS\n\nU<end_of_turn>\n<start_of_turn>model\n",
    );
    expect(by("<|user|>", "<|assistant|>", "<|end|>").render([user("U")]).text).toBe("<|user|>\nU<|end|>\n<|assistant|>\n");
    expect(loadChatFormat({ tokenizer: tokenizerWith(), architecture: "mistral3" }).render([user("U")]).text).toBe("<s>[INST] U [/INST]");
    const plain = by();
    expect(plain.render([system("S"), user("U")]).text).toBe("<s>S\n\nUser: U\nAssistant:");
    expect(plain.stops).toEqual(["\nUser:"]);
  });

  test("each shows a whole conversation with tools", () => {
    for (const b of BUILTIN_TEMPLATES) {
      const text = load(b.template).render(
        [system("SYS"), user("USR"), calls('{"x":1}'), result(0, "RES"), assistant("ANS"), user("END")],
        { tools },
      ).text;
      for (const word of ["SYS", "USR", '{"x":1}', "RES", "ANS", "END"])
        expect({ name: b.name, text }).toEqual({ name: b.name, text: expect.stringContaining(word) });
    }
  });

  test("stand in for templates in Go's language that ask for what is not known", () => {
    const go = "{{ if .System }}<|im_start|>system\n{{ unknown .System }}<|im_end|>{{ end }}{{ unknown .Prompt }}";
    expect(load(go, "<|im_start|>", "<|im_end|>").render([user("U")]).text).toBe("<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n");
  });
});

test("a conversation that the template refuses is a template_error with its words", () => {
  const f = load(
    "{% if messages | length > 2 %}{{ raise_exception('Too long a talk') }}{% endif %}{% for m in messages %}{{ m.content }}{% endfor %}",
  );
  try {
    f.render([user("A"), assistant("B"), user("C")]);
    throw new Error("nothing was thrown");
  } catch (e) {
    expect((e as AlloyError).code).toBe("template_error");
    expect((e as AlloyError).status).toBe(400);
    expect((e as AlloyError).message).toContain("Too long a talk");
  }
});

test("a template that never ends is found out when it is loaded", () => {
  const endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% set x = a %}{% endfor %}{% endfor %}";
  const f = load(endless);
  expect(f.capabilities.system).toBe(false);
}, 120_000);
