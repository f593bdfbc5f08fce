/** The log: a line per request, readable for people and for programs, and nothing in it that should not be there. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { LogSink } from "../../src/cli/log-sink.ts";
import { createLogger, levelFromEnv, type LogFormat, type LogLevel } from "../../src/server/log.ts";
import { AlloyError } from "../../src/support/errors.ts";
import { BODIES, places, replaced } from "./bodies.ts";
import { rawRequest, start, until } from "./harness.ts";
import type { ScriptedOptions, Step } from "./scripted-engine.ts";

const seed = Number(process.env.ALLOY_FUZZ_SEED ?? Date.now() % 2 ** 31);
const messages = [{ role: "user", content: "hi" }];
const CONTROL = /(?!\n)[\p{Cc}\u2028\u2029\u202e]/u;

function logger(format: LogFormat = "json", level: LogLevel = "info", color = false) {
  const lines: string[] = [];
  const log = createLogger({ level, format, color, write: (line) => lines.push(line), now: () => new Date("2026-11-27T10:20:30.400Z") });
  return { lines, log, entries: () => lines.map((l) => JSON.parse(l) as Record<string, unknown>) };
}

async function logged(script: ScriptedOptions | Step[] = {}, level: LogLevel = "debug", env: Record<string, string> = {}) {
  const kept = logger("json", level);
  const harness = await start(script, { log: kept.log, env });
  return { ...kept, harness, [Symbol.asyncDispose]: () => harness.server.stop(0) };
}

describe("one line per request", () => {
  test("with route, model, tokens and times, in each dialect", async () => {
    await using l = await logged([{ type: "text", text: "a b c" }]);
    for (const [path, body] of [
      ["/v1/chat/completions", { model: "demo", messages }],
      ["/v1/chat/completions", { model: "demo", messages, stream: true }],
      ["/v1/messages", { model: "demo", max_tokens: 9, messages }],
      ["/api/chat", { model: "demo", messages }],
      ["/v1/responses", { model: "demo", input: "hi" }],
    ] as const) {
      const response = await l.harness.post(path, body);
      await response.text();
      await until(() => l.lines.length === 1, "the line");
      const [entry] = l.entries();
      expect(entry.tokens_in).toBeGreaterThan(0);
      expect(entry).toMatchObject({
        time: "2026-11-27T10:20:30.400Z",
        level: "info",
        msg: "request",
        method: "POST",
        path,
        status: 200,
        model: "demo",
        tokens_in: expect.any(Number),
        tokens_out: 3,
        tokens_cached: 0,
        queue_ms: expect.any(Number),
        ttft_ms: expect.any(Number),
        duration_ms: expect.any(Number),
        request_id: response.headers.get("request-id"),
      });
      expect("error" in entry).toBe(false);
      l.lines.length = 0;
    }
    await (await l.harness.post("/v1/chat/completions", { model: "demo", messages, n: 3 })).text();
    expect(l.entries()[0]).toMatchObject({ tokens_out: 9 });
  });

  test("refusals, vanished clients and failures after the first byte", async () => {
    await using l = await logged({ delayMs: 5, script: () => [{ type: "text", text: "w ".repeat(5000) }] }, "debug", {
      ALLOY_API_KEY: "k",
    });
    const { harness } = l;
    const key = { authorization: "Bearer k" };
    await rawRequest(harness.server.port, "GET /api/tags HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    await harness.post("/api/chat", {}, { origin: "https://evil.example" });
    await harness.post("/api/chat", {});
    await harness.post("/v1/messages", { model: "demo", max_tokens: 3, messages: 5 }, key);
    await harness.post("/v1/messages", { model: "nope", max_tokens: 3, messages }, key);
    await harness.post("/nowhere?key=secret", {}, key);
    const stop = new AbortController();
    const running = harness.post("/v1/chat/completions", { model: "demo", messages, stream: true }, key, stop.signal);
    await until(() => harness.engine.emitted > 1, "the stream runs");
    stop.abort();
    await running.then((r) => r.text()).catch(() => {});
    await until(() => l.lines.length === 7, "seven lines");
    expect(l.entries()).toMatchObject([
      { status: 403, path: "/api/tags" },
      { status: 403, path: "/api/chat" },
      { status: 401, error: { code: "unauthorized" } },
      { status: 400, error: { code: "invalid_type", param: "messages" } },
      { status: 404, error: { code: "model_not_found", message: "model 'nope' not found" } },
      { status: 404, path: "/nowhere", error: { code: "not_found" } },
      { status: 499, level: "info", model: "demo" },
    ]);
    expect(l.lines.join("")).not.toContain("secret");

    await using broken = await logged([
      { type: "text", text: "a" },
      { type: "error", error: new AlloyError("device_error", "the device is gone", { hint: "Restart it." }) },
    ]);
    await (await broken.harness.post("/v1/chat/completions", { model: "demo", messages, stream: true })).text();
    await until(() => broken.lines.length === 1, "the line");
    expect(broken.entries()[0]).toMatchObject({
      level: "warn",
      status: 200,
      error: { code: "device_error", message: "the device is gone", hint: "Restart it." },
    });
    expect(broken.lines[0].match(/the device is gone/g)).toHaveLength(1);
  });

  test("a mistake of Alloy's own: where it happened, and what, unless the text could quote data", async () => {
    await using l = await logged();
    for (const thrown of [new TypeError("x is not a function"), new SyntaxError('Unexpected identifier "SECRET"'), "SECRET"]) {
      // oxlint-disable-next-line require-yield -- it fails before its first event
      l.harness.engine.generate = async function* () {
        throw thrown;
      };
      await (await l.harness.post("/api/chat", { model: "demo", messages })).text();
    }
    expect(l.entries()).toMatchObject([
      { level: "error", status: 500, error: { code: "internal", message: "TypeError: x is not a function", frames: expect.any(Array) } },
      { error: { code: "internal", message: "SyntaxError" } },
      { error: { code: "internal", message: "a string was thrown" } },
    ]);
    expect(JSON.stringify(l.entries()[0])).toContain("log.test.ts");
    expect(l.lines.join("")).not.toContain("SECRET");
  });

  test("probes and scrapes are lines of debugging; a server that is not ready is not", async () => {
    await using l = await logged({}, "info", { ALLOY_DEFAULT_MODEL: "absent" });
    for (const path of ["/health", "/livez", "/metrics"]) await (await fetch(l.harness.url + path)).text();
    expect(l.lines).toEqual([]);
    await (await fetch(`${l.harness.url}/readyz`)).text();
    expect(l.entries()).toMatchObject([{ level: "warn", status: 503, path: "/readyz" }]);
  });
});

test(`neither prompts nor answers nor keys, whatever a request holds (seed ${seed})`, async () => {
  const canary = "CANARY7f3a";
  const script: Step[] = [
    { type: "reasoning", text: canary },
    { type: "text", text: `answer ${canary}` },
    { type: "tool", name: "f", arguments: `{"x":"${canary}"}` },
  ];
  await using l = await logged(script, "debug", { ALLOY_API_KEY: `key-${canary}` });
  const cases = Object.entries(BODIES).flatMap(([path, body]) =>
    // Which model was asked for is no secret.
    places(body).flatMap((place) => (place[0] === "model" || place.length === 0 ? [] : [{ path, body, place }])),
  );
  const values = fc.constantFrom(canary, [canary], { [canary]: canary, type: canary }, { role: canary, content: canary }, `{"${canary}`);
  let asked = 0;
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...cases), values, fc.boolean(), async ({ path, body, place }, value, authorized) => {
      const headers = {
        authorization: authorized ? `Bearer key-${canary}` : `Bearer wrong-${canary}`,
        "x-api-key": `other-${canary}`,
        "user-agent": canary,
      };
      await (await l.harness.post(`${path}?q=${canary}`, replaced(body, place, value) as object, headers)).text();
      asked++;
      if (l.lines.join("").includes(canary)) throw new Error(`${path} ${place.join(".")}: ${l.lines.find((x) => x.includes(canary))}`);
      l.lines.length = 0;
    }),
    { seed, numRuns: 500 },
  );
  expect(asked).toBeGreaterThanOrEqual(500);
}, 120_000);

describe("what users write cannot break a line", () => {
  const nasty = 'a\nb\r\n2026 ERROR fake\u2028\u001b[2J\u0085\u202e"}\u007f';

  test("in either form", () => {
    for (const format of ["json", "pretty"] as const) {
      const { lines, log } = logger(format);
      log.log("warn", nasty, { [nasty]: nasty });
      const error = new AlloyError("model_not_found", `model '${nasty}' not found`, { hint: nasty, param: nasty });
      log.access({
        id: "req_1",
        method: nasty,
        path: nasty.repeat(1000),
        route: "other",
        dialect: "ollama",
        status: 404,
        time: 0,
        ms: 1,
        error,
        generations: [],
      });
      expect(lines).toHaveLength(2);
      for (const line of lines) {
        expect(line.indexOf("\n")).toBe(line.length - 1);
        expect(line.slice(0, -1)).not.toMatch(CONTROL);
        expect(line.length).toBeLessThan(3000);
      }
      if (format === "json") expect((JSON.parse(lines[0]) as { msg: string }).msg).toBe(nasty);
    }
  });

  test("through a server", async () => {
    await using l = await logged();
    await l.harness.post("/api/chat", { model: nasty, messages });
    await rawRequest(l.harness.server.port, "GET /a\u001b[2Jb%0aINFO HTTP/1.1\r\nHost: localhost\r\n\r\n");
    for (const line of l.lines) expect(line.slice(0, -1)).not.toMatch(CONTROL);
    expect(l.entries()[0]).toMatchObject({ error: { code: "model_not_found" } });
  });
});

test("the form for people: one line, colours only where wanted", async () => {
  const { lines, log } = logger("pretty");
  await using h = await start([{ type: "text", text: "a b" }], { log });
  await (await h.post("/v1/chat/completions", { model: "demo", messages })).text();
  expect(lines[0]).toMatch(
    /^\d\d:\d\d:\d\d INFO {2}200 POST \/v1\/chat\/completions [\d.]+ m?s {2}demo \d+ -> 2 tokens, queued [\d.]+ m?s, first after [\d.]+ m?s {2}req_\w+\n$/,
  );
  await (await h.post("/v1/chat/completions", { model: "nope", messages })).text();
  expect(lines[1]).toMatch(/404 POST \/v1\/chat\/completions .* req_\w+ {2}model_not_found.*: model 'nope' not found/);
  const colored = logger("pretty", "info", true);
  colored.log.log("error", "x", { a: 1, b: "two words" });
  expect(colored.lines[0]).toContain('\x1b[31mERROR\x1b[0m x a=1 b="two words"');
});

test("levels: of lines, and from the environment", () => {
  const { lines, log } = logger("json", "warn");
  for (const level of ["debug", "info", "warn", "error"] as const) log.log(level, "x");
  expect(lines).toHaveLength(2);
  const level = (env: Record<string, string>) => levelFromEnv(env).level;
  expect([level({}), level({ ALLOY_LOG: "Warn" }), level({ OLLAMA_DEBUG: "1" }), level({ OLLAMA_DEBUG: "2" })]).toEqual([
    "info",
    "warn",
    "debug",
    "debug",
  ]);
  expect([level({ OLLAMA_DEBUG: "false" }), level({ OLLAMA_DEBUG: "0" }), level({ OLLAMA_DEBUG: "1", ALLOY_LOG: "error" })]).toEqual([
    "info",
    "info",
    "error",
  ]);
  expect(levelFromEnv({ ALLOY_LOG: "loud" })).toEqual({ level: "info", unknown: "loud" });
});

describe("a reader that stands still", () => {
  test("holds nothing up; what does not fit is dropped and counted", async () => {
    let open = Promise.withResolvers<void>();
    const gate = open;
    let text = "";
    const sink = new LogSink(async (bytes) => {
      await open.promise;
      // Takes a few bytes at a time, as a full pipe does.
      const some = bytes.subarray(0, 7);
      text += Buffer.from(some).toString();
      return some.length;
    }, 100);
    for (let i = 0; i < 50; i++) sink.write(`line ${i}\n`);
    await sink.flush(10);
    expect(text).toBe("");
    open = Promise.withResolvers<void>();
    open.resolve();
    gate.resolve();
    await sink.flush(60_000);
    const lines = text.trimEnd().split("\n");
    expect(lines[0]).toBe("line 0");
    const note = JSON.parse(lines.at(-1)!) as { lines: number };
    expect(lines.length - 1 + note.lines).toBe(50);
    expect(note.lines).toBeGreaterThan(10);
  });

  test("one that is gone ends nothing", async () => {
    const sink = new LogSink(() => Promise.reject(Object.assign(new Error("gone"), { code: "EPIPE" })));
    sink.write("x\n");
    await sink.flush(1000);
    sink.write("y\n");
    await sink.flush(1000);
  });
});
