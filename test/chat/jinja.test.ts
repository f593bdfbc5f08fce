import { describe, expect, test } from "bun:test";
import { compileTemplate, RENDER_LIMITS } from "../../src/chat/jinja.ts";
import { AlloyError } from "../../src/support/errors.ts";
import { random, seed } from "./helpers.ts";

const render = (source: string, variables: Record<string, unknown> = {}) => compileTemplate(source).render(variables);

function failure(run: () => unknown): AlloyError {
  try {
    run();
  } catch (e) {
    if (e instanceof AlloyError) return e;
    throw e;
  }
  throw new Error("nothing was thrown");
}

/** Right-hand sides are what Jinja2 3.1 prints with trim_blocks and lstrip_blocks. */
const CASES: [source: string, variables: Record<string, unknown>, text: string][] = [
  ["{{ x }}", { x: { a: [1, 2.5, true, null, "it's"] } }, `{'a': [1, 2.5, True, None, "it's"]}`],
  ["{{ x | string }}", { x: { a: 1 } }, "{'a': 1}"],
  ["{{ none }}|{{ true }}|{{ missing }}|", {}, "None|True||"],
  ["{{ x | tojson }}", { x: { a: [1, true, null], b: "é<" } }, '{"a": [1, true, null], "b": "é<"}'],
  [
    "{% set d = {1: 'a', 20: 'b', 3: 'c'} %}{{ d[20] }}{% for k, v in d | dictsort %}{{ k }}{{ v }}{{ k < 4 }}{% endfor %}",
    {},
    "b1aTrue3cTrue20bFalse",
  ],
  ["{% for x in missing %}{{ x }}{% else %}none{% endfor %}", {}, "none"],
  ["{{ missing | length }}{{ missing | default('d') }}{{ missing | selectattr('a') | list | length }}", {}, "0d0"],
  ["{% for c in 'añ' %}{{ c }}-{% endfor %}", {}, "a-ñ-"],
  ["{% for a, b in [(1, 2), (3, 4)] %}{{ a + b }} {% endfor %}", {}, "3 7 "],
  ["{% set l = namespace(ids=[1]) %}{% set _ = l.ids.append('x') %}{{ l.ids.pop(0) }}{{ l.ids }}", {}, "1['x']"],
  ["{{ 1 ~ none ~ 'a' ~ [1] }}", {}, "1Nonea[1]"],
  ["{{ 'abc' | list | count }}", {}, "3"],
  [
    "{{ ['a'] in ['a', 'b'] }} {{ ['a'] in [['a']] }} {{ 'a' in ('a', 'b') }} {{ 1 not in [1, 2] }} {{ 'b' in 'abc' }}",
    {},
    "False True True False True",
  ],
  ["{{ x | upper }} {{ none | lower }} {{ x | string | title }}", { x: ["a", "b"] }, "['A', 'B'] none ['A', 'B']"],
  ["{{ '-' * 3 }}{{ 2 * 'ab' }}{{ 2 * 3 }}{{ 'a' * -1 }}", {}, "---abab6"],
  [
    "{% for k, v in x.items() %}{{ k }}={{ v }} {% endfor %}{{ x.get('keys') }}{{ x['items'] }}",
    { x: { items: 1, keys: 2 } },
    "items=1 keys=2 21",
  ],
  ["a\n{% if true %}\nb\n{% endif %}\nc", {}, "a\nb\nc"],
];

describe("renders as Jinja2 does", () => {
  for (const [source, variables, text] of CASES) test(source, () => expect(render(source, variables)).toBe(text));
});

test("strftime_now tells the time that it is given", () => {
  const now = () => new Date(2026, 0, 5, 9, 7, 3);
  const t = compileTemplate("{{ strftime_now('%d %b %Y %H:%M:%S %A %-d %j %p %q%%') }}", RENDER_LIMITS, now);
  expect(t.render({})).toBe("05 Jan 2026 09:07:03 Monday 5 005 AM %q%");
});

test("raise_exception is a template_error with the template's words", () => {
  const e = failure(() => render("{{ raise_exception('Roles must alternate') }}"));
  expect(e.code).toBe("template_error");
  expect(e.message).toContain("Roles must alternate");
  expect(e.hint).toBeTruthy();
});

test("a template that does not parse is a template_error", () => {
  expect(failure(() => compileTemplate("{% if %}")).code).toBe("template_error");
  expect(failure(() => compileTemplate("{{ 'open")).code).toBe("template_error");
});

describe("templates are untrusted", () => {
  const limits = { source: 1000, steps: 100_000, time: 2000, output: 100_000 };
  const hostile: [name: string, source: string][] = [
    ["size", `{# ${"x".repeat(1000)} #}`],
    ["nested loops", "{% for a in range(1000) %}{% for b in range(1000) %}{% for c in range(1000) %}{% endfor %}{% endfor %}{% endfor %}"],
    ["a long range", "{% for a in range(1000000000) %}{% endfor %}"],
    ["a range without end", "{{ range(1, 10, 0) }}"],
    ["doubling text", `{% set ns = namespace(s='xxxxxxxx') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}`],
    [
      "growing by replacing",
      "{% set ns = namespace(s='aaaaaaaaaa') %}{% for i in range(9) %}{% set ns.s = ns.s.replace('a', ns.s) %}{% endfor %}",
    ],
    [
      "growing by the replace filter",
      "{% set ns = namespace(s='aaaaaaaaaa') %}{% for i in range(9) %}{% set ns.s = ns.s | replace('a', ns.s) %}{% endfor %}",
    ],
    ["growing by indenting", "{{ 'a' | indent(width=1000000000, first=true) }}"],
    ["endless recursion", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"],
    ["deep nesting", "{{ " + "(".repeat(400) + "1" + ")".repeat(400) + " | nothing }}"],
  ];
  for (const [name, source] of hostile) {
    test(name, () => expect(failure(() => compileTemplate(source, limits).render({})).code).toBe("template_error"));
  }

  test("time", () => {
    const slow = compileTemplate("{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}", {
      ...RENDER_LIMITS,
      steps: 1e12,
      time: 50,
    });
    // To its end it would take minutes.
    expect(failure(() => slow.render({})).message).toContain("50 ms");
  });

  test("nothing of JavaScript can be reached", () => {
    for (const source of [
      "{{ ''.constructor }}",
      "{{ x.__proto__ }}",
      "{{ x.constructor.constructor('return 1')() }}",
      "{{ globalThis }}",
    ]) {
      let text = "";
      try {
        text = render(source, { x: { a: 1 } });
      } catch (e) {
        expect((e as AlloyError).code).toBe("template_error");
      }
      expect(text).toBe("");
    }
  });
});

test("any text at all as a template is rendered or refused", () => {
  const start = seed("template fuzz");
  const next = random(start);
  const parts = [
    "{{",
    "}}",
    "{%",
    "%}",
    "{#",
    "#}",
    "for",
    "if",
    "in",
    "set",
    "macro",
    "endfor",
    "endif",
    " x ",
    "messages",
    "loop.index",
    "(",
    ")",
    "[",
    "]",
    "|",
    "tojson",
    ".",
    "'",
    '"',
    "1",
    "-",
    "~",
    "is",
    "defined",
    "\n",
    "\\",
    "range(9)",
    "raise_exception",
    "é",
    "namespace",
  ];
  for (let n = 0; n < 3000; n++) {
    const source = Array.from({ length: 1 + Math.floor(next() * 20) }, () => parts[Math.floor(next() * parts.length)]).join(
      next() < 0.5 ? " " : "",
    );
    try {
      expect(typeof compileTemplate(source).render({ messages: [{ role: "user", content: "a" }], x: { y: [1] } })).toBe("string");
    } catch (e) {
      if (!(e instanceof AlloyError)) throw new Error(`template ${JSON.stringify(source)}`, { cause: e });
      expect(e.code).toBe("template_error");
    }
  }
});
