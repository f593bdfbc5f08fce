/** The small pure parts: durations, JSON positions, listen addresses, tool arguments, names, port holders. */
import { describe, expect, test } from "bun:test";
import { createServer } from "../../src/server/app.ts";
import { jsonErrorMessage } from "../../src/server/json-error.ts";
import { keepAliveFromEnv, parseGoDuration } from "../../src/server/keep-alive.ts";
import { clientUrl, listenAddress, parseHost } from "../../src/server/listen.ts";
import { listeningInodes, parseLsof } from "../../src/server/port-holder.ts";
import { findRoute, ROUTES, tidyPath } from "../../src/server/routes.ts";
import { argumentsObject, argumentsText } from "../../src/server/tool-json.ts";
import { AlloyError } from "../../src/support/errors.ts";
import { failure, start } from "./harness.ts";
import { ScriptedEngine, scriptedModel } from "./scripted-engine.ts";

test("Go durations", () => {
  const cases: [string, number | undefined][] = [
    ["300ms", 300],
    ["1h30m", 5_400_000],
    ["1.5s", 1500],
    ["-1m", -60_000],
    ["0", 0],
    ["10", undefined],
    ["", undefined],
    ["5 m", undefined],
    ["m", undefined],
  ];
  for (const [text, ms] of cases) expect([text, parseGoDuration(text)]).toEqual([text, ms]);
  expect([undefined, "", "30", "-1", "10m", "soon"].map(keepAliveFromEnv)).toEqual([300_000, 300_000, 30_000, Infinity, 600_000, 300_000]);
});

test("JSON error positions, also in hostile depth", () => {
  const cases: [string, string][] = [
    ["{", "unexpected end of JSON input at position 1 (line 1, column 2)"],
    ['{"a":1,\n  "b":,}', 'unexpected "," in JSON at position 14 (line 2, column 7)'],
    ["[1 2]", 'unexpected "2" in JSON at position 3 (line 1, column 4)'],
    ["{'a':1}", 'unexpected "\'" in JSON at position 1 (line 1, column 2)'],
    ["nope", 'unexpected "n" in JSON at position 0 (line 1, column 1)'],
    ["{} {}", 'unexpected "{" in JSON at position 3 (line 1, column 4)'],
    ["[1,]", 'unexpected "]" in JSON at position 3 (line 1, column 4)'],
    ['{"a" 1}', 'unexpected "1" in JSON at position 5 (line 1, column 6)'],
    ['"a\nb"', 'unexpected "\\"" in JSON at position 0 (line 1, column 1)'],
  ];
  for (const [text, message] of cases) {
    expect(() => JSON.parse(text)).toThrow();
    expect([text, jsonErrorMessage(text)]).toEqual([text, message]);
  }
  expect(jsonErrorMessage("[".repeat(500_000))).toContain("position 500000");
});

test("listen addresses", () => {
  const cases: [string | undefined, string, number][] = [
    [undefined, "127.0.0.1", 11434],
    ["", "127.0.0.1", 11434],
    ["0.0.0.0", "0.0.0.0", 11434],
    ["0.0.0.0:8080", "0.0.0.0", 8080],
    [":8080", "127.0.0.1", 8080],
    ["http://box", "box", 80],
    ["https://box/path", "box", 443],
    ["http://box:1234/path", "box", 1234],
    ["[::1]:99", "::1", 99],
    ["[::1]", "::1", 11434],
    ["::1", "::1", 11434],
    [' "localhost:1" ', "localhost", 1],
    ["host:99999", "host", 11434],
    ["host:abc", "host", 11434],
  ];
  for (const [text, host, port] of cases) {
    const { warning, ...address } = parseHost(text);
    expect([text, address]).toEqual([text, { host, port }]);
    expect(warning !== undefined).toBe(/99999|abc/.test(text ?? ""));
  }
  expect(listenAddress({ OLLAMA_HOST: "a:1", ALLOY_HOST: "b:2" })).toEqual({ host: "b", port: 2 });
  expect([clientUrl({ host: "0.0.0.0", port: 1 }), clientUrl({ host: "::", port: 1 })]).toEqual(["http://127.0.0.1:1", "http://[::1]:1"]);
});

test("tool arguments as objects and back", () => {
  const cases: [string, object][] = [
    ["", {}],
    ['{"a":1}', { a: 1 }],
    ['{"a":[1,{"b":"x', { a: [1, { b: "x" }] }],
    ['{"a":1,', { a: 1 }],
    ['{"a":"}{', { a: "}{" }],
    ["[1]", { __raw: "[1]" }],
    ["a=1", { __raw: "a=1" }],
  ];
  for (const [text, value] of cases) expect([text, argumentsObject(text)]).toEqual([text, value as Record<string, unknown>]);
  expect([undefined, "", "{bad", { b: 1, a: 2 }, { __raw: "a=1" }].map(argumentsText)).toEqual([
    "{}",
    "{}",
    "{bad",
    '{"b":1,"a":2}',
    "a=1",
  ]);
});

test("paths are tidied and routes are unambiguous", () => {
  expect(["//v1//models/", "/v1/v1/messages", "/messages", "/models/a:b", "/", "//", "/api/chat/"].map(tidyPath)).toEqual([
    "/v1/models",
    "/v1/messages",
    "/v1/messages",
    "/v1/models/a:b",
    "/",
    "/",
    "/api/chat",
  ]);
  expect(findRoute("GET", "/v1/models/hf.co%2Forg%2Frepo%3AQ4")).toMatchObject({ rest: "hf.co/org/repo:Q4" });
  const keys = ROUTES.map((r) => `${r.method} ${r.path}`);
  expect(new Set(keys).size).toBe(keys.length);
});

describe("vendor names", () => {
  const chat = { messages: [{ role: "user", content: "hi" }] };
  const models = [scriptedModel("big"), scriptedModel("small"), scriptedModel("embed", { capabilities: ["embedding"] })];

  test("tier, then default, then the only one loaded, else 404", async () => {
    const target = async (env: Record<string, string>, name: string, load?: string) => {
      await using h = await start({ models }, { env });
      if (load) await h.engine.load(load);
      const response = await h.post("/v1/chat/completions", { model: name, ...chat });
      return response.status === 200 ? response.headers.get("x-alloy-model") : response.status;
    };
    const env = { ALLOY_CLAUDE_HAIKU: "small", ALLOY_DEFAULT_MODEL: "big" };
    expect(await target(env, "claude-haiku-4-5-20251001")).toBe("small");
    expect(await target(env, "claude-opus-5-5")).toBe("big");
    expect(await target(env, "gpt-4o")).toBe("big");
    expect(await target({}, "gpt-4o")).toBe(404);
    expect(await target({}, "gpt-4o", "small")).toBe("small");
    expect(await target(env, "mistral")).toBe(404);
    expect(await target(env, "text-embedding-3-small")).toBe(400);
    expect(await target(env, "whisper-1")).toBe(404);
  });

  test("aliases", async () => {
    await using h = await start({ models }, { aliases: { "claude-sonnet-5-5": "small" } });
    const response = await h.post("/api/chat", { model: "claude-sonnet-5-5", ...chat, stream: false });
    expect([response.status, response.headers.get("x-alloy-model")]).toEqual([200, "small"]);
  });
});

describe("port in use", () => {
  const options = (port: number) => ({ engine: new ScriptedEngine(), host: "127.0.0.1", port, env: {} });

  test.skipIf(process.platform !== "linux")("names the process and another Alloy", async () => {
    await using h = await start();
    const error = (await failure(createServer(options(h.server.port)))) as AlloyError;
    expect(error.code).toBe("port_in_use");
    expect(error.message).toStartWith(`port ${h.server.port} on 127.0.0.1 is already in use by process ${process.pid} (`);
    expect(error.message).toMatch(/another Alloy server \(version \d/);
    expect(error.hint).toContain("--port");
  });

  test("knows Ollama by its version, and is silent about strangers", async () => {
    const ollama = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => Response.json({ version: "0.12.0" }) });
    expect((await failure(createServer(options(ollama.port!)))).message).toContain("an Ollama server (version 0.12.0)");
    await ollama.stop(true);
    const stranger = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("hello") });
    const { message } = await failure(createServer(options(stranger.port!)));
    expect(message).toContain("already in use");
    expect(message).not.toContain("server");
    await stranger.stop(true);
  });

  test("an address that is not ours is a bad argument", async () => {
    const error = (await failure(createServer({ ...options(0), host: "192.0.2.1" }))) as AlloyError;
    expect(error.code).toBe("bad_argument");
    expect(error.message).toContain("cannot listen on 192.0.2.1:0");
  });

  test("parsing of /proc/net/tcp and lsof", () => {
    const table = [
      "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
      "   0: 0100007F:2CAA 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0 100 0 0 10 0",
      "   1: 0100007F:2CAA 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 777 1 0 100 0 0 10 0",
      "   2: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 888 1 0 100 0 0 10 0",
    ].join("\n");
    expect(listeningInodes(table, 11434)).toEqual(["12345"]);
    expect(parseLsof("p4242\ncollama\nf3\n")).toEqual({ pid: 4242, name: "ollama" });
    expect(parseLsof("")).toBeUndefined();
  });
});
