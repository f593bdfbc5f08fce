/** Answers in fewer bytes. */
import { expect, test } from "bun:test";
import zlib from "node:zlib";
import { acceptedEncoding } from "../../src/server/compress.ts";
import { type Harness, start } from "./harness.ts";
import { scriptedModel } from "./scripted-engine.ts";

const models = [scriptedModel("demo", { template: "x".repeat(5000) })];
/** As it came over the wire. */
const get = (h: Harness, path: string, accept: string, init: RequestInit = {}) =>
  fetch(h.url + path, { ...init, headers: { "accept-encoding": accept }, decompress: false } as RequestInit);
const show = { method: "POST", body: '{"model":"demo"}' };

test("what a client accepts", () => {
  for (const [header, encoding] of [
    [null, undefined],
    ["", undefined],
    ["identity", undefined],
    ["*", undefined],
    ["br", undefined],
    ["gzip", "gzip"],
    ["gzip, deflate, br, zstd", "zstd"],
    ["GZIP;q=0.5", "gzip"],
    ["zstd;q=0, gzip", "gzip"],
    ["gzip;q=0.000", undefined],
  ] as const) {
    expect([header, acceptedEncoding(header)]).toEqual([header, encoding]);
  }
});

test("long JSON comes compressed to those who take it", async () => {
  await using h = await start({ models });
  const plain = await get(h, "/api/show", "identity", show);
  expect(plain.headers.get("content-encoding")).toBeNull();
  const wanted = await plain.text();
  const decoders = { gzip: zlib.gunzipSync, zstd: zlib.zstdDecompressSync };
  for (const [encoding, decode] of Object.entries(decoders)) {
    const r = await get(h, "/api/show", encoding, show);
    expect([r.status, r.headers.get("content-encoding"), r.headers.get("vary")]).toEqual([200, encoding, "Accept-Encoding"]);
    expect(r.headers.get("content-type")).toBe("application/json; charset=utf-8");
    expect(r.headers.get("request-id")).toMatch(/^req_/);
    const bytes = await r.bytes();
    expect(bytes.byteLength).toBeLessThan(2000);
    expect(decode(bytes).toString()).toBe(wanted);
  }
  // Short ones do not, and errors keep their status.
  const version = await get(h, "/api/version", "gzip");
  expect([version.headers.get("content-encoding"), ((await version.json()) as { version: string }).version]).toEqual([null, "0.20.0"]);
  const unknown = await get(h, "/api/show", "gzip", { method: "POST", body: JSON.stringify({ model: "y".repeat(3000) }) });
  expect([unknown.status, unknown.headers.get("content-encoding")]).toEqual([404, "gzip"]);
  expect(JSON.parse(zlib.gunzipSync(await unknown.bytes()).toString())).toEqual({ error: expect.stringContaining("not found") });
});

test("streams never", async () => {
  await using h = await start({ models, script: () => [{ type: "text", text: "word ".repeat(500) }] });
  for (const [path, body] of [
    ["/v1/chat/completions", { model: "demo", stream: true, messages: [{ role: "user", content: "x" }] }],
    ["/v1/messages", { model: "demo", stream: true, max_tokens: 1000, messages: [{ role: "user", content: "x" }] }],
    ["/api/generate", { model: "demo", prompt: "x" }],
  ] as const) {
    const r = await get(h, path, "gzip, deflate, br, zstd", { method: "POST", body: JSON.stringify(body) });
    expect([path, r.headers.get("content-encoding")]).toEqual([path, null]);
    expect(await r.text()).toContain("word");
  }
});

test("the chat page", async () => {
  await using h = await start({ models });
  const page = (accept: string) =>
    fetch(h.url, { headers: { accept: "text/html", "accept-encoding": accept }, decompress: false } as RequestInit);
  const html = await (await page("identity")).text();
  const zipped = await page("gzip");
  expect([zipped.headers.get("content-encoding"), zipped.headers.get("vary")]).toEqual(["gzip", "Accept, Accept-Encoding"]);
  expect(zlib.gunzipSync(await zipped.bytes()).toString()).toBe(html);
  const script = /src="(web\/main[^"]+)"/.exec(html)![1];
  const [plain, packed] = await Promise.all(["identity", "zstd"].map((accept) => get(h, `/${script}`, accept)));
  expect([plain.headers.get("content-encoding"), packed.headers.get("content-encoding")]).toEqual([null, "zstd"]);
  const bytes = await packed.bytes();
  const text = await plain.text();
  expect(bytes.byteLength).toBeLessThan(text.length / 2);
  expect(zlib.zstdDecompressSync(bytes).toString()).toBe(text);
  // By either tag a browser asks whether its copy is still good.
  expect(packed.headers.get("etag")).toBe(`W/${plain.headers.get("etag")}`);
  for (const { headers } of [plain, packed]) {
    expect((await fetch(`${h.url}/${script}`, { headers: { "if-none-match": headers.get("etag")! } })).status).toBe(304);
  }
});
