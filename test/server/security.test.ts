/** Hostile requests, over a socket: what docs/security.md lists. */
import { describe, expect, test } from "bun:test";
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import zlib from "node:zlib";
import { isLoopback } from "../../src/server/guard.ts";
import { StandIn } from "../hub/stand-in.ts";
import { rawRequest, start } from "./harness.ts";

const messages = [{ role: "user", content: "hi" }];
const show = '{"model":"demo"}';
const post = (headers: string, body: string) => `POST /api/show HTTP/1.1\r\nHost: localhost\r\n${headers}\r\n\r\n${body}`;
const get = (headers: string) => `GET /health HTTP/1.1\r\n${headers}\r\n\r\n`;
const status = (text: string) => Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1]);

describe("HTTP", () => {
  const many = (n: number) => Array.from({ length: n }, (_, i) => `X-${i}: 1`).join("\r\n");
  const cases: [name: string, text: string, expected: number | number[]][] = [
    ["a good request", post("Content-Length: 16", show), 200],
    ["a good request in chunks", post("Transfer-Encoding: chunked", `10\r\n${show}\r\n0\r\n\r\n`), 200],
    ["a header of 20 KB", get(`Host: localhost\r\nX: ${"a".repeat(20_000)}`), 431],
    ["5000 headers", get(`Host: localhost\r\n${many(5000)}`), 431],
    ["a path of 50 KB", `GET /${"a".repeat(50_000)} HTTP/1.1\r\nHost: localhost\r\n\r\n`, 431],
    // Two readings of where a request ends would let one be smuggled past a proxy.
    ["a length and chunks", post("Content-Length: 16\r\nTransfer-Encoding: chunked", `10\r\n${show}\r\n0\r\n\r\n`), 400],
    ["two lengths", post("Content-Length: 16\r\nContent-Length: 5", show), 400],
    ["a length with a sign", post("Content-Length: +16", show), 400],
    ["a negative length", post("Content-Length: -1", show), 400],
    ["an unknown transfer encoding", post("Transfer-Encoding: xchunked", `10\r\n${show}\r\n0\r\n\r\n`), 400],
    ["an endless chunk", post("Transfer-Encoding: chunked", `ffffffffffffffff\r\n${show}`), 400],
    ["two hosts", get("Host: localhost\r\nHost: evil.example"), [400, 403]],
    ["no host", get("X: y"), 400],
    ["a blank before the colon", get("Host : localhost"), 400],
    ["a folded header", get("Host: localhost\r\nX: a\r\n b"), 400],
    ["NUL in a header", get("Host: localhost\r\nX: a\0b"), 400],
    ["TLS to a plain port", "\x16\x03\x01\x02\x00\x01", 400],
    ["HTTP/2 without asking", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [400, 505]],
  ];
  for (const [name, text, expected] of cases) {
    test(name, async () => {
      await using h = await start();
      const answer = await rawRequest(h.server.port, text);
      expect([expected].flat()).toContain(status(answer));
      // The next one is served.
      expect(status(await rawRequest(h.server.port, get("Host: localhost")))).toBe(200);
    });
  }
});

describe("bodies", () => {
  const LIMIT = 2 ** 20;
  const pack: Record<string, (data: Uint8Array) => Uint8Array> = {
    gzip: zlib.gzipSync,
    deflate: zlib.deflateSync,
    br: (data) => zlib.brotliCompressSync(data, { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 4 } }),
    zstd: zlib.zstdCompressSync,
  };

  test("what grows a thousandfold when it is unpacked is refused before it does", async () => {
    await using h = await start({}, { env: { ALLOY_MAX_BODY: String(LIMIT) } });
    const zeros = new Uint8Array(100 * LIMIT).fill(32);
    const send = (bytes: Uint8Array, encoding: string) =>
      fetch(`${h.url}/v1/chat/completions`, { method: "POST", body: Buffer.from(bytes), headers: { "content-encoding": encoding } });
    for (const [encoding, packed] of Object.entries(pack)) {
      const bomb = packed(zeros);
      expect([encoding, bomb.byteLength < LIMIT]).toEqual([encoding, true]);
      Bun.gc(true);
      const before = process.memoryUsage.rss();
      const answers = await Promise.all(Array.from({ length: 8 }, () => send(bomb, encoding).then((r) => r.status)));
      expect([encoding, ...new Set(answers)]).toEqual([encoding, 413]);
      expect(process.memoryUsage.rss() - before).toBeLessThan(200e6);
    }
    // A bomb inside of a bomb, and more coats than two.
    const inner = zlib.gzipSync(zlib.gzipSync(zeros));
    expect((await send(inner, "gzip, gzip")).status).toBe(413);
    expect((await send(zlib.gzipSync(inner), "gzip, gzip, gzip")).status).toBe(400);
    // What is really said stays within the limit.
    expect((await send(zlib.gzipSync(JSON.stringify({ model: "demo", messages })), "gzip")).status).toBe(200);
  }, 120_000);

  test("packed data that ends early, or is none", async () => {
    await using h = await start();
    for (const [encoding, packed] of Object.entries(pack)) {
      const bytes = packed(Buffer.from(JSON.stringify({ model: "demo", messages })));
      for (const body of [bytes.slice(0, bytes.length - 3), Buffer.from("not packed at all"), bytes.slice(0, 1)]) {
        const response = await fetch(`${h.url}/api/chat`, {
          method: "POST",
          body: Buffer.from(body),
          headers: { "content-encoding": encoding },
        });
        expect([encoding, response.status]).toEqual([encoding, 400]);
      }
    }
  });

  test("nesting: a hundred thousand levels of arrays, objects or both are refused, in fields too", async () => {
    await using h = await start();
    const deep = (open: string, close: string, n = 100_000) => `${open.repeat(n)}1${close.repeat(n)}`;
    for (const [open, close] of [
      ["[", "]"],
      ['{"a":', "}"],
      ['[{"a":', "}]"],
    ]) {
      for (const path of ["/v1/chat/completions", "/v1/messages", "/api/chat", "/v1/responses"]) {
        for (const body of [
          deep(open, close),
          `{"model":"demo","messages":${deep(open, close)}}`,
          `{"model":"demo","tools":${open.repeat(100_000)}`,
        ]) {
          const response = await h.post(path, body);
          expect([path, open, response.status]).toEqual([path, open, 400]);
          await response.text();
        }
      }
    }
  }, 120_000);

  test("keys that name JavaScript's own parts change nothing", async () => {
    await using h = await start();
    const odd = '"__proto__":{"polluted":true,"stream":true},"constructor":{"prototype":{"polluted":true}}';
    for (const path of ["/v1/chat/completions", "/api/chat", "/v1/messages"]) {
      const body = `{"model":"demo","max_tokens":5,"stream":false,"messages":[{"role":"user","content":"hi",${odd}}],"options":{${odd}},"logit_bias":{"__proto__":1},"metadata":{${odd}},${odd}}`;
      const response = await h.post(path, body);
      expect([path, response.status < 500, response.headers.get("content-type")?.startsWith("application/json")]).toEqual([
        path,
        true,
        true,
      ]);
      await response.text();
    }
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
  });
});

describe("addresses in requests", () => {
  test("no image is fetched, from no dialect and through no redirect", async () => {
    await using other = await StandIn.start();
    await using h = await start();
    const urls = [
      `${other.url}/a.png`,
      `http://localhost:${new URL(other.url).port}/a.png`,
      "file:///etc/passwd",
      "http://169.254.169.254/latest/meta-data/",
      "ftp://127.0.0.1/x",
      "data:text/html,<script>",
      `data:image/png;base64,${"A".repeat(100)}`,
      "//evil.example/x.png",
      "javascript:alert(1)",
    ];
    for (const url of urls) {
      const asked: [string, object][] = [
        ["/v1/chat/completions", { messages: [{ role: "user", content: [{ type: "image_url", image_url: { url } }] }] }],
        ["/v1/chat/completions", { messages: [{ role: "user", content: [{ type: "file", file: { file_data: url } }] }] }],
        ["/v1/responses", { input: [{ role: "user", content: [{ type: "input_image", image_url: url }] }] }],
        ["/v1/responses", { input: [{ role: "user", content: [{ type: "input_file", file_url: url }] }] }],
        ["/v1/messages", { max_tokens: 5, messages: [{ role: "user", content: [{ type: "image", source: { type: "url", url } }] }] }],
        ["/v1/messages", { max_tokens: 5, messages: [{ role: "user", content: [{ type: "document", source: { type: "url", url } }] }] }],
        ["/api/chat", { messages: [{ role: "user", content: "x", images: [url] }] }],
        ["/api/generate", { prompt: "x", images: [url] }],
      ];
      for (const [path, body] of asked) {
        const response = await h.post(path, { model: "demo", stream: false, ...body });
        expect([path, url, response.status < 500]).toEqual([path, url, true]);
        await response.text();
      }
    }
    expect(other.requests).toEqual([]);
  });

  test("a server that others reach fetches models from known hosts only", async () => {
    await using other = await StandIn.start();
    const models = mkdtempSync(join(tmpdir(), "alloy-security-"));
    const env = { ALLOY_MODELS: models, OLLAMA_MODELS: models, HF_HOME: models, HOME: models };
    const name = `${other.host}/library/x:latest`;
    const pull = (
      h: { post(path: string, body: unknown): Promise<Response> },
      path = "/api/pull",
      body: object = { model: `http://${name}` },
    ) => h.post(path, { ...body, insecure: true, stream: false });
    {
      await using h = await start({}, { host: "0.0.0.0", env });
      for (const [path, body] of [
        ["/api/pull", { model: name }],
        ["/api/pull", { name: `http://${name}` }],
        ["/api/pull", { model: "169.254.169.254/latest/meta:data" }],
        ["/api/create", { model: "mine", from: name }],
      ] as const) {
        const response = await pull(h, path, body);
        expect([path, response.status, (await response.json()).error]).toEqual([
          path,
          403,
          expect.stringContaining("may not be fetched from"),
        ]);
      }
      expect(other.requests).toEqual([]);
    }
    {
      await using h = await start({}, { host: "0.0.0.0", env: { ...env, ALLOY_PULL_HOSTS: `a.example, ${other.host}` } });
      await (await pull(h)).text();
      expect(other.requests.length).toBeGreaterThan(0);
    }
    other.requests.length = 0;
    {
      // On this machine whoever asks could go there without help.
      await using h = await start({}, { env });
      await (await pull(h)).text();
      expect(other.requests.length).toBeGreaterThan(0);
    }
    expect([isLoopback("127.0.0.1"), isLoopback("::1"), isLoopback("0.0.0.0"), isLoopback("192.168.1.2")]).toEqual([
      true,
      true,
      false,
      false,
    ]);
    rmSync(models, { recursive: true, force: true });
  }, 120_000);
});

describe("names of models", () => {
  const NAMES = [
    "..",
    "../x",
    "../../etc/passwd",
    "/etc/passwd",
    "a/../../b",
    "a/b/../../../c:d",
    "a:../../b",
    "x:..",
    "a\0b",
    "a\nb",
    "a\\..\\b",
    "C:\\x",
    "\\\\host\\share\\x",
    "%2e%2e%2fx",
    "..%2f..%2fx",
    "./x",
    "~/x",
    "file:///etc/passwd",
    "a//b",
    ".hidden",
    "-rf",
    "x".repeat(5000),
    "\u202egnp.exe",
    "․․/x",
    "con/../../x",
    "blobs",
    "manifests/../blobs/x",
  ];

  /** Everything below a folder: path, kind, content. */
  function tree(folder: string): string[] {
    return readdirSync(folder).flatMap((name) => {
      const path = join(folder, name);
      const stat = lstatSync(path);
      if (stat.isSymbolicLink()) return [`${path} link`];
      return stat.isDirectory() ? [`${path} folder`, ...tree(path)] : [`${path} ${readFileSync(path, "utf8").slice(0, 200)}`];
    });
  }

  test("nothing outside of the store is read, written or deleted", async () => {
    const around = mkdtempSync(join(tmpdir(), "alloy-security-"));
    const store = join(around, "deep", "er", "models");
    mkdirSync(store, { recursive: true });
    const secret = join(around, "secret");
    writeFileSync(secret, "SECRET");
    writeFileSync(join(around, "deep", "x"), "SECRET");
    symlinkSync(around, join(store, "way-out"));
    const env = {
      ALLOY_MODELS: store,
      OLLAMA_MODELS: join(around, "ollama"),
      HF_HOME: join(around, "hf"),
      HOME: join(around, "home"),
      ALLOY_REGISTRY: "http://127.0.0.1:1",
    };
    await using h = await start({}, { env });
    const outside = () => tree(around).filter((line) => !line.startsWith(store) || line.startsWith(join(store, "way-out")));
    const before = outside();
    const wrong: unknown[] = [];
    for (const name of [...NAMES, "way-out/secret", "way-out/../x", secret]) {
      const asked: [string, string, object][] = [
        ["POST", "/api/show", { model: name }],
        ["POST", "/api/chat", { model: name, messages, stream: false }],
        ["POST", "/v1/chat/completions", { model: name, messages }],
        ["POST", "/api/copy", { source: "demo", destination: name }],
        ["POST", "/api/copy", { source: name, destination: "fine" }],
        ["DELETE", "/api/delete", { model: name }],
        ["POST", "/api/create", { model: name, from: "demo", stream: false }],
        ["POST", "/api/create", { model: "fine", files: { [name]: `sha256:${"0".repeat(64)}` }, stream: false }],
        ["POST", "/api/create", { model: "fine", files: { "x.gguf": name }, stream: false }],
        ["POST", "/api/pull", { model: name, stream: false }],
      ];
      for (const [method, path, body] of asked) {
        const response = await fetch(h.url + path, { method, body: JSON.stringify(body) });
        const answer = await response.text();
        // A pull fails because nothing is at the other end, unless the name is a good one, and made by now; whatever else is no name, or not there.
        const good = ["blobs", "way-out/secret"].includes(name);
        const fine = path === "/api/pull" && !good ? response.status >= 400 : [200, 400, 404].includes(response.status);
        if (!fine || answer.includes("SECRET") || answer.includes("root:"))
          wrong.push([path, name.slice(0, 60), response.status, answer.slice(0, 200)]);
      }
      for (const path of ["/v1/models/", "/api/blobs/", "/web/", "/v1/responses/"]) {
        for (const form of [name, encodeURIComponent(name), `sha256:${name}`]) {
          const line = `GET ${path}${form.replace(/[\s\0]/g, "")} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`;
          const answer = await rawRequest(
            h.server.port,
            line.replace("GET /api/blobs", "POST /api/blobs").replace("close", "close\r\nContent-Length: 0"),
          );
          if (/SECRET|root:x/.test(answer) || status(answer) >= 500 || status(answer) === 201)
            wrong.push([path, form.slice(0, 60), answer.slice(0, 200)]);
        }
      }
    }
    expect(wrong).toEqual([]);
    expect(outside()).toEqual(before);
    rmSync(around, { recursive: true, force: true });
  }, 120_000);
});
