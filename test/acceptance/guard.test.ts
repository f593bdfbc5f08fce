/** Rows 1, 2 and 8 to 13 of the acceptance matrix: Host, Origin, preflight, API key, WebSocket upgrade, and the routes that need none of them. */
import { describe, expect, test } from "bun:test";
import { failure, type Harness, rawRequest, start } from "../server/harness.ts";

const chat = { model: "demo", messages: [{ role: "user", content: "hi" }] };
const status = (text: string) => Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1]);

/** A POST whose body is announced but never sent: a refusal must not wait for it. */
function withHost(h: Harness, host: string, extra = ""): Promise<string> {
  return rawRequest(h.server.port, `POST /api/chat HTTP/1.1\r\nHost: ${host}\r\n${extra}Content-Length: 2\r\n\r\n{}`);
}

describe("Host", () => {
  test("names and addresses that only this machine or its network has", async () => {
    await using h = await start();
    const port = h.server.port;
    for (const host of [
      `127.0.0.1:${port}`,
      "localhost",
      `LOCALHOST:${port}`,
      "127.9.9.9",
      "[::1]:1",
      "10.1.2.3",
      "192.168.0.7",
      "x.local",
      "a.internal",
      "foo.localhost",
      "",
    ]) {
      expect([host, status(await withHost(h, host))]).toEqual([host, 400]);
    }
  });

  test("row 8: anything else is refused with an empty 403 before the engine hears of it", async () => {
    await using h = await start();
    for (const host of ["evil.example", "evil.example:11434", "8.8.8.8", "localhost.evil.example", "127.0.0.1.nip.io", "[2606:4700::1]"]) {
      const answer = await withHost(h, host);
      expect([host, status(answer)]).toEqual([host, 403]);
      expect(answer.split("\r\n\r\n")[1]).toBe("");
    }
    expect(h.engine.requests).toEqual([]);
  });

  test("row 9: a rebound page is refused, though it is same-origin by its own reckoning", async () => {
    await using h = await start();
    for (const origin of ["http://evil.example", `http://evil.example:${h.server.port}`]) {
      const answer = await withHost(h, origin.slice("http://".length), `Origin: ${origin}\r\n`);
      expect([origin, status(answer), answer.split("\r\n\r\n")[1]]).toEqual([origin, 403, ""]);
    }
    expect(h.engine.requests).toEqual([]);
  });

  test("ALLOY_ALLOWED_HOSTS adds names; bound to all addresses the check is off without it", async () => {
    await using listed = await start({}, { env: { ALLOY_ALLOWED_HOSTS: "box.example, other.example" } });
    expect(status(await withHost(listed, "box.example:11434"))).toBe(400);
    expect(status(await withHost(listed, "evil.example"))).toBe(403);
    await using open = await start({}, { host: "0.0.0.0" });
    expect(open.url).toBe(`http://127.0.0.1:${open.server.port}`);
    expect(status(await withHost(open, "anything.example"))).toBe(400);
  });
});

describe("Origin", () => {
  const ask = (h: Harness, origin: string, method = "POST", headers: Record<string, string> = {}) =>
    fetch(`${h.url}/v1/chat/completions`, {
      method,
      headers: { origin, "content-type": "text/plain", ...headers },
      body: method === "POST" ? JSON.stringify(chat) : undefined,
    });

  test("row 11: local pages, editors and listed origins pass and get their origin back", async () => {
    await using h = await start(
      {},
      { env: { OLLAMA_ORIGINS: "https://ui.example,moz-extension://*", ALLOY_ORIGINS: "https://*.corp.example" } },
    );
    for (const origin of [
      "http://localhost:5173",
      "https://localhost",
      "http://127.0.0.1:8080",
      "app://obsidian",
      "vscode-webview://y",
      "https://ui.example",
      "moz-extension://abc",
      "https://a.corp.example",
    ]) {
      const response = await ask(h, origin);
      expect([origin, response.status, response.headers.get("access-control-allow-origin"), response.headers.get("vary")]).toEqual([
        origin,
        200,
        origin,
        "Origin",
      ]);
      expect(response.headers.get("access-control-expose-headers")).toContain("request-id");
      expect(response.headers.has("access-control-allow-credentials")).toBe(false);
    }
    const same = await ask(h, h.url);
    expect([same.status, same.headers.get("access-control-allow-origin")]).toEqual([200, null]);
  });

  test("row 10: others are refused and nothing runs", async () => {
    await using h = await start();
    for (const origin of [
      "https://evil.example",
      "null",
      "http://localhost.evil.example",
      "http://localhostevil",
      "chrome-extension://abc",
    ]) {
      const response = await ask(h, origin);
      expect([origin, response.status, await response.text()]).toEqual([origin, 403, ""]);
    }
    expect(h.engine.requests).toEqual([]);
  });

  test("* allows all; a pattern that means nothing is refused at start", async () => {
    await using h = await start({}, { env: { OLLAMA_ORIGINS: "*" } });
    const response = await ask(h, "https://anywhere.example");
    expect([response.status, response.headers.get("access-control-allow-origin")]).toEqual([200, "*"]);
    for (const bad of ["ui.example", "https://*.*.example"]) {
      expect((await failure(start({}, { env: { OLLAMA_ORIGINS: bad } }))).message).toBe(`the origin pattern '${bad}' is not valid`);
    }
  });

  test("row 12: preflight lists what browsers need for all three SDKs", async () => {
    await using h = await start({}, { env: { ALLOY_API_KEY: "k" } });
    const response = await ask(h, "http://localhost:5173", "OPTIONS", { "access-control-request-headers": "x-api-key, anthropic-version" });
    expect(response.status).toBe(204);
    const allowed = response.headers.get("access-control-allow-headers")!.toLowerCase();
    for (const name of ["x-api-key", "anthropic-version", "authorization", "content-type", "x-stainless-os", "openai-beta"])
      expect(allowed).toContain(name);
    expect(response.headers.get("access-control-allow-methods")).toContain("POST");
    expect(response.headers.get("access-control-max-age")).toBe("43200");
    expect((await ask(h, "https://evil.example", "OPTIONS")).status).toBe(403);
  });
});

describe("API key", () => {
  test("off by default: any key passes", async () => {
    await using h = await start();
    expect((await h.post("/api/chat", { ...chat, stream: false }, { authorization: "Bearer whatever" })).status).toBe(200);
  });

  test("on: either header, any of the keys; open routes stay open; each dialect's 401", async () => {
    await using h = await start({}, { env: { ALLOY_API_KEY: "one, two" } });
    const accepted: Record<string, string>[] = [{ authorization: "Bearer one" }, { authorization: "bearer two" }, { "x-api-key": "two" }];
    for (const headers of accepted) {
      expect((await h.post("/v1/chat/completions", chat, headers)).status).toBe(200);
    }
    const refused: [string, unknown][] = [
      ["/v1/chat/completions", { error: { type: "invalid_request_error", code: "invalid_api_key" } }],
      ["/v1/messages", { type: "error", error: { type: "authentication_error" } }],
      ["/api/chat", { error: "unauthorized" }],
      ["/nowhere", { error: "unauthorized" }],
    ];
    for (const [path, body] of refused) {
      for (const headers of [{}, { "x-api-key": "three" }, { authorization: "Bearer " }]) {
        const response = await h.post(path, chat, headers as Record<string, string>);
        expect([response.status, response.headers.get("x-should-retry")]).toEqual([401, "false"]);
        expect(await response.json()).toMatchObject(body as object);
      }
    }
    for (const path of ["/", "/health", "/v1/health"]) expect((await fetch(h.url + path)).status).toBe(200);
    expect((await fetch(h.url, { method: "HEAD" })).status).toBe(200);
  });
});

test("row 1: GET and HEAD /", async () => {
  await using h = await start();
  const root = await fetch(h.url);
  expect([root.status, root.headers.get("content-type"), await root.text()]).toEqual([
    200,
    "text/plain; charset=utf-8",
    "Ollama is running",
  ]);
  const head = await fetch(h.url, { method: "HEAD" });
  expect([head.status, await head.text()]).toEqual([200, ""]);
});

test("row 2: the version is one that clients accept", async () => {
  await using h = await start();
  expect((await fetch(`${h.url}/api/version`, { method: "HEAD" })).status).toBe(200);
  const version = await fetch(`${h.url}/api/version`);
  expect(version.headers.get("server")).toMatch(/^alloy\/\d/);
  const body = await version.json();
  expect(body).toEqual({ version: expect.stringMatching(/^\d+\.\d+\.\d+$/), alloy_version: expect.stringMatching(/^\d+\.\d+\.\d+/) });
  expect(Bun.semver.order(body.version, "0.13.4")).toBeGreaterThanOrEqual(0);
});

test("row 13: a WebSocket upgrade gets 426 on any path", async () => {
  await using h = await start();
  for (const path of ["/v1/responses", "/", "/nope"]) {
    const answer = await rawRequest(
      h.server.port,
      `GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n`,
    );
    expect(answer).toStartWith("HTTP/1.1 426 Upgrade Required");
    expect(answer.toLowerCase()).toContain("connection: close");
  }
});

test("Expect: 100-continue is answered", async () => {
  await using h = await start();
  const body = JSON.stringify({ ...chat, stream: false });
  const answer = await rawRequest(
    h.server.port,
    `POST /api/chat HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  );
  expect(answer).toStartWith("HTTP/1.1 100 Continue");
  expect(answer).toContain("echo: hi");
});
