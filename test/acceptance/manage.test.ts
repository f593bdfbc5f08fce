/** Model management over Ollama's API with the official client: pull, create, copy, show, ps, delete, blobs, push (rows 14 and 85 to 88 of the acceptance matrix). */
import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { Ollama, type ProgressResponse } from "ollama";
import type { Engine } from "../../src/engine/api.ts";
import { modelInfo } from "../../src/hub/info.ts";
import { listModels, resolveModel } from "../../src/hub/resolve.ts";
import { Machine } from "../hub/machine.ts";
import { sha256, StandIn } from "../hub/stand-in.ts";
import { failure, type Harness, start, until } from "../server/harness.ts";

// Machines that run tests are busy.
setDefaultTimeout(120_000);

let machine: Machine;
let registry: StandIn;
let h: Harness;
let ollama: Ollama;
let gguf: Uint8Array;
beforeEach(async () => {
  machine = new Machine();
  registry = await StandIn.start();
  const env = { ...machine.env, ALLOY_REGISTRY: registry.url, HF_ENDPOINT: registry.url };
  h = await start({}, { env });
  // The scripted engine, with what the machine's stores have.
  const models: Pick<Engine, "models" | "model"> = {
    models: () => listModels({ env }),
    model: async (name) => modelInfo(await resolveModel(name, { env, paths: false })),
  };
  Object.assign(h.engine, models);
  ollama = new Ollama({ host: h.url });
  gguf = readFileSync(
    machine.gguf(machine.path("made.gguf"), { "tokenizer.chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}" }),
  );
});
afterEach(async () => {
  await h.server.stop(0);
  await registry[Symbol.asyncDispose]();
  machine[Symbol.dispose]();
});

const root = () => join(machine.root, ".alloy/models");
const names = async () => (await ollama.list()).models.map((m) => m.name);

/** Status and error text of a raw request. */
async function answer(path: string, body: unknown, method = "POST"): Promise<[number, unknown]> {
  const r = await fetch(h.url + path, { method, body: body === undefined ? undefined : JSON.stringify(body) });
  const text = await r.text();
  return [r.status, text === "" ? "" : JSON.parse(text)];
}

describe("pull", () => {
  test("row 86: streamed: the lines and their order; then the model is listed, shown and used", async () => {
    const { digests, manifest } = registry.ollama(
      "library/tiny",
      [
        ["model", gguf],
        ["system", "Be brief."],
        ["params", '{"temperature":0.1,"stop":["<x>","<y>"]}'],
      ],
      "1b",
    );
    const parts: ProgressResponse[] = await Array.fromAsync(await ollama.pull({ model: "tiny:1b", stream: true }));
    const config = JSON.parse(manifest.toString()).config.digest.slice(7);
    expect([...new Set(parts.map((p) => p.status))]).toEqual([
      "pulling manifest",
      ...[...digests, config].map((d) => `pulling ${d.slice(0, 12)}`),
      "verifying sha256 digest",
      "writing manifest",
      "success",
    ]);
    for (const part of parts.filter((p) => p.digest))
      expect(part).toMatchObject({ digest: expect.stringMatching(/^sha256:[0-9a-f]{64}$/), total: expect.any(Number) });
    expect(await names()).toContain("tiny:1b");
    const shown = await ollama.show({ model: "TINY:1b" });
    expect(shown).toMatchObject({ system: "Be brief.", capabilities: ["completion"] });
    expect(shown.parameters).toBe(`${"temperature".padEnd(30)} 0.1\n${"stop".padEnd(30)} "<x>"\n${"stop".padEnd(30)} "<y>"`);
    expect(shown.modelfile).toContain('SYSTEM """Be brief."""');
    expect((await ollama.chat({ model: "tiny:1b", messages: [{ role: "user", content: "hi" }] })).message.content).toBe("echo: hi");
  });

  test("row 86: not streamed: only the end", async () => {
    registry.ollama("library/tiny", [["model", gguf]]);
    expect(await answer("/api/pull", { name: "tiny", stream: false })).toEqual([200, { status: "success" }]);
    expect(await answer("/api/pull", { model: "demo", stream: false })).toEqual([200, { status: "success" }]);
  });

  test("row 86: unknown, offline, wrong: readable, in Ollama's words where clients look for them", async () => {
    const missing = "pull model manifest: file does not exist";
    const streamed = await failure((async () => Array.fromAsync(await ollama.pull({ model: "nothing", stream: true })))());
    expect(streamed.message).toBe(missing);
    const lines = (await (await h.post("/api/pull", { model: "nothing" })).text()).trim().split("\n");
    expect(lines.map((l) => JSON.parse(l))).toEqual([{ status: "pulling manifest" }, { error: missing }]);
    expect(await answer("/api/pull", { model: "nothing", stream: false })).toEqual([500, { error: missing }]);
    expect(await answer("/api/pull", { model: "a/b/c/d" })).toEqual([400, { error: "invalid model name" }]);
    expect(await answer("/api/pull", { model: `${registry.url}/library/tiny` })).toEqual([400, { error: "insecure protocol http" }]);
    expect(await answer("/api/pull", {})).toEqual([400, { error: "model is required" }]);
    const [status, body] = await answer("/api/pull", { model: "127.0.0.1:1/a/b", stream: false });
    expect([status, (body as { error: string }).error]).toEqual([500, expect.stringContaining("127.0.0.1:1 cannot be reached")]);
    const { blobPath } = registry.ollama("library/bad", [["model", gguf]]);
    registry.on(blobPath(0), { body: gguf.map((b) => b ^ 1) });
    const wrong = await failure((async () => Array.fromAsync(await ollama.pull({ model: "bad", stream: true })))());
    expect(wrong.message).toBe("digest mismatch, file must be downloaded again");
    expect(await names()).toEqual(["demo:latest"]);
  });

  test("two clients share one download; a client that leaves stops it when it is the last", async () => {
    const big = new Uint8Array(400_000).map((_, i) => i * 3);
    const { blobPath, digests } = registry.ollama("library/big", [["model", big]]);
    registry.fault = (seen) => (seen.path === blobPath(0) ? { slowMs: 15 } : undefined);
    const first = new Ollama({ host: h.url });
    const leaving = (async () => Array.fromAsync(await first.pull({ model: "big", stream: true })))().catch((e: Error) => e.name);
    await until(() => registry.sent > 50_000, "the download runs");
    const staying = (async () => Array.fromAsync(await ollama.pull({ model: "big", stream: true })))();
    await until(() => h.engine.requests.length === 0 && registry.sent > 100_000, "both wait for it");
    first.abort();
    expect(await leaving).toBe("AbortError");
    expect((await staying).at(-1)).toMatchObject({ status: "success" });
    expect(registry.of(blobPath(0)).length).toBe(1);

    await ollama.delete({ model: "big" });
    registry.fault = (seen) => (seen.path === blobPath(0) ? { slowMs: 60 } : undefined);
    const again = (async () => Array.fromAsync(await ollama.pull({ model: "big", stream: true })))().catch((e: Error) => e.name);
    await until(() => existsSync(join(root(), "blobs", `sha256-${digests[0]}.partial.json`)), "something is on disk");
    ollama.abort();
    expect(await again).toBe("AbortError");
    await until(() => !readdirSync(join(root(), "blobs")).some((f) => f.endsWith(".lock")), "the download stops");
    expect(registry.sent).toBeLessThan(2 * big.byteLength);
  });
});

test("a server that stops does not wait for a pull: what came is kept, and the client is told", async () => {
  const big = new Uint8Array(400_000).map((_, i) => i * 3);
  const { blobPath, digests } = registry.ollama("library/big", [["model", big]]);
  registry.fault = (seen) => (seen.path === blobPath(0) ? { slowMs: 100 } : undefined);
  const pulling = h.post("/api/pull", { model: "big" }).then((r) => r.text());
  const partial = join(root(), "blobs", `sha256-${digests[0]}.partial`);
  await until(() => existsSync(`${partial}.json`), "it runs");
  await h.server.stop(60_000);
  expect((await pulling).trim().split("\n").at(-1)).toBe('{"error":"the server is shutting down. Try again in a moment."}');
  expect([existsSync(partial), existsSync(`${partial}.lock`)]).toEqual([true, false]);
});

describe("create", () => {
  test("row 87: from, with system and parameters; show; delete", async () => {
    const parts = await Array.fromAsync(
      await ollama.create({
        model: "mine",
        from: "demo",
        system: "You are a pirate.",
        parameters: { temperature: 0.5, num_ctx: 1024 },
        messages: [{ role: "user", content: "ahoy" }],
        license: "MIT",
        stream: true,
      }),
    );
    expect(parts[0].status).toBe("reading model metadata");
    expect(parts.slice(-2).map((p) => p.status)).toEqual(["writing manifest", "success"]);
    const shown = await ollama.show({ model: "mine" });
    expect(shown).toMatchObject({ system: "You are a pirate.", license: "MIT", messages: [{ role: "user", content: "ahoy" }] });
    expect(shown.parameters).toContain(`${"num_ctx".padEnd(30)} 1024`);
    await ollama.delete({ model: "mine" });
    expect(await names()).toEqual(["demo:latest"]);
  });

  test("an unknown base is pulled first; 404 where it is not to be had", async () => {
    registry.ollama("library/base", [["model", gguf]]);
    const parts = await Array.fromAsync(await ollama.create({ model: "mine", from: "base", stream: true }));
    const statuses = parts.map((p) => p.status);
    expect([statuses[0], statuses.filter((s) => s === "success").length]).toEqual(["pulling manifest", 1]);
    expect(await names()).toContain("base:latest");
    expect(await answer("/api/create", { model: "x", from: "nothing", stream: false })).toEqual([
      404,
      { error: "model 'nothing' not found" },
    ]);
  });

  test("what is refused, with the field", async () => {
    const base = { model: "x", from: "demo" };
    const text = async (body: object) => {
      const [status, value] = await answer("/api/create", body);
      expect(status).toBe(400);
      return (value as { error: string }).error;
    };
    expect(await text({ from: "demo" })).toBe("model is required");
    expect(await text({ model: "x" })).toBe("neither 'from' or 'files' was specified");
    expect(await text({ model: "../x", from: "demo" })).toBe("invalid model name");
    expect(await text({ model: "x", files: { "m.gguf": "sha256:1" } })).toBe("invalid digest format");
    expect(await text({ ...base, adapters: { "a.gguf": `sha256:${"a".repeat(64)}` } })).toStartWith("'adapters' is not supported.");
    expect(await text({ ...base, draft_files: { "a.gguf": `sha256:${"a".repeat(64)}` } })).toStartWith("'draft_files' is not supported.");
    expect(await text({ ...base, quantize: "q4_K_M" })).toStartWith("'quantize' is not supported.");
    expect(await text({ ...base, parameters: { top_k: "many" } })).toBe('option "top_k" must be of type integer');
    expect(await text({ ...base, template: "{% if %}" })).toContain("template");
    expect(await text({ ...base, messages: [{ role: "tool", content: "x" }] })).toContain("messages[0].role");
  });

  test("files that were uploaded", async () => {
    const digest = `sha256:${sha256(gguf)}`;
    const url = `${h.url}/api/blobs/${digest}`;
    expect((await fetch(url, { method: "HEAD" })).status).toBe(404);
    expect((await fetch(url, { method: "POST", body: gguf as Uint8Array<ArrayBuffer> })).status).toBe(201);
    expect((await fetch(url, { method: "POST", body: gguf as Uint8Array<ArrayBuffer> })).status).toBe(200);
    expect((await fetch(url.replace("sha256:", "sha256-"), { method: "HEAD" })).status).toBe(200);
    expect((await fetch(`${h.url}/api/blobs/sha256:12`, { method: "HEAD" })).status).toBe(400);
    const wrong = await fetch(`${h.url}/api/blobs/sha256:${"a".repeat(64)}`, { method: "POST", body: "x" });
    expect([wrong.status, await wrong.json()]).toEqual([
      400,
      { error: `digest mismatch, expected "sha256:${"a".repeat(64)}", got "sha256:${sha256("x")}"` },
    ]);
    expect(await answer("/api/create", { model: "uploaded", files: { "m.gguf": digest }, stream: false })).toEqual([
      200,
      { status: "success" },
    ]);
    expect((await ollama.show({ model: "uploaded" })).model_info).toMatchObject({ "general.architecture": "llama" });
  });

  test("row 14: a large upload is not held in memory", async () => {
    const piece = new Uint8Array(2 ** 20).fill(1);
    const count = 300;
    const hasher = new Bun.CryptoHasher("sha256");
    for (let i = 0; i < count; i++) hasher.update(piece);
    const before = process.memoryUsage.rss();
    let most = 0;
    const body = new ReadableStream({
      type: "direct",
      async pull(controller: ReadableStreamDirectController) {
        for (let i = 0; i < count; i++) {
          controller.write(piece);
          await controller.flush();
          // What was sent and received already is garbage, of which there is more on a busy machine.
          if (i % 20 === 0) Bun.gc(true);
          most = Math.max(most, process.memoryUsage.rss());
          await Bun.sleep(0);
        }
        controller.close();
      },
    } as unknown as UnderlyingSource);
    const digest = hasher.digest("hex");
    const r = await fetch(`${h.url}/api/blobs/sha256:${digest}`, { method: "POST", body });
    expect(r.status).toBe(201);
    expect(statSync(join(root(), "blobs", `sha256-${digest}`)).size).toBe(count * 2 ** 20);
    // Sender and receiver are one process here.
    expect(most - before).toBeLessThan(200 * 2 ** 20);
  }, 120_000);

  test("Expect: 100-continue is answered before the body is sent", async () => {
    const socket = connect(h.server.port, "127.0.0.1");
    let got = "";
    socket.on("data", (d) => (got += d.toString()));
    socket.write(`POST /api/blobs/sha256:${sha256("x")} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n`);
    await until(() => got.startsWith("HTTP/1.1 100"), "100 Continue");
    socket.write("x");
    await until(() => got.includes("HTTP/1.1 201"), "201 Created");
    socket.destroy();
  });
});

describe("copy and delete", () => {
  test("row 85: round trip; ps forgets what is deleted", async () => {
    await ollama.copy({ source: "demo", destination: "twin:v2" });
    expect(await names()).toEqual(["twin:v2", "demo:latest"]);
    await ollama.generate({ model: "twin:v2", prompt: "", keep_alive: "1h" });
    expect((await ollama.ps()).models.map((m) => m.name)).toEqual(["twin:v2"]);
    await ollama.delete({ model: "twin:v2" });
    expect((await ollama.ps()).models).toEqual([]);
    expect(await names()).toEqual(["demo:latest"]);
  });

  test("errors in Ollama's words; what others own stays", async () => {
    machine.ollama("registry.ollama.ai/library/theirs/latest");
    expect(await answer("/api/copy", { source: "nothing", destination: "x" })).toEqual([404, { error: 'model "nothing" not found' }]);
    expect(await answer("/api/copy", { source: "", destination: "x" })).toEqual([400, { error: 'source "" is invalid' }]);
    expect(await answer("/api/copy", { source: "demo", destination: "a b" })).toEqual([400, { error: 'destination "a b" is invalid' }]);
    expect(await answer("/api/delete", { name: "nothing" }, "DELETE")).toEqual([404, { error: "model 'nothing' not found" }]);
    expect(await answer("/api/delete", {}, "DELETE")).toEqual([400, { error: "model is required" }]);
    expect(await answer("/api/delete", { model: "theirs" }, "DELETE")).toEqual([
      403,
      { error: "theirs:latest belongs to Ollama, which Alloy reads only. Delete it with `ollama rm theirs:latest`." },
    ]);
    expect(await names()).toContain("theirs:latest");
  });
});

/** What the command-line client of Ollama sends: its own headers, a body on DELETE, and the steps of each command. */
test("row 93: the requests behind `ollama run`, list, ps, stop, show, cp, rm and create -f", async () => {
  const headers = {
    "content-type": "application/json",
    accept: "application/x-ndjson",
    "user-agent": "ollama/0.20.0 (amd64 linux) Go/go1.26",
  };
  const send = async (method: string, path: string, body?: object | Uint8Array<ArrayBuffer>) => {
    const raw = body instanceof Uint8Array ? body : body && JSON.stringify(body);
    const r = await fetch(h.url + path, { method, headers, body: raw });
    const lines = (await r.text()).split("\n").filter((line) => line !== "");
    // A blank line, or one that is no object, ends the client.
    return { status: r.status, lines: lines.map((line) => JSON.parse(line)) };
  };
  const ok = async (...args: Parameters<typeof send>) => {
    const { status, lines } = await send(...args);
    expect([args[1], status]).toEqual([args[1], 200]);
    return lines;
  };
  // Every command first asks whether somebody is there.
  await ok("HEAD", "/");
  // create -f: the weights as a blob, then what the file says.
  const digest = `sha256:${sha256(gguf)}`;
  expect((await send("HEAD", `/api/blobs/${digest}`)).status).toBe(404);
  expect((await send("POST", `/api/blobs/${digest}`, gguf as Uint8Array<ArrayBuffer>)).status).toBe(201);
  const made = { model: "mine", files: { "made.gguf": digest }, parameters: { temperature: 0.5 }, system: "Be brief." };
  expect((await ok("POST", "/api/create", made)).at(-1)).toEqual({ status: "success" });
  // run: show, then the empty request that loads, then a turn.
  expect((await ok("POST", "/api/show", { model: "mine", name: "mine" }))[0]).toMatchObject({
    capabilities: expect.arrayContaining(["completion"]),
  });
  expect(await ok("POST", "/api/generate", { model: "mine", prompt: "", options: {} })).toMatchObject([
    { done: true, done_reason: "load" },
  ]);
  const turn = { model: "mine", messages: [{ role: "user", content: "hi" }], format: "", options: {}, keep_alive: "5m" };
  const answer = await ok("POST", "/api/chat", turn);
  expect(answer.map((line) => line.message.content).join("")).toBe("echo: hi");
  expect(answer.at(-1)).toMatchObject({
    done: true,
    eval_count: 2,
    prompt_eval_count: expect.any(Number),
    total_duration: expect.any(Number),
  });
  expect((await ok("GET", "/api/tags"))[0].models.map((m: { name: string }) => m.name)).toContain("mine:latest");
  expect((await ok("GET", "/api/ps"))[0].models).toMatchObject([{ name: "mine:latest" }]);
  // stop.
  expect(await ok("POST", "/api/generate", { model: "mine", prompt: "", keep_alive: 0 })).toMatchObject([{ done_reason: "unload" }]);
  expect((await ok("GET", "/api/ps"))[0].models).toEqual([]);
  await ok("POST", "/api/copy", { source: "mine", destination: "other" });
  await ok("DELETE", "/api/delete", { model: "other", name: "other" });
  // What it says of a name that is not there.
  for (const [method, path, text] of [
    ["POST", "/api/show", "model 'other' not found"],
    ["POST", "/api/generate", "model 'other' not found"],
    ["DELETE", "/api/delete", "model 'other' not found"],
  ]) {
    expect(await send(method, path, { model: "other" })).toEqual({ status: 404, lines: [{ error: text }] });
  }
});

test("row 88: push is refused as one JSON answer, streamed or not", async () => {
  const error = await failure(ollama.push({ model: "demo" }));
  expect(error).toMatchObject({ status_code: 501, error: "push is not supported by alloy" });
  expect(await answer("/api/push", { model: "demo", stream: true })).toEqual([501, { error: "push is not supported by alloy" }]);
  expect(await answer("/api/push", {})).toEqual([400, { error: "model is required" }]);
});

test("what clients ask about a cloud and accounts", async () => {
  expect(await answer("/api/status", undefined, "GET")).toEqual([200, { cloud: { disabled: true, source: "env" } }]);
  expect(await answer("/api/experimental/model-recommendations", undefined, "GET")).toEqual([200, { recommendations: [] }]);
  for (const path of ["/api/me", "/api/signout"]) expect(await answer(path, {})).toEqual([401, { error: "unauthorized" }]);
  expect((await answer("/api/experimental/web_search", {}))[0]).toBe(501);
});
