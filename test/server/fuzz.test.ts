/**
 * Random requests: an answer or a shaped refusal, never a crash, a 5xx or a hang. ALLOY_FUZZ=n runs n times as many cases, ALLOY_FUZZ_SEED
 * repeats a run; each test prints how many cases it ran.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { connect } from "node:net";
import { resolve, sep } from "node:path";
import { compileGoTemplate } from "../../src/chat/go/template.ts";
import { compileTemplate } from "../../src/chat/jinja.ts";
import { blobPath, manifestPath } from "../../src/hub/manifests.ts";
import { nameVariants, parseName } from "../../src/hub/names.ts";
import { createLogger } from "../../src/server/log.ts";
import { tidyPath } from "../../src/server/routes.ts";
import { AlloyError } from "../../src/support/errors.ts";
import { BODIES, places, replaced } from "./bodies.ts";
import { start } from "./harness.ts";

const seed = Number(process.env.ALLOY_FUZZ_SEED ?? Date.now() % 2 ** 31);
const scale = Math.max(1, Number(process.env.ALLOY_FUZZ ?? 1));

/** A test of a property, with its seed in its name and its count of cases in the output. */
function fuzz(
  name: string,
  runs: number,
  run: (check: <T>(arbitrary: fc.Arbitrary<T>, property: (value: T) => Promise<void> | void) => Promise<void>) => Promise<void>,
) {
  test(
    `${name} (seed ${seed})`,
    async () => {
      let cases = 0;
      await run((arbitrary, property) =>
        fc.assert(
          fc.asyncProperty(arbitrary, async (value) => {
            cases++;
            await property(value);
          }),
          { seed, numRuns: runs * scale },
        ),
      );
      console.log(`${cases} cases of ${name}, seed ${seed}`);
      expect(cases).toBeGreaterThanOrEqual(runs);
    },
    60_000 * Math.max(1, scale),
  );
}

fuzz("mutated bodies", 3000, async (check) => {
  await using h = await start();
  const cases = Object.entries(BODIES).flatMap(([path, body]) => places(body).map((place) => ({ path, body, place })));
  await check(fc.tuple(fc.constantFrom(...cases), fc.jsonValue()), async ([{ path, body, place }, by]) => {
    const response = await h.post(path, replaced(body, place, by) as object);
    const answer = await response.text();
    const context = `${path} ${place.join(".")} = ${JSON.stringify(by)}: ${response.status} ${answer.slice(0, 300)}`;
    if (response.status >= 500) throw new Error(context);
    if (response.status !== 200) {
      const { error } = JSON.parse(answer) as { error: unknown };
      const message = typeof error === "string" ? error : (error as { message: unknown }).message;
      if (typeof message !== "string" || message === "" || /undefined|\[object/.test(message)) throw new Error(context);
    } else if (/"error":(?!null)/.test(answer)) throw new Error(context);
  });
  expect(h.engine.running).toBe(0);
});

fuzz("broken bytes", 300, async (check) => {
  await using h = await start();
  const source = new TextEncoder().encode(JSON.stringify(BODIES["/v1/messages"]));
  await check(fc.tuple(fc.nat(source.length - 1), fc.nat(255), fc.boolean()), async ([at, byte, cut]) => {
    const bytes = cut ? source.slice(0, at) : source.with(at, byte);
    const response = await fetch(`${h.url}/v1/messages`, { method: "POST", body: bytes });
    await response.text();
    if (response.status >= 500) throw new Error(`${response.status} for byte ${byte} at ${at}, cut ${cut}`);
  });
});

/** Status of what comes first; 0 for a connection that was closed without a word, -1 for one that stays silent. */
function firstAnswer(port: number, bytes: Buffer): Promise<number> {
  const { promise, resolve: done } = Promise.withResolvers<number>();
  const socket = connect(port, "127.0.0.1", () => void socket.write(bytes));
  const timer = setTimeout(() => done(-1), 300);
  socket.on("data", (data) => done(Number(/^HTTP\/1\.1 (\d+)/.exec(data.toString("latin1"))?.[1] ?? 0)));
  socket.on("error", () => done(0));
  socket.on("close", () => done(0));
  return promise.finally(() => {
    clearTimeout(timer);
    socket.destroy();
  });
}

const NAMES = ["host", "origin", "authorization", "x-api-key", "content-encoding", "content-length", "content-type", "transfer-encoding"];
const MORE = ["traceparent", "tracestate", "anthropic-version", "anthropic-beta", "x-alloy-timeout", "x-alloy-priority", "accept-encoding"];
const REST = ["upgrade", "expect", "connection", "range", "user-agent", "cookie", "x-forwarded-for", "access-control-request-headers", "X"];
const headerName = fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...NAMES, ...MORE, ...REST) }, { weight: 1, arbitrary: fc.string() });
const sensible = fc.constantFrom(
  "localhost",
  "null",
  "*",
  "chunked",
  "gzip",
  "0",
  "2",
  "-1",
  "1e9",
  "Bearer x",
  "bearer",
  "close",
  "100-continue",
  "",
);
const headerValue = fc.oneof(sensible, fc.string({ unit: "binary", maxLength: 60 }), fc.string({ maxLength: 400 }));

fuzz("headers", 400, async (check) => {
  const lines: string[] = [];
  const log = createLogger({ level: "debug", format: "json", color: false, write: (line) => lines.push(line) });
  await using h = await start({}, { log });
  const method = fc.constantFrom("GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "BREW");
  const path = fc.oneof(fc.constantFrom("/", "/api/tags", "/v1/models", "/api/chat", "/metrics", "/v1/responses/x"), fc.webPath());
  await check(
    fc.tuple(method, path, fc.array(fc.tuple(headerName, headerValue), { maxLength: 8 }), fc.boolean()),
    async ([m, p, headers, host]) => {
      const text = [`${m} ${p} HTTP/1.1`, ...(host ? ["Host: localhost"] : []), ...headers.map(([k, v]) => `${k}: ${v}`), "", "{}"].join(
        "\r\n",
      );
      const status = await firstAnswer(h.server.port, Buffer.from(text, "latin1"));
      // 501 is for what is not built, 505 for other versions of HTTP.
      if (status >= 500 && status !== 501 && status !== 505) throw new Error(`${status} for ${JSON.stringify(text)}`);
      for (const line of lines.splice(0))
        if (line.indexOf("\n") !== line.length - 1 || !JSON.parse(line)) throw new Error(`bad line ${line}`);
    },
  );
  expect((await fetch(`${h.url}/health`)).status).toBe(200);
});

fuzz("bytes instead of HTTP", 100, async (check) => {
  await using h = await start();
  const good = Buffer.from('POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16\r\n\r\n{"model":"demo"}', "latin1");
  const changed = fc
    .tuple(fc.nat(good.length - 1), fc.uint8Array({ maxLength: 4 }))
    .map(([at, by]) => Buffer.concat([good.subarray(0, at), by, good.subarray(at + 1)]));
  await check(
    fc.oneof(
      changed,
      fc.uint8Array({ maxLength: 200 }).map((b) => Buffer.from(b)),
    ),
    async (bytes) => {
      const status = await firstAnswer(h.server.port, bytes);
      if (status >= 500 && status !== 505) throw new Error(`${status} for ${JSON.stringify(bytes.toString("latin1"))}`);
    },
  );
  expect((await fetch(`${h.url}/health`)).status).toBe(200);
});

const PIECES = [
  "{{",
  "}}",
  "{%",
  "%}",
  "{#",
  "#}",
  "-",
  "(",
  ")",
  "[",
  "]",
  "{",
  "}",
  "'",
  '"',
  "|",
  ".",
  ",",
  "~",
  "*",
  "**",
  "+",
  "==",
  "<",
  " ",
];
const WORDS = [
  "for m in messages",
  "endfor",
  "if",
  "else",
  "elif true",
  "endif",
  "set x = x",
  "set x = [1,2]",
  "macro f(a)",
  "endmacro",
  "f(1)",
  "call f()",
  "messages",
  "m.content",
  "m['role']",
  "range(99999)",
  "loop.index",
  "namespace(a=1)",
  "tojson",
  "trim",
  "join(',')",
  "map('x')",
  "selectattr('a')",
  "length",
  "raise_exception('x')",
  "strftime_now('%Y')",
  "not",
  "in",
  "is defined",
  "none",
  "true",
  "99999999999",
  "'x' * 99999",
  "x",
  "messages[::-1]",
  "end",
  "range .Messages",
  ".Content",
  "$x := .Messages",
  'template "x" .',
  'define "x"',
  'block "x" .',
  "with .System",
  "index .Messages 0",
  'printf "%d" 3',
  "\n",
  "filter trim",
  "endfilter",
  "break",
];
const LIMITS = { source: 1 << 16, steps: 100_000, time: 1000, output: 1 << 18 };

fuzz("templates", 3000, async (check) => {
  const source = fc
    .array(fc.constantFrom(...PIECES, ...WORDS.flatMap((w) => [w, `{{ ${w} }}`, `{% ${w} %}`])), { maxLength: 25 })
    .map((parts) => parts.join(" "));
  const messages = [
    { role: "user", content: "hi" },
    { role: "assistant", content: "yes" },
  ];
  await check(source, (text) => {
    for (const compile of [compileTemplate, compileGoTemplate]) {
      try {
        const out = compile(text, LIMITS).render({ messages, add_generation_prompt: true });
        if (typeof out !== "string" || out.length > LIMITS.output * 2)
          throw new Error(`${JSON.stringify(text)} gives ${String(out).length} characters`);
      } catch (e) {
        if (!(e instanceof AlloyError) || e.code !== "template_error")
          throw new Error(`${JSON.stringify(text)}: ${String(e)}`, { cause: e });
      }
    }
  });
});

const letters = fc.string({ unit: fc.constantFrom(..."../\\:%~-_aZ09\0\n é@ "), maxLength: 40 });
const parts = fc
  .array(
    fc.constantFrom(
      "..",
      ".",
      "/",
      "\\",
      ":",
      "%2e%2e",
      "%2f",
      "%00",
      "~",
      "hf.co",
      "registry.ollama.ai",
      "library",
      "demo",
      "latest",
      "@",
      "C:",
      "//",
      "-cloud",
    ),
    { maxLength: 8 },
  )
  .map((p) => p.join(""));
const anyName = fc.oneof(letters, parts, fc.string({ unit: "binary", maxLength: 60 }));

fuzz("names of models and digests, to paths", 20_000, async (check) => {
  const root = resolve("/store/of/models");
  await check(anyName, (text) => {
    for (const variant of [text, ...nameVariants(text)]) {
      const name = parseName(variant);
      if (!name) continue;
      const path = resolve(manifestPath(root, name));
      // Whatever a name says, there are four folders below that of the manifests.
      if (!path.startsWith(root + sep) || path.slice(root.length + 1).split(sep).length !== 5)
        throw new Error(`${JSON.stringify(variant)} is ${path}`);
    }
    const tidy = tidyPath(`/${text}`);
    if (tidyPath(tidy) !== tidy) throw new Error(`${JSON.stringify(text)} is tidied twice`);
    if (/^[0-9a-f]{64}$/.test(text) && !resolve(blobPath(root, text)).startsWith(root + sep)) throw new Error(text);
  });
});

fuzz("names of models over HTTP", 300, async (check) => {
  await using h = await start(
    {},
    { env: { ALLOY_MODELS: "/nonexistent/alloy", OLLAMA_MODELS: "/nonexistent/ollama", HF_HOME: "/nonexistent/hf", HOME: "/nonexistent" } },
  );
  await check(anyName, async (name) => {
    for (const [path, body] of [
      ["/api/show", { model: name }],
      ["/api/copy", { source: name, destination: "x" }],
      ["/api/delete", { model: name }],
      ["/v1/chat/completions", { model: name, messages: [{ role: "user", content: "x" }] }],
    ] as const) {
      const response = await fetch(h.url + path, { method: path === "/api/delete" ? "DELETE" : "POST", body: JSON.stringify(body) });
      const answer = await response.text();
      if (response.status >= 500) throw new Error(`${path} ${JSON.stringify(name)}: ${response.status} ${answer}`);
    }
    const response = await fetch(`${h.url}/v1/models/${encodeURIComponent(name.toWellFormed())}`);
    if (response.status >= 500) throw new Error(`GET ${JSON.stringify(name)}: ${response.status}`);
    await response.text();
  });
});
