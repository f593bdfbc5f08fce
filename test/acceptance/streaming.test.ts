/** Rows 15, 16, 33 and 99 of the acceptance matrix: bytes on the wire, heartbeats, cancellation, back-pressure, many clients, and shutdown. */
import { describe, expect, test } from "bun:test";
import type { AccessEntry } from "../../src/server/access.ts";
import { AlloyError } from "../../src/support/errors.ts";
import { type Harness, rawRequest, sseFrames, start, until } from "../server/harness.ts";

const messages = [{ role: "user", content: "hi" }];
const ROUTES = [
  ["/v1/chat/completions", { model: "demo", messages, stream: true }],
  ["/v1/completions", { model: "demo", prompt: "hi", stream: true }],
  ["/v1/responses", { model: "demo", input: "hi", stream: true }],
  ["/v1/messages", { model: "demo", messages, max_tokens: 100_000, stream: true }],
  ["/api/chat", { model: "demo", messages, stream: true }],
  ["/api/generate", { model: "demo", prompt: "hi", stream: true }],
] as const;
const long = { delayMs: 2, script: () => [{ type: "text" as const, text: "word ".repeat(5000) }] };

describe("framing", () => {
  test("row 33: chat chunks: constant head, role first, one finish, usage, DONE", async () => {
    await using h = await start([
      { type: "reasoning", text: "r" },
      { type: "text", text: "a\nb \u2028 😀" },
      { type: "tool", id: "call_1", name: "f", arguments: '{"x":1}' },
    ]);
    const response = await h.post("/v1/chat/completions", {
      model: "demo",
      messages,
      stream: true,
      stream_options: { include_usage: true },
      tools: [{ type: "function", function: { name: "f" } }],
    });
    expect(response.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
    expect(response.headers.get("cache-control")).toBe("no-cache");
    expect(response.headers.get("x-accel-buffering")).toBe("no");
    const frames = sseFrames(await response.text());
    expect(frames.every((f) => f.event === undefined)).toBe(true);
    expect(frames.at(-1)!.data).toBe("[DONE]");
    const chunks = frames.slice(0, -1).map((f) => JSON.parse(f.data!));
    for (const c of chunks) {
      expect([c.id, c.object, c.created, c.model]).toEqual([chunks[0].id, "chat.completion.chunk", chunks[0].created, "demo"]);
      expect(c).toHaveProperty("usage");
    }
    const deltas = chunks.flatMap((c) => c.choices.map((x: { delta: object }) => x.delta));
    expect(deltas).toEqual([
      { role: "assistant", content: "" },
      { reasoning_content: "r", reasoning: "r" },
      { content: "a" },
      { content: "\nb" },
      { content: " \u2028 😀" },
      { tool_calls: [{ index: 0, id: "call_1", type: "function", function: { name: "f", arguments: "" } }] },
      { tool_calls: [{ index: 0, function: { arguments: '{"x":' } }] },
      { tool_calls: [{ index: 0, function: { arguments: "1}" } }] },
      {},
    ]);
    const reasons = chunks.flatMap((c) => c.choices.map((x: { finish_reason: string | null }) => x.finish_reason));
    expect(reasons.filter((r) => r !== null)).toEqual(["tool_calls"]);
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { completion_tokens: 7 } });
    expect(chunks.slice(0, -1).every((c) => c.usage === null)).toBe(true);
  });

  test("row 33: without include_usage there is no usage key at all", async () => {
    await using h = await start();
    const text = await (await h.post("/v1/chat/completions", { model: "demo", messages, stream: true })).text();
    expect(text).not.toContain('"usage"');
  });

  test("NDJSON: one object per line, no blank lines, done last", async () => {
    await using h = await start();
    for (const path of ["/api/chat", "/api/generate"]) {
      // Streaming is the default here.
      const response = await h.post(path, { model: "demo", messages, prompt: "hi" });
      expect(response.headers.get("content-type")).toBe("application/x-ndjson");
      const text = await response.text();
      expect(text).toEndWith("}\n");
      const lines = text
        .slice(0, -1)
        .split("\n")
        .map((l) => JSON.parse(l));
      expect(lines.map((l) => l.done)).toEqual([...Array(lines.length - 1).fill(false), true]);
      for (const l of lines) expect(Date.parse(l.created_at)).toBeGreaterThan(0);
    }
  });

  test("frames are sent one by one, as they come", async () => {
    await using h = await start({ delayMs: 40, script: () => [{ type: "text", text: "a b c d e" }] });
    for (const [path, body] of ROUTES) {
      // How far the engine was when something arrived: at every token, not at the end alone.
      const before = h.engine.emitted;
      const seen = new Set<number>();
      const response = await h.post(path, body);
      for await (const _ of response.body!) seen.add(h.engine.emitted - before);
      expect([path, seen.size >= 4]).toEqual([path, true]);
    }
  });
});

describe("silence", () => {
  test("row 15: headers come before prefill, heartbeats in each dialect's form during it", async () => {
    const beats: Record<string, (line: string) => boolean> = {
      "/v1/chat/completions": (l) => l === ": ping",
      "/v1/completions": (l) => l === ": ping",
      "/v1/responses": (l) => l === ": ping",
      "/v1/messages": (l) => l === 'data: {"type":"ping"}',
      "/api/chat": (l) => l.includes('"content":""') && l.includes('"done":false'),
      "/api/generate": (l) => l.includes('"response":""') && l.includes('"done":false'),
    };
    await Promise.all(
      ROUTES.map(async ([path, body]) => {
        const { promise: hold, resolve: speak } = Promise.withResolvers<void>();
        await using h = await start({ hold, script: () => [{ type: "text", text: "late" }] }, { heartbeatMs: 50 });
        const response = await h.post(path, body);
        // The engine does not write anything before three heartbeats are here.
        let text = "";
        for await (const piece of response.body!.pipeThrough(new TextDecoderStream())) {
          text += piece;
          if (text.split("\n").filter(beats[path]).length >= 3) speak();
        }
        expect([path, text.includes("late")]).toEqual([path, true]);
      }),
    );
  });

  test("row 15: a silent response outlives the runtime's idle timer", async () => {
    await using h = await start({ prefillMs: 13_000, script: () => [{ type: "text", text: "late" }] }, { heartbeatMs: 60_000 });
    const body = { model: "demo", messages, stream: true };
    expect(await (await h.post("/v1/chat/completions", body)).text()).toContain("late");
  }, 120_000);
});

describe("cancellation", () => {
  test.each(ROUTES)("row 16: %s, client gone in mid-stream, in prefill, and without streaming", async (path, body) => {
    for (const [options, sent] of [
      [long, body],
      [{ ...long, prefillMs: 60_000 }, body],
      [long, { ...body, stream: false }],
    ] as const) {
      await using h = await start(options);
      const abort = new AbortController();
      const reading = h
        .post(path, sent, {}, abort.signal)
        .then((r) => r.text())
        .catch((e: Error) => e.name);
      await until(() => h.engine.running === 1, "the request runs");
      await Bun.sleep(20);
      abort.abort();
      expect(await reading).toBe("AbortError");
      await until(() => h.engine.cancelled.length === 1 && h.engine.running === 0, "the engine saw the cancel");
    }
  });

  test("row 16: sockets cut without goodbye, 100 times, leave nothing running and are counted", async () => {
    for (const options of [long, { ...long, prefillMs: 60_000 }]) {
      await using h = await start(options);
      const body = JSON.stringify({ model: "demo", messages, stream: true });
      const request = `POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
      await Promise.all(
        Array.from({ length: 50 }, async () => {
          const begun = Promise.withResolvers<void>();
          const socket = { data: () => begun.resolve(), close: () => begun.reject(new Error("closed before it began")) };
          const client = await Bun.connect({ hostname: "127.0.0.1", port: h.server.port, socket });
          client.write(request);
          // The headers and the first frame: the stream is under way.
          await begun.promise;
          client.terminate();
        }),
      );
      await until(() => h.engine.running === 0 && h.engine.requests.length === 50, "all slots are free");
      expect(h.engine.cancelled).toHaveLength(50);
      const metrics = await (await fetch(`${h.url}/metrics`)).text();
      expect(metrics).toContain('alloy_client_disconnects_total{route="/v1/chat/completions"} 50\n');
      expect(metrics).toMatch(/^vllm:request_success_total\{.*finished_reason="abort".*\} 50$/m);
    }
  });

  test("a queued request leaves the queue", async () => {
    await using h = await start({ ...long, slots: 1 });
    const first = new AbortController();
    const second = new AbortController();
    const one = h
      .post("/api/chat", { model: "demo", messages }, {}, first.signal)
      .then((r) => r.text())
      .catch(() => "");
    await until(() => h.engine.running === 1, "the first runs");
    const two = h.post("/api/chat", { model: "demo", messages }, {}, second.signal).catch(() => "");
    await until(() => h.engine.queued === 1, "the second waits");
    second.abort();
    await until(() => h.engine.queued === 0, "the second left");
    first.abort();
    await Promise.all([one, two]);
  });
});

test("a slow reader slows its own stream instead of filling memory", async () => {
  const text = `${"x".repeat(20_000)} `.repeat(4000); // 80 MB
  await using h = await start({ script: () => [{ type: "text", text }] });
  const body = JSON.stringify({ model: "demo", prompt: "hi", stream: true });
  let received = 0;
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port: h.server.port,
    socket: {
      data(s, data) {
        received += data.length;
        s.pause();
      },
    },
  });
  socket.write(`POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
  await until(() => received > 0, "the first bytes");
  // Socket buffers take a few MB; after that the engine must wait for the reader.
  let settled = -1;
  for (let tries = 0; settled !== h.engine.emitted && tries < 100; tries++) {
    settled = h.engine.emitted;
    await Bun.sleep(300);
  }
  expect(h.engine.emitted).toBe(settled);
  expect(settled).toBeLessThan(1500);
  socket.terminate();
  await until(() => h.engine.running === 0, "the stream is cancelled");
});

test("row 99: 64 clients at once, mixed dialects, each gets its own answer whole", async () => {
  await using h = await start({ slots: 16, delayMs: 1 });
  const answers = await Promise.all(
    Array.from({ length: 64 }, async (_, i) => {
      const content = `client ${i} ${`w${i} `.repeat(40)}end`;
      const [path, base] = ROUTES[i % ROUTES.length];
      const said =
        "prompt" in base ? { prompt: content } : "input" in base ? { input: content } : { messages: [{ role: "user", content }] };
      const body = { ...base, ...said };
      const response = await h.post(path, body);
      return [text(path, await response.text()), `echo: ${content}`];
    }),
  );
  for (const [got, wanted] of answers) expect(got).toBe(wanted);
  expect(h.engine.finished).toHaveLength(64);
});

/** The answer's text out of a streamed body. */
function text(path: string, body: string): string {
  if (path.startsWith("/api/")) {
    const lines = body
      .trim()
      .split("\n")
      .map((l) => JSON.parse(l) as { response?: string; message?: { content: string } });
    return lines.map((l) => l.response ?? l.message?.content ?? "").join("");
  }
  return sseFrames(body)
    .filter((f) => f.data !== undefined && f.data !== "[DONE]")
    .map((f) => JSON.parse(f.data!))
    .map((c) => {
      if (path === "/v1/messages") return c.delta?.text ?? "";
      if (path === "/v1/responses") return c.type === "response.output_text.delta" ? c.delta : "";
      return c.choices[0]?.delta?.content ?? c.choices[0]?.text ?? "";
    })
    .join("");
}

describe("stop", () => {
  const endings: Record<string, (text: string) => boolean> = {
    "/v1/chat/completions": (t) => t.includes('"message":"the server is shutting down.') && t.endsWith("data: [DONE]\n\n"),
    "/v1/completions": (t) => t.includes('"message":"the server is shutting down.') && t.endsWith("data: [DONE]\n\n"),
    "/v1/responses": (t) => /event: response.failed\ndata: [^\n]*the server is shutting down[^\n]*\n\n$/.test(t),
    "/v1/messages": (t) => /event: error\ndata: \{"type":"error","error":\{"type":"overloaded_error"[^\n]*\n\n$/.test(t),
    "/api/chat": (t) => /(?:^|\n)\{"error":"the server is shutting down[^\n]*\}\n$/.test(t),
    "/api/generate": (t) => /(?:^|\n)\{"error":"the server is shutting down[^\n]*\}\n$/.test(t),
  };

  test("running streams finish within the grace period", async () => {
    const h = await start({ delayMs: 5, script: () => [{ type: "text", text: "w ".repeat(30) }] });
    const running = ROUTES.map(async ([path, body]) => (await h.post(path, body)).text());
    await until(() => h.engine.running === ROUTES.length, "all run");
    await h.server.stop(60_000);
    for (const body of await Promise.all(running)) expect(body).not.toContain("shutting down");
    expect(h.engine.finished).toHaveLength(ROUTES.length);
    expect(await fetch(h.url).catch((e: { code: string }) => e.code)).toBe("ECONNREFUSED");
  });

  test("what runs on longer is ended with its dialect's error frame", async () => {
    const h = await start(long);
    const running = ROUTES.map(async ([path, body]) => [path, await (await h.post(path, body)).text()]);
    const plain = h.post("/v1/chat/completions", { model: "demo", messages });
    await until(() => h.engine.running === ROUTES.length + 1, "all run");
    await h.server.stop(50);
    for (const [path, body] of await Promise.all(running))
      expect([path, endings[path](body), body.slice(-200)]).toEqual([path, true, expect.any(String)]);
    const refused = await plain;
    expect([refused.status, await refused.json()]).toMatchObject([503, { error: { code: "shutting_down" } }]);
    await until(() => h.engine.running === 0, "the engine is free");
  });

  test("while requests finish, new ones are refused in their dialect, and /readyz is 503", async () => {
    const h = await start({ delayMs: 5, script: () => [{ type: "text", text: "w ".repeat(60) }] });
    const running = h.post("/api/chat", { model: "demo", messages }).then((r) => r.text());
    await until(() => h.engine.running === 1, "it runs");
    expect((await fetch(`${h.url}/readyz`)).status).toBe(200);
    const stopping = h.server.stop(60_000);
    const ready = await fetch(`${h.url}/readyz`);
    expect([ready.status, await ready.json()]).toMatchObject([503, { error: { message: "Shutting down" } }]);
    expect((await fetch(`${h.url}/health`)).status).toBe(200);
    for (const [path, body] of ROUTES) {
      const refused = await h.post(path, body);
      expect([path, refused.status, refused.headers.get("retry-after")]).toEqual([path, 503, "1"]);
      expect(await refused.text()).toContain("the server is shutting down");
    }
    expect(h.engine.running).toBe(1);
    expect(await running).toEndWith("}\n");
    await stopping;
  });
});

test("errors after the first frame end the stream in the dialect's way", async () => {
  await using h = await start([
    { type: "text", text: "so far" },
    { type: "error", error: new AlloyError("out_of_memory", "no memory left") },
  ]);
  const last = async (h: Harness, path: string, body: object) => {
    const response = await h.post(path, body);
    expect(response.status).toBe(200);
    return (await response.text()).trimEnd().split("\n\n").slice(-2).join("\n\n").split("\n").slice(-3).join("\n");
  };
  const openai = 'data: {"error":{"message":"no memory left","type":"server_error","param":null,"code":"out_of_memory"}}\n\ndata: [DONE]';
  expect(await last(h, ...ROUTES[0])).toBe(openai);
  expect(await last(h, ...ROUTES[1])).toBe(openai);
  expect(await last(h, ...ROUTES[2])).toContain('"error":{"code":"server_error","message":"no memory left"}');
  expect(await last(h, ...ROUTES[3])).toContain(
    'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"no memory left"},"request_id":"req_',
  );
  expect(await last(h, ...ROUTES[4])).toEndWith('\n{"error":"no memory left"}');
  expect(await last(h, ...ROUTES[5])).toEndWith('\n{"error":"no memory left"}');
});

test("a short host name in the request does not confuse routing", async () => {
  await using h = await start({}, { env: { ALLOY_ALLOWED_HOSTS: "x" } });
  expect(await rawRequest(h.server.port, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n")).toContain('{"status":"ok"}');
  expect(await rawRequest(h.server.port, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")).toContain("Ollama is running");
});

test("the log has one entry per request, also for those whose client left", async () => {
  const entries: AccessEntry[] = [];
  await using h = await start(long, { log: { log() {}, access: (e) => entries.push(e) } });
  await fetch(`${h.url}/api/tags`);
  await h.post("/v1/messages", {});
  const abort = new AbortController();
  const running = h.post("/v1/chat/completions", { model: "demo", messages, stream: true }, {}, abort.signal).then((r) => r.text());
  await until(() => h.engine.running === 1, "the stream runs");
  await Bun.sleep(20);
  abort.abort();
  await running.catch(() => {});
  await until(() => entries.length === 3, "three entries");
  expect(entries).toMatchObject([
    { method: "GET", path: "/api/tags", status: 200 },
    { method: "POST", path: "/v1/messages", status: 400, error: { code: "missing_parameter" } },
    { method: "POST", path: "/v1/chat/completions", status: 499 },
  ]);
});
