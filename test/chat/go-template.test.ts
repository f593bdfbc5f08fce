/** Templates in Go's language: the language by itself, and the templates that Ollama publishes with models. */
import { describe, expect, test } from "bun:test";
import { executeGoTemplate } from "../../src/chat/go/execute.ts";
import { parseGoTemplate } from "../../src/chat/go/parse.ts";
import { compileGoTemplate, rendersGoTemplate } from "../../src/chat/go/template.ts";
import { PROBE_LIMITS } from "../../src/chat/jinja.ts";
import { loadChatFormat } from "../../src/chat/load.ts";
import type { Tokenizer } from "../../src/tokenizer/api.ts";
import { AlloyError } from "../../src/support/errors.ts";

const run = (source: string, data: unknown = {}): string =>
  executeGoTemplate(parseGoTemplate(source), data, { limits: PROBE_LIMITS, now: new Date(2026, 10, 27) });

// Expected texts are what `text/template` of Go 1.22 makes of them.
describe("the language", () => {
  const data = { A: "a", N: 3, Z: 0, L: ["x", "y", "z"], E: [], M: { b: 2, a: 1 }, S: { T: { U: "deep" } }, Yes: true, No: false };
  test.each([
    ["plain", "plain"],
    ["{{ .A }}{{.A}}", "aa"],
    ["x  {{- .A -}}  y", "xay"],
    ["x\n{{- /* a comment }} */ -}}\ny", "xy"],
    ["{{/* c */}}k", "k"],
    ["{{ .S.T.U }} {{ $.S.T.U }}", "deep deep"],
    ["{{ .Missing }}", "<no value>"],
    ['{{ "q\\"\\n\\u00e9" }}{{ `r\\n` }}{{ \'a\' }}', 'q"\né' + "r\\n" + "97"],
    ["{{ 12 }} {{ -1.5 }} {{ true }}", "12 -1.5 true"],
    ["{{ if .A }}1{{ else }}2{{ end }}{{ if .Z }}1{{ else if .E }}2{{ else if .Yes }}3{{ end }}", "13"],
    ["{{ range .L }}[{{ . }}]{{ end }}{{ range .E }}x{{ else }}none{{ end }}", "[x][y][z]none"],
    ["{{ range $i, $v := .L }}{{ $i }}={{ $v }} {{ end }}{{ range $v := .L }}{{ $v }}{{ end }}", "0=x 1=y 2=z xyz"],
    ["{{ range $k, $v := .M }}{{ $k }}{{ $v }}{{ end }}", "a1b2"],
    [
      '{{ range .L }}{{ if eq . "y" }}{{ continue }}{{ end }}{{ . }}{{ end }}{{ range .L }}{{ if eq . "y" }}{{ break }}{{ end }}{{ . }}{{ end }}',
      "xzx",
    ],
    ["{{ with .S.T }}{{ .U }}{{ end }}{{ with .E }}x{{ else }}empty{{ end }}{{ with $x := .A }}{{ $x }}{{ . }}{{ end }}", "deepemptyaa"],
    ["{{ $x := 1 }}{{ range .L }}{{ $x = . }}{{ end }}{{ $x }}", "z"],
    ["{{ $x := 1 }}{{ if .Yes }}{{ $x := 2 }}{{ end }}{{ $x }}", "1"],
    ['{{ define "t" }}<{{ . }}>{{ end }}{{ template "t" .A }}{{ block "b" .N }}({{ . }}){{ end }}', "<a>(3)"],
    ["{{ and .A .N }} {{ and .Z .A }} {{ or .Z .A }} {{ not .No }}", "3 0 a true"],
    ['{{ if and .Yes (not .No) (eq .A "b" "a") }}ok{{ end }}', "ok"],
    ['{{ len .L }} {{ len .A }} {{ len (slice .L 1) }} {{ index .L 1 }} {{ index .M "b" }} {{ slice .A 0 1 }}', "3 1 2 y 2 a"],
    ['{{ eq .N 3 }} {{ ne .N 3 }} {{ lt 1 2 }} {{ le 2 2 }} {{ gt 1 2 }} {{ ge .A "a" }}', "true false true true false true"],
    ['{{ .A | printf "%s-%d-%q%%" "v" 5 }} {{ print 1 "x" }}', 'v-5-"a"% 1x'],
    ["{{ json .M }} {{ .L }} {{ .M }}", '{"b":2,"a":1} [x y z] map[a:1 b:2]'],
    ["{{ (index .L 0) }}{{ (slice .L 1 2) | len }}{{ (.S.T).U }}", "x1deep"],
    ["{{ currentDate }} {{ yesterdayDate }}", "2026-11-27 2026-11-26"],
    ["{{ if eq (len (slice $.L 2)) 1 }}last{{ end }}", "last"],
  ])("%s", (source, expected) => expect(run(source, data)).toBe(expected));

  test.each([
    ["{{ if .A }}", "{{ if }} is not ended"],
    ["{{ end }}", "{{ end }} without a beginning"],
    ["{{ .A", "an action {{ is not closed"],
    ["{{ (.A }}", "a parenthesis is not closed"],
    ["{{ .A) }}", "a parenthesis too many"],
    ["{{ .A | }}", "a value is missing"],
    ["{{ frobnicate .A }}", 'there is no function "frobnicate"'],
    ["{{ $x }}", "variable $x is not declared"],
    ['{{ template "none" }}', 'template "none" is not defined'],
    ["{{ index .L 9 }}", "index 9 is outside of 3 items"],
    ["{{ slice .L 2 1 }}", "slice 2 to 1 of 3 items"],
    ["{{ .A .N }}", "a value is called like a function"],
    ["{{ lt .A 1 }}", "cannot be compared"],
    ['{{ define "t" }}{{ template "t" }}{{ end }}{{ template "t" }}', "call each other too deeply"],
    ["{{ range 100000 }}{{ range 100000 }}{{ end }}{{ end }}", "it takes "],
    ['{{ $x := "ab" }}{{ range 100 }}{{ $x = print $x $x }}{{ end }}', "it makes more than"],
    [`${"{{ if .A }}".repeat(300)}${"{{ end }}".repeat(300)}`, "it nests too deeply"],
    [`{{ ${"(".repeat(300)}.A${")".repeat(300)} }}`, "it nests too deeply"],
  ])("%s is refused", (source, message) => expect(() => run(source, data)).toThrow(message));

  test("objects have no fields but their own", () => {
    expect(run("{{ .constructor }}{{ .__proto__ }}{{ .A.length }}", data)).toBe("<no value>".repeat(3));
    expect(() => run("{{ constructor }}", data)).toThrow("there is no function");
  });
});

const user = { role: "user", content: "hi" };
const assistant = { role: "assistant", content: "hello" };
const system = { role: "system", content: "Be brief." };
const tool = {
  type: "function",
  function: {
    name: "weather",
    description: "Weather",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};

describe("templates of single turns", () => {
  const chatml = `{{ if .System }}<|im_start|>system
{{ .System }}<|im_end|>
{{ end }}{{ if .Prompt }}<|im_start|>user
{{ .Prompt }}<|im_end|>
{{ end }}<|im_start|>assistant
{{ .Response }}<|im_end|>
`;
  const render = (messages: object[]) => compileGoTemplate(chatml).render({ messages, add_generation_prompt: true });

  test("each turn in full, the last up to where the answer begins", () => {
    expect(render([user])).toBe("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
    expect(render([system, user, assistant, user])).toBe(
      "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nhello<|im_end|>\n" +
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
    );
    expect(render([user, assistant])).toBe("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nhello");
  });

  test("a template without .Response gets it at its end", () => {
    const { render: plain } = compileGoTemplate("[INST] {{ .System }} {{ .Prompt }} [/INST]");
    expect(plain({ messages: [user, assistant, user] })).toBe("[INST]  hi [/INST]hello[INST]  hi [/INST]");
  });
});

/** Of the shape that Ollama publishes with Llama 3.2. */
const LLAMA = `<|start_header_id|>system<|end_header_id|>

{{ if .System }}{{ .System }}
{{- end }}
{{- if .Tools }}You have tools.
{{- end }}<|eot_id|>
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 }}
{{- if eq .Role "user" }}<|start_header_id|>user<|end_header_id|>
{{- if and $.Tools $last }}

{{ range $.Tools }}
{{- . }}
{{ end }}
{{ .Content }}<|eot_id|>
{{- else }}

{{ .Content }}<|eot_id|>
{{- end }}{{ if $last }}<|start_header_id|>assistant<|end_header_id|>

{{ end }}
{{- else if eq .Role "assistant" }}<|start_header_id|>assistant<|end_header_id|>
{{- if .ToolCalls }}
{{ range .ToolCalls }}
{"name": "{{ .Function.Name }}", "parameters": {{ .Function.Arguments }}}{{ end }}
{{- else }}

{{ .Content }}
{{- end }}{{ if not $last }}<|eot_id|>{{ end }}
{{- else if eq .Role "tool" }}<|start_header_id|>ipython<|end_header_id|>

{{ .Content }}<|eot_id|>{{ if $last }}<|start_header_id|>assistant<|end_header_id|>

{{ end }}
{{- end }}
{{- end }}`;

describe("templates of conversations", () => {
  const template = compileGoTemplate(LLAMA);

  test("roles, and the end where the answer comes", () => {
    expect(template.render({ messages: [system, user, assistant, user] })).toBe(
      "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>" +
        "<|start_header_id|>assistant<|end_header_id|>\n\nhello<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>" +
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    );
  });

  test("tools, calls and results", () => {
    const call = {
      role: "assistant",
      content: "",
      tool_calls: [{ id: "1", type: "function", function: { name: "weather", arguments: { city: "Rome" } } }],
    };
    const text = template.render({ messages: [user, call, { role: "tool", content: "25" }], tools: [tool] });
    expect(text).toContain('<|start_header_id|>assistant<|end_header_id|>\n\n{"name": "weather", "parameters": {"city":"Rome"}}<|eot_id|>');
    expect(text).toEndWith("<|start_header_id|>ipython<|end_header_id|>\n\n25<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n");
    expect(template.render({ messages: [user], tools: [tool] })).toContain(`\n\n${JSON.stringify(tool)}\n\nhi<|eot_id|>`);
  });

  test("parameters by their names in Go", () => {
    const source =
      "{{ range .Tools }}{{ .Function.Name }}({{ range $k, $v := .Function.Parameters.Properties }}{{ $k }}: {{ $v.Type }}{{ end }}) needs {{ .Function.Parameters.Required }}{{ end }}{{ range .Messages }}{{ .Content }}{{ end }}";
    expect(compileGoTemplate(source).render({ messages: [user], tools: [tool] })).toBe("weather(city: string) needs [city]hi");
  });
});

describe("as a model's chat format", () => {
  const tokenizer = { id: () => undefined, piece: () => "", bos: undefined, eos: undefined } as unknown as Tokenizer;
  const load = (template: string) => loadChatFormat({ template, tokenizer, architecture: "llama" });

  test("tools are found by rendering, and continuing an answer works", () => {
    const format = load(LLAMA);
    expect(format.capabilities).toMatchObject({ tools: true, system: true });
    const { text } = format.render(
      [
        { role: "user", content: "hi" },
        { role: "assistant", content: "The answer is" },
      ],
      { addGenerationPrompt: false },
    );
    expect(text).toEndWith("<|start_header_id|>assistant<|end_header_id|>\n\nThe answer is");
  });

  test("thinking is switched", () => {
    const source = `{{ range .Messages }}{{ .Content }}{{ end }}{{ if and $.IsThinkSet (not $.Think) }}<think>

</think>{{ end }}`;
    const format = load(source);
    expect(format.capabilities.thinking).toBe(true);
    const hi = [{ role: "user" as const, content: "hi" }];
    expect(format.render(hi, { thinking: "off" }).text).toBe("hi<think>\n\n</think>");
    expect(format.render(hi, { thinking: "on" }).text).toBe("hi");
  });

  test("what cannot be rendered falls back to a built-in template", () => {
    expect(rendersGoTemplate("{{ .Prompt }}")).toBe(true);
    expect(rendersGoTemplate("{{ frobnicate .Prompt }}")).toBe(false);
    expect(load("{{ if frobnicate .Prompt }}{{ end }}").template).toContain("{%");
  });
});

test("random text never does more than fail", () => {
  const parts = [
    "{{",
    "}}",
    "{{-",
    "-}}",
    " if ",
    " range ",
    " end ",
    " else ",
    ".A",
    "$x",
    ":=",
    "(",
    ")",
    "|",
    '"',
    "`",
    "'",
    "\\",
    "text",
    "\n",
    "{{ end }}",
    "/*",
    "*/",
    " . ",
    "1",
    ",",
  ];
  let state = Number(process.env.ALLOY_TEST_SEED ?? Date.now() % 2 ** 31);
  console.log(`go template fuzz: seed ${state}`);
  const random = () => (state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff) / 0x7fffffff;
  let rendered = 0;
  for (let i = 0; i < 20_000; i++) {
    const source = Array.from({ length: 1 + Math.floor(random() * 12) }, () => parts[Math.floor(random() * parts.length)]).join("");
    try {
      compileGoTemplate(source).render({ messages: [user] }, PROBE_LIMITS);
      rendered++;
    } catch (e) {
      if (!(e instanceof AlloyError)) throw new Error(`${JSON.stringify(source)}: ${String(e)}`);
      expect(e.code).toBe("template_error");
    }
  }
  expect(rendered).toBeGreaterThan(100);
});
