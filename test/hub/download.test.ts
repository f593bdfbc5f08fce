/** One file from a server that does what servers do: cut, stall, lie, refuse ranges, ask for patience. */
import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { downloadFile, type DownloadOptions, type FileSource } from "../../src/hub/download/file.ts";
import { Net, reported, TransferError } from "../../src/hub/download/net.ts";
import { proxyFor } from "../../src/hub/download/proxy.ts";
import { Ranges } from "../../src/hub/download/ranges.ts";
import { AlloyError } from "../../src/support/errors.ts";
import { gitSha1, sha256, StandIn } from "./stand-in.ts";

// Machines that run tests are busy.
setDefaultTimeout(120_000);

const SIZE = 1_000_003;
const seed = Number(process.env.ALLOY_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
const random = generator(seed);
console.log(`download seed ${seed} (ALLOY_TEST_SEED=${seed} repeats it)`);
const DATA = Uint8Array.from({ length: SIZE }, () => random() * 256);
const HEX = sha256(DATA);

let server: StandIn;
let folder: string;
let path: string;
beforeEach(async () => {
  server = await StandIn.start();
  folder = mkdtempSync(join(tmpdir(), "alloy-download-"));
  path = join(folder, "file");
  server.on("/file", { body: DATA });
});
afterEach(async () => {
  await server[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

function fetchFile(options: Partial<DownloadOptions> = {}, source: Partial<FileSource> = {}): Promise<string> {
  const net = new Net({ env: {}, retryMs: 1, silenceMs: 2000 });
  return downloadFile({ url: `${server.url}/file`, size: SIZE, pin: { sha256: HEX }, ...source }, path, {
    net,
    partBytes: 100_000,
    ...options,
  });
}

async function failureOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => new Error("it did not fail"),
    (e: unknown) => e,
  );
}

const ranged = () => server.of("/file").filter((r) => r.headers.range !== undefined).length;

test("in parallel ranges, with progress, and nothing left beside it", async () => {
  const progress: number[] = [];
  expect(await fetchFile({ onProgress: (n) => void progress.push(n) })).toBe(HEX);
  expect(readFileSync(path).equals(DATA)).toBe(true);
  expect(ranged()).toBe(11);
  expect(progress.at(-1)).toBe(SIZE);
  expect(progress.every((n, i) => i === 0 || n >= progress[i - 1])).toBe(true);
  expect(existsSync(`${path}.json`)).toBe(false);
  expect(server.sent).toBe(SIZE);
});

test("a small file takes one plain request; an empty one is fine", async () => {
  expect(await fetchFile({ partBytes: SIZE })).toBe(HEX);
  expect([server.requests.length, ranged()]).toEqual([1, 0]);
  server.on("/file", { body: new Uint8Array(0) });
  expect(await fetchFile({}, { size: 0, pin: { sha256: sha256("") } })).toBe(sha256(""));
});

describe("what breaks on the way is taken up where it broke", () => {
  test("connections cut at random places, over and over", async () => {
    server.fault = () => (random() < 0.7 ? { cutAfter: 20_000 + Math.floor(random() * 60_000) } : undefined);
    expect(await fetchFile({ net: new Net({ env: {}, retryMs: 1, attempts: 50 }) })).toBe(HEX);
    expect(readFileSync(path).equals(DATA)).toBe(true);
  });

  test("a server that falls silent", async () => {
    server.fault = (_, before) => (before === 2 ? { stallAfter: 30_000 } : undefined);
    expect(await fetchFile({ net: new Net({ env: {}, retryMs: 1, silenceMs: 150 }) })).toBe(HEX);
    expect(ranged()).toBeGreaterThanOrEqual(12);
  });

  test("a slow server is waited for as long as something comes", async () => {
    server.fault = () => ({ slowMs: 10 });
    expect(await fetchFile({ net: new Net({ env: {}, silenceMs: 1000 }) })).toBe(HEX);
  });

  test("5xx and 429 with Retry-After; the wait is the server's", async () => {
    server.fault = (_, before) =>
      before === 0 ? { status: 503 } : before === 1 ? { status: 429, headers: { "retry-after": "1" } } : undefined;
    const started = performance.now();
    expect(await fetchFile()).toBe(HEX);
    expect(performance.now() - started).toBeGreaterThan(990);
  });

  test("too many failures in a row end it, and say so; too long a wait is not waited for", async () => {
    server.fault = () => ({ status: 502 });
    const error = reported(await failureOf(fetchFile())) as AlloyError;
    expect(error).toMatchObject({ code: "download_failed", message: `${server.host} answers 502 for /file` });
    expect(error.hint).toContain("what is here already is kept");
    server.fault = () => ({ status: 429, headers: { "retry-after": "86400" } });
    expect((reported(await failureOf(fetchFile())) as AlloyError).hint).toContain("asks for 86400 s of patience");
  });

  test("nobody there: the host and the reason", async () => {
    const error = await failureOf(fetchFile({ net: new Net({ env: {}, retryMs: 1 }) }, { url: "http://127.0.0.1:1/file" }));
    expect((error as TransferError).message).toBe("127.0.0.1:1 cannot be reached: it refuses the connection");
  });
});

describe("resuming", () => {
  test("an aborted download goes on where it was, also without its connections", async () => {
    const stop = new AbortController();
    const reason = new AlloyError("cancelled", "enough");
    const onProgress = (n: number) => n > SIZE / 2 && stop.abort(reason);
    expect(await failureOf(fetchFile({ signal: stop.signal, onProgress, connections: 2 }))).toBe(reason);
    const seen: number[] = [];
    // Requests of the first run may still be on their way.
    expect(await fetchFile({ onProgress: (n) => void seen.push(n) }, { headers: { "x-run": "second" } })).toBe(HEX);
    expect(seen[0]).toBeGreaterThan(SIZE / 2);
    const second = server.requests.filter((r) => r.headers["x-run"] === "second");
    const asked = second.map((r) => /^bytes=(\d+)-(\d+)$/.exec(r.headers.range!)!);
    expect(asked.reduce((sum, [, from, to]) => sum + Number(to) + 1 - Number(from), 0)).toBe(SIZE - seen[0]);
    expect(readFileSync(path).equals(DATA)).toBe(true);
  });

  test("what is wrong on disk is found by the digest, and all of it fetched again", async () => {
    await half();
    const bytes = readFileSync(path);
    bytes[5] ^= 1;
    writeFileSync(path, bytes);
    expect(await fetchFile()).toBe(HEX);
    expect(readFileSync(path).equals(DATA)).toBe(true);
  });

  test("a damaged or foreign journal is as good as none", async () => {
    for (const journal of [
      "{",
      "[]",
      `{"size":5,"done":[[0,5]]}`,
      `{"size":${SIZE},"done":[[0,${SIZE + 1}]]}`,
      `{"size":${SIZE},"done":[["a",1]]}`,
    ]) {
      writeFileSync(path, "x".repeat(SIZE));
      writeFileSync(`${path}.json`, journal);
      expect(await fetchFile()).toBe(HEX);
    }
  });

  test("without a digest the entity tag decides: the same goes on, another starts over", async () => {
    await half({ pin: undefined });
    expect(await fetchFile({}, { pin: undefined })).toBe(HEX);
    expect(server.requests.some((r) => r.headers["if-range"] !== undefined)).toBe(true);
    rmSync(path);
    await half({ pin: undefined });
    const other = DATA.map((b) => b ^ 1);
    server.on("/file", { body: other });
    expect(await fetchFile({}, { pin: undefined })).toBe(sha256(other));
  });

  async function half(source: Partial<FileSource> = {}): Promise<void> {
    const stop = new AbortController();
    await failureOf(fetchFile({ signal: stop.signal, onProgress: (n) => n > SIZE / 2 && stop.abort(new Error("half")) }, source));
    expect(existsSync(`${path}.json`)).toBe(true);
  }
});

describe("servers that do not do as they should", () => {
  test("ranges ignored: one stream, also after a cut", async () => {
    server.fault = (_, before) => ({ noRanges: true, ...(before < 3 ? { cutAfter: 300_000 } : {}) });
    expect(await fetchFile()).toBe(HEX);
    expect(readFileSync(path).equals(DATA)).toBe(true);
  });

  test("wrong content: refused, and nothing kept of it", async () => {
    server.fault = () => ({ content: DATA.map((b) => b ^ 1) });
    const error = (await failureOf(fetchFile())) as AlloyError;
    expect(error.message).toStartWith("digest mismatch, file must be downloaded again");
    expect([existsSync(path), existsSync(`${path}.json`)]).toEqual([false, false]);
  });

  test("another size than announced by the manifest", async () => {
    const error = (await failureOf(fetchFile({}, { size: SIZE + 7 }))) as AlloyError;
    expect(error.message).toContain(`has ${SIZE} bytes on the server, and not the ${SIZE + 7} that were announced`);
  });

  test("a body that is shorter than its Content-Length, once", async () => {
    server.fault = (_, before) => (before === 0 ? { cutAfter: 50_000 } : undefined);
    expect(await fetchFile({ partBytes: SIZE })).toBe(HEX);
    expect(server.requests[1].headers.range).toStartWith("bytes=");
  });

  test("the wrong range", async () => {
    server.fault = (seen, before) => (before === 1 ? { headers: { "content-range": `bytes 7-8/${SIZE}` } } : undefined);
    expect(await fetchFile()).toBe(HEX);
  });

  test("git's digest of small files", async () => {
    expect(await fetchFile({}, { pin: { git: gitSha1(DATA) } })).toBe(HEX);
    rmSync(path);
    expect(((await failureOf(fetchFile({}, { pin: { git: "0".repeat(40) } }))) as Error).message).toContain("digest mismatch");
  });
});

describe("redirects and proxies", () => {
  test("credentials stay with the host that they are for", async () => {
    await using other = await StandIn.start();
    other.on("/elsewhere", { body: DATA });
    server.on("/file", { redirect: "/same" });
    server.on("/same", { redirect: `${other.url}/elsewhere` });
    expect(await fetchFile({ partBytes: SIZE }, { headers: { authorization: "Bearer secret", "x-other": "1" } })).toBe(HEX);
    expect(server.of("/same")[0].headers.authorization).toBe("Bearer secret");
    expect(other.requests[0].headers).not.toHaveProperty("authorization");
    expect(other.requests[0].headers["x-other"]).toBe("1");
  });

  test("loops and other schemes end", async () => {
    server.on("/file", { redirect: "/file" });
    expect(((await failureOf(fetchFile())) as Error).message).toContain("redirects more than 10 times");
    server.on("/file", { redirect: "file:///etc/passwd" });
    expect(((await failureOf(fetchFile())) as Error).message).toContain('"file:///etc/passwd" is no http or https address');
  });

  test("HTTP_PROXY is used, NO_PROXY excepts", async () => {
    // A proxy gets the whole URL in the request line; the stand-in answers by its path.
    const net = new Net({ env: { http_proxy: server.url } });
    expect(await fetchFile({ net, partBytes: SIZE }, { url: "http://models.invalid/file" })).toBe(HEX);
    const url = new URL("https://a.example.com/x");
    const env = (no_proxy: string) => ({ HTTPS_PROXY: "proxy:8080", no_proxy });
    expect(proxyFor(url, env(""))).toBe("http://proxy:8080");
    for (const no of ["*", "example.com", ".example.com", "b.org, a.example.com", "a.example.com:443"])
      expect(proxyFor(url, env(no))).toBeUndefined();
    for (const no of ["ample.com", "a.example.com:80", "x.a.example.com"]) expect(proxyFor(url, env(no))).toBe("http://proxy:8080");
    expect(proxyFor(new URL("http://a/"), { HTTPS_PROXY: "x", ALL_PROXY: "socks5://y" })).toBe("socks5://y");
  });
});

test("ranges: a set like any other", () => {
  for (let round = 0; round < 300; round++) {
    const size = 1 + Math.floor(random() * 60);
    const piece = 1 + Math.floor(random() * 20);
    const there = new Set<number>();
    const ranges = new Ranges();
    for (let i = Math.floor(random() * 8); i > 0; i--) {
      const start = Math.floor(random() * size);
      const end = Math.min(size, start + Math.floor(random() * 15));
      ranges.add(start, end);
      for (let b = start; b < end; b++) there.add(b);
    }
    expect(ranges.bytes).toBe(there.size);
    let front = 0;
    while (there.has(front)) front++;
    expect(ranges.front).toBe(front);
    const gaps = ranges.gaps(size, piece);
    expect(gaps.every(([s, e]) => e > s && e - s <= piece)).toBe(true);
    const missing = gaps.flatMap(([s, e]) => Array.from({ length: e - s }, (_, i) => s + i));
    expect(missing).toEqual(Array.from({ length: size }, (_, i) => i).filter((b) => !there.has(b)));
  }
});

/** mulberry32. */
function generator(state: number): () => number {
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
