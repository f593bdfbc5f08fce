/** The terms of a request, in every dialect: time, priority, and who asks. */
import { describe, expect, test } from "bun:test";
import { AlloyError } from "../../src/support/errors.ts";
import { bodyTerms, headerTerms } from "../../src/server/terms.ts";
import { start, until } from "./harness.ts";

const messages = [{ role: "user", content: "hi" }];
const ROUTES: [string, object][] = [
  ["/v1/chat/completions", { model: "demo", messages }],
  ["/v1/completions", { model: "demo", prompt: "hi" }],
  ["/v1/responses", { model: "demo", input: "hi" }],
  ["/v1/messages", { model: "demo", max_tokens: 1000, messages }],
  ["/api/chat", { model: "demo", messages }],
  ["/api/generate", { model: "demo", prompt: "hi" }],
];
const long = { delayMs: 5, script: () => [{ type: "text" as const, text: "w ".repeat(5000) }] };

describe("what may be written", () => {
  test.each([
    [{ timeout: 30 }, { timeoutMs: 30_000 }],
    [{ timeout: 0.5 }, { timeoutMs: 500 }],
    [{ timeout: "1m30s" }, { timeoutMs: 90_000 }],
    [{ timeout: null, priority: null, user: null, metadata: null }, {}],
    // vLLM's sense: less is earlier. The engine's is the other way round.
    [{ priority: -3 }, { priority: 3 }],
    [{ priority: 1_000_000 }, { priority: -20 }],
    [{ priority: "high" }, { priority: 10 }],
    [{ priority: 0 }, { priority: 0 }],
    [{ user: "me" }, { user: "me" }],
    [{ metadata: { user_id: "me" } }, { user: "me" }],
    [[1, 2], {}],
    ["text", {}],
  ])("body %j", (body, terms) => {
    expect(JSON.parse(JSON.stringify(bodyTerms(body)))).toEqual(terms);
  });

  test.each([
    [{ timeout: 0 }, "timeout"],
    [{ timeout: -1 }, "timeout"],
    [{ timeout: "soon" }, "timeout"],
    [{ timeout: true }, "timeout"],
    [{ priority: 0.5 }, "priority"],
    [{ priority: "urgent" }, "priority"],
    [{ priority: {} }, "priority"],
  ])("body %j is refused, with the field", (body, param) => {
    expect(() => bodyTerms(body)).toThrow(expect.objectContaining({ param }));
  });

  test("headers", () => {
    const terms = (timeout: string, priority: string) =>
      headerTerms(new Headers({ "x-alloy-timeout": timeout, "x-alloy-priority": priority }));
    expect(terms("30", "-2")).toEqual({ timeoutMs: 30_000, priority: 2 });
    expect(terms("1.5s", "low")).toEqual({ timeoutMs: 1500, priority: -10 });
    expect(() => terms("soon", "0")).toThrow("x-alloy-timeout");
    expect(() => terms("1", "now")).toThrow("x-alloy-priority");
  });
});

describe("time", () => {
  test.each(ROUTES)("%s: before the first byte it is 504", async (path, body) => {
    await using h = await start({ ...long, slots: 1 });
    const plain = await h.post(path, { ...body, stream: false, timeout: 0.15 });
    expect(plain.status).toBe(504);
    expect(plain.headers.get("x-should-retry")).toBe("false");
    const text = await plain.text();
    expect(text).toContain("the request was not done within 0.15 s");
    if (path === "/v1/messages") expect(JSON.parse(text)).toMatchObject({ type: "error", error: { type: "timeout_error" } });
    else if (path.startsWith("/v1/")) expect(JSON.parse(text)).toMatchObject({ error: { type: "server_error", code: "timeout" } });
    else expect(JSON.parse(text)).toEqual({ error: expect.stringContaining("was not done within 0.15 s") });
    await until(() => h.engine.running === 0, "its place is free");
  });

  test("in a stream it is the dialect's error frame", async () => {
    // All at once, with time enough for their headers on a machine that is busy.
    await using h = await start(long);
    const ended = ROUTES.map(async ([path, body]) => {
      const streamed = await h.post(path, { ...body, stream: true }, { "x-alloy-timeout": "3" });
      expect([path, streamed.status]).toEqual([path, 200]);
      const frames = await streamed.text();
      expect(frames).toContain("the request was not done within 3 s");
      if (path === "/v1/messages")
        expect(frames).toMatch(/event: error\ndata: \{"type":"error","error":\{"type":"timeout_error"[^\n]*\n\n$/);
    });
    await Promise.all(ended);
    await until(() => h.engine.running === 0, "their places are free");
  }, 120_000);

  test("waiting counts: one that never runs is over in time, and leaves the queue", async () => {
    await using h = await start({ ...long, slots: 1 });
    const stop = new AbortController();
    const first = h.post("/api/chat", { model: "demo", messages }, {}, stop.signal);
    await until(() => h.engine.running === 1, "one runs");
    const second = await h.post("/v1/chat/completions", { model: "demo", messages, timeout: "100ms" });
    expect(second.status).toBe(504);
    expect(h.engine.queued).toBe(0);
    stop.abort();
    await first.catch(() => {});
  });

  test("the server's own limit holds where the request says nothing, and a longer one that it says counts", async () => {
    await using h = await start({ delayMs: 5, script: () => [{ type: "text", text: "w ".repeat(60) }] }, { timeoutMs: 100 });
    expect((await h.post("/v1/chat/completions", { model: "demo", messages })).status).toBe(504);
    expect((await h.post("/v1/chat/completions", { model: "demo", messages, timeout: 60 })).status).toBe(200);
    // Others than generations have no limit.
    expect((await h.post("/api/show", { model: "demo" })).status).toBe(200);
  });

  test.each(ROUTES)("%s: a time that makes no sense is the dialect's 400", async (path, body) => {
    await using h = await start();
    for (const refused of [await h.post(path, { ...body, timeout: "soon" }), await h.post(path, body, { "x-alloy-timeout": "-1" })]) {
      expect(refused.status).toBe(400);
      expect(await refused.text()).toContain("timeout");
    }
    expect(h.engine.requests).toEqual([]);
  });
});

describe("who asks", () => {
  test.each(ROUTES)("%s: programs, and users that they name, take turns; priority goes along", async (path, body) => {
    await using h = await start();
    const plain = { ...body, stream: false };
    const send = (extra: object, headers: Record<string, string> = {}) => h.post(path, { ...plain, ...extra }, headers);
    await send({}, { "user-agent": "one/1" });
    await send({}, { "user-agent": "one/1" });
    await send({}, { "user-agent": "two/1" });
    await send({ user: "ann" }, { "user-agent": "one/1" });
    await send({ metadata: { user_id: "bob" } }, { "user-agent": "one/1" });
    await send({ priority: -5 }, { "user-agent": "one/1" });
    await send({ priority: 5 }, { "user-agent": "one/1", "x-alloy-priority": "high" });
    const [a, b, c, d, e, f, g] = h.engine.requests;
    expect(a.client).toBe(b.client);
    expect(new Set([a, c, d, e].map((r) => r.client)).size).toBe(4);
    expect([a.priority, f.priority, g.priority]).toEqual([undefined, 5, 10]);
    expect(JSON.stringify(h.engine.requests.map((r) => r.client))).not.toMatch(/ann|bob|one\/1|127\.0/);
  });

  test("with keys, a key is a client, whatever program uses it; without, keys say nothing", async () => {
    const ask = async (env: Record<string, string>) => {
      await using h = await start({}, { env });
      for (const [key, agent] of [
        ["k1", "one"],
        ["k1", "two"],
        ["k2", "one"],
      ])
        await h.post("/api/chat", { model: "demo", messages, stream: false }, { authorization: `Bearer ${key}`, "user-agent": agent });
      return h.engine.requests.map((r) => r.client);
    };
    const [a, b, c] = await ask({ ALLOY_API_KEY: "k1,k2" });
    expect([a === b, a === c]).toEqual([true, false]);
    const [d, e, f] = await ask({});
    expect([d === e, d === f]).toEqual([false, true]);
  });
});

test("a full queue says in whole seconds when to come again", async () => {
  const full = new AlloyError("queue_full", "9 requests are waiting already", { data: { retryAfter: 7 } });
  await using h = await start([{ type: "error", error: full }]);
  h.engine.generate = () => {
    throw full;
  };
  for (const [path, body] of ROUTES) {
    const refused = await h.post(path, body);
    expect([path, refused.status, refused.headers.get("retry-after")]).toEqual([path, path === "/v1/messages" ? 529 : 503, "7"]);
  }
});
