/** Templates and grammars made to hang, on the demo model: each gets its answer, and requests beside it are served. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { Engine } from "../../src/engine/api.ts";
import { createEngine } from "../../src/engine/create.ts";
import { createServer, type RunningServer } from "../../src/server/app.ts";

let engine: Engine;
let server: RunningServer;
beforeAll(async () => {
  engine = await createEngine({ contextLength: 512, parallel: 4 });
  server = await createServer({ engine, host: "127.0.0.1", port: 0, env: {} });
}, 120_000);
afterAll(async () => {
  await server.stop(0);
  await engine.close(0);
});

const post = (path: string, body: object) => fetch(server.url + path, { method: "POST", body: JSON.stringify({ model: "demo", ...body }) });
const deep = (n: number, make: (inner: object) => object): object => {
  let schema: object = { type: "string" };
  for (let i = 0; i < n; i++) schema = make(schema);
  return schema;
};

const TEMPLATES: Record<string, string> = {
  "loops in loops": "{% for i in range(99999) %}{% for j in range(99999) %}{{ i }}{% endfor %}{% endfor %}{{ messages }}",
  "a macro that calls itself": "{% macro f(x) %}{{ f(x) }}{{ f(x) }}{% endmacro %}{{ f(1) }}{{ messages }}",
  "text that doubles":
    "{% set ns = namespace(t='xxxxxxxx') %}{% for i in range(99) %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}{{ ns.t }}{{ messages }}",
  "text that is multiplied": "{{ 'x' * 9999999999 }}{{ messages }}",
  "half a megabyte": `{# ${"x".repeat(500_000)} #}{{ messages }}`,
  "brackets without end": `{{ ${"(".repeat(30_000)} }}`,
  "attributes without end": `{{ a${".a".repeat(30_000)} }}`,
  "loops in Go's language": `${"{{ range .Messages }}".repeat(60)}{{ .Content }}${"{{ end }}".repeat(60)}`,
};

test("templates", async () => {
  for (const [name, template] of Object.entries(TEMPLATES)) {
    const hostile = post("/api/generate", { prompt: "x ".repeat(50), template, stream: false, options: { num_predict: 1 } });
    const beside = await post("/v1/chat/completions", { messages: [{ role: "user", content: "hi" }], max_tokens: 2 });
    expect([name, beside.status]).toEqual([name, 200]);
    await beside.text();
    const response = await hostile;
    expect([name, [200, 400].includes(response.status), (await response.text()).length < 5000]).toEqual([name, true, true]);
  }
}, 120_000);

const GRAMMARS: Record<string, object> = {
  "counts that multiply": {
    type: "array",
    minItems: 1000,
    items: { type: "array", minItems: 1000, items: { type: "array", minItems: 1000 } },
  },
  "a thousand levels": deep(200, (items) => ({ type: "array", items })),
  "alternatives of alternatives": deep(7, (inner) => ({
    anyOf: [inner, { type: "array", items: inner }, { type: "object", properties: { a: inner } }],
  })),
  "references that double": {
    $ref: "#/$defs/a0",
    $defs: Object.fromEntries(
      Array.from({ length: 40 }, (_, i) => [
        `a${i}`,
        i === 39 ? { type: "null" } : { anyOf: [{ $ref: `#/$defs/a${i + 1}` }, { type: "array", items: { $ref: `#/$defs/a${i + 1}` } }] },
      ]),
    ),
  },
  "a reference to itself": { $ref: "#/$defs/a", $defs: { a: { $ref: "#/$defs/a" } } },
  "references in a ring": { $ref: "#/$defs/a", $defs: { a: { anyOf: [{ $ref: "#/$defs/b" }] }, b: { allOf: [{ $ref: "#/$defs/a" }] } } },
  "a pattern that backtracks": { type: "string", pattern: "^(a+)+(a+)+(a+)+$", maxLength: 1000 },
  "a pattern of counts": { type: "string", pattern: "^((a{1,900}){1,900}){1,900}$" },
  "a long list of words": { enum: Array.from({ length: 5000 }, (_, i) => `word-${i}-${"x".repeat(30)}`) },
  "many properties": {
    type: "object",
    properties: Object.fromEntries(Array.from({ length: 400 }, (_, i) => [`p${i}`, { type: "integer" }])),
  },
};

test("schemas and patterns", async () => {
  for (const [name, schema] of Object.entries(GRAMMARS)) {
    const format = { type: "json_schema", json_schema: { name: "x", schema } };
    const hostile = post("/v1/chat/completions", { messages: [{ role: "user", content: "x" }], max_tokens: 3, response_format: format });
    expect([name, (await fetch(`${server.url}/health`)).status]).toEqual([name, 200]);
    const response = await hostile;
    expect([name, [200, 400].includes(response.status)]).toEqual([name, true]);
    await response.text();
  }
}, 180_000);

test("grammars as text", async () => {
  for (const [name, grammar] of Object.entries({
    "left recursion": 'root ::= root "a" | "b"',
    "rules that call each other": 'root ::= a\na ::= b\nb ::= a | "x"',
    "counts of counts": 'root ::= (("a"{1,1000}){1,1000}){1,1000}',
    "brackets without end": `root ::= ${"(".repeat(20_000)}"a"${")".repeat(20_000)}`,
    "alternatives without end": `root ::= ${Array.from({ length: 8000 }, (_, i) => `"${i}"`).join(" | ")}`,
    nothing: "",
    "half a rule": "root ::=",
  })) {
    const response = await post("/v1/chat/completions", { messages: [{ role: "user", content: "x" }], max_tokens: 3, grammar });
    expect([name, [200, 400].includes(response.status)]).toEqual([name, true]);
    await response.text();
  }
}, 180_000);
