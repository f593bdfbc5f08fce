/** Pulling from stand-ins of Ollama's registry and the Hugging Face hub into a store in a temporary folder. */
import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, realpathSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { openModel } from "../../src/formats/open.ts";
import { CHECKPOINT_FILES } from "../../src/hub/manifest.ts";
import { pullModel, type PullEvent, type PullOptions } from "../../src/hub/pull/pull.ts";
import { installedModels } from "../../src/hub/resolve.ts";
import { AlloyError } from "../../src/support/errors.ts";
import { until } from "../server/harness.ts";
import { Machine } from "./machine.ts";
import { sha256, StandIn } from "./stand-in.ts";

// Machines that run tests are busy.
setDefaultTimeout(120_000);

const CAN_MOUNT = process.platform === "linux" && process.getuid?.() === 0;
const FIXTURES = join(import.meta.dir, "../fixtures/golden");

let server: StandIn;
let machine: Machine;
let env: Record<string, string>;
let root: string;
/** A real, tiny GGUF file. */
let gguf: Uint8Array;
beforeEach(async () => {
  server = await StandIn.start();
  machine = new Machine();
  env = { ...machine.env, ALLOY_REGISTRY: server.url, HF_ENDPOINT: server.url };
  root = join(machine.root, ".alloy/models");
  gguf = readFileSync(machine.gguf(machine.path("made.gguf"), { "general.name": "x".repeat(3000) }));
});
afterEach(async () => {
  await server[Symbol.asyncDispose]();
  machine[Symbol.dispose]();
});

async function pull(reference: string, options: PullOptions = {}) {
  const events: PullEvent[] = [];
  const net = { retryMs: 1, silenceMs: 2000, ...options.net };
  const name = await pullModel(reference, { env, onEvent: (e) => void events.push(e), ...options, net });
  return { name, events, statuses: [...new Set(events.map((e) => e.status))] };
}

async function refused(reference: string, options: PullOptions = {}): Promise<AlloyError> {
  const error = await pull(reference, options).then(
    () => new Error(`${reference} was pulled`),
    (e: unknown) => e,
  );
  if (error instanceof AlloyError) return error;
  throw error;
}

const resolved = (name: string) => machine.resolve(name, false);
const blobs = () => readdirSync(join(root, "blobs")).toSorted();

describe("Ollama's registry", () => {
  test("manifest, layers and config, in the order that clients expect; the model is there afterwards", async () => {
    const { digests, manifest } = server.ollama(
      "library/tiny",
      [
        ["model", gguf],
        ["template", "{{ .Prompt }}"],
        ["system", "Be brief."],
        ["params", '{"stop":["<x>"]}'],
      ],
      "1b",
    );
    const { name, events, statuses } = await pull("tiny:1b");
    expect(name).toBe("tiny:1b");
    const config = JSON.parse(manifest.toString()).config.digest.slice(7);
    expect(statuses).toEqual([
      "pulling manifest",
      ...[...digests, config].map((d) => `pulling ${d.slice(0, 12)}`),
      "verifying sha256 digest",
      "writing manifest",
      "success",
    ]);
    const last = events.findLast((e) => e.digest === `sha256:${digests[0]}`);
    expect(last).toMatchObject({ total: gguf.byteLength, completed: gguf.byteLength });
    expect(await resolved("TINY:1b")).toMatchObject({
      name: "tiny:1b",
      source: "alloy",
      path: join(root, "blobs", `sha256-${digests[0]}`),
      digest: sha256(manifest),
      layers: { system: "Be brief.", params: { stop: ["<x>"] }, template: "{{ .Prompt }}" },
    });
    expect(readFileSync(join(root, "manifests/registry.ollama.ai/library/tiny/1b")).equals(manifest)).toBe(true);
    expect(blobs()).toEqual([...digests, config].map((d) => `sha256-${d}`).toSorted());

    const before = server.requests.length;
    expect((await pull("tiny:1b")).statuses.at(-1)).toBe("success");
    expect(server.requests.length).toBe(before + 1);
  });

  test("a newer manifest replaces the older one, and layers that only that one had go", async () => {
    const old = server.ollama("library/m", [
      ["model", gguf],
      ["system", "old"],
    ]);
    await pull("m");
    const { digests } = server.ollama("library/m", [
      ["model", gguf],
      ["system", "new"],
    ]);
    expect((await pull("M")).statuses).toContain("removing unused layers");
    expect((await resolved("m")).layers?.system).toBe("new");
    expect(blobs()).toContain(`sha256-${digests[1]}`);
    expect(blobs()).not.toContain(`sha256-${old.digests[1]}`);
  });

  test("without a network a model that is whole is a success, another is not", async () => {
    const { digests } = server.ollama("library/m", [["model", gguf]]);
    await pull("m");
    const offline = { env: { ...env, ALLOY_REGISTRY: "http://127.0.0.1:1" } };
    expect((await pull("m", offline)).statuses).toEqual(["pulling manifest", "success"]);
    rmSync(join(root, "blobs", `sha256-${digests[0]}`));
    const error = await refused("m", offline);
    expect([error.code, error.message]).toEqual(["download_failed", "127.0.0.1:1 cannot be reached: it refuses the connection"]);
    expect(error.hint).toContain("HTTPS_PROXY");
  });

  test("what is not there, or not for everybody", async () => {
    const error = await refused("nothing:7b");
    expect(error).toMatchObject({ code: "model_not_found", message: `${server.host} has no model nothing:7b` });
    expect(error.data?.ollama).toBe("pull model manifest: file does not exist");
    server.on("/v2/library/secret/manifests/latest", { status: 403 });
    expect((await refused("secret")).message).toContain("does not give secret:latest to everybody (403)");
    expect(existsSync(join(root, "manifests"))).toBe(false);
  });

  test("a token is fetched where the registry says, and sent to nobody else", async () => {
    await using cdn = await StandIn.start();
    const { manifest, digests, blobPath } = server.ollama("library/m", [["model", gguf]]);
    const challenge = { status: 401, headers: { "www-authenticate": `Bearer realm="${server.url}/token",service="reg",scope="pull"` } };
    const allowed = (answer: { body: Uint8Array } | { redirect: string }) => (seen: { headers: Record<string, unknown> }) =>
      seen.headers.authorization === "Bearer abc" ? answer : challenge;
    server.json("/token", { token: "abc" });
    server.on("/v2/library/m/manifests/latest", allowed({ body: manifest }));
    server.on(blobPath(0), allowed({ redirect: `${cdn.url}/blob` }));
    cdn.on("/blob", { body: gguf });
    expect((await pull("m")).name).toBe("m:latest");
    expect(blobs()).toContain(`sha256-${digests[0]}`);
    expect(cdn.requests.every((r) => r.headers.authorization === undefined)).toBe(true);
  });

  test("a token that runs out in the middle is fetched again; one from elsewhere without encryption is not asked for", async () => {
    const big = new Uint8Array(500_000).map((_, i) => i * 5);
    const { manifest, blobPath } = server.ollama("library/m", [["model", big]]);
    let token = 0;
    let served = 0;
    const challenge = (realm: string) => ({ status: 401, headers: { "www-authenticate": `Bearer realm="${realm}",scope="pull"` } });
    server.on("/token", () => ({ body: Buffer.from(JSON.stringify({ token: `t${++token}` })) }));
    const allowed = (answer: { body: Uint8Array }) => (seen: { headers: Record<string, unknown> }) =>
      seen.headers.authorization === `Bearer t${served++ < 4 ? 1 : 2}` ? answer : challenge(`${server.url}/token`);
    server.on("/v2/library/m/manifests/latest", allowed({ body: manifest }));
    server.on(blobPath(0), allowed({ body: big }));
    await pull("m", { download: { partBytes: 50_000, connections: 1 } });
    expect(token).toBe(2);
    server.on("/v2/library/m/manifests/latest", challenge("http://127.0.0.1:1/token"));
    expect((await refused("m")).message).toContain("sends for a token to http://127.0.0.1:1, without encryption");
  });

  test("manifests that make no sense, or too much of it", async () => {
    const path = "/v2/library/m/manifests/latest";
    const body = (value: unknown) => server.on(path, { body: Buffer.from(typeof value === "string" ? value : JSON.stringify(value)) });
    const layer = (change: object) => ({
      layers: [{ mediaType: "application/vnd.ollama.image.model", digest: `sha256:${"a".repeat(64)}`, size: 1, ...change }],
    });
    for (const [value, text] of [
      ["{", "no valid JSON"],
      [{}, "has no layers"],
      [layer({ digest: "sha256:../../../etc/passwd" }), "layer 0 is damaged"],
      [layer({ size: -1 }), "layer 0 is damaged"],
      [layer({ size: 2 ** 60 }), "layer 0 is damaged"],
      [layer({ mediaType: "application/vnd.alloy.model.file", name: "../x" }), "layer 0 is damaged"],
      [layer({ mediaType: "application/vnd.ollama.image.tensor" }), "has no GGUF weights"],
      [" ".repeat(2 ** 20 + 1), "is larger than the 1048576 bytes"],
    ] as const) {
      body(value);
      expect((await refused("m")).message).toContain(text);
    }
    expect(existsSync(join(root, "blobs"))).toBe(false);
  });

  test("names that are none, cloud models, and http without leave", async () => {
    for (const name of ["", "../x", "a/b/c/d", "a/../b", "m:", "m:a/b", ".x", "m\n", "a\\b", "-x"]) {
      const error = await refused(name);
      expect([error.code, error.data?.ollama]).toEqual(["bad_argument", "invalid model name"]);
    }
    expect((await refused("m:cloud")).message).toContain("cloud model");
    server.ollama("library/m", [["model", gguf]]);
    const plain = `${server.url}/library/m:latest`;
    expect((await refused(plain)).data?.ollama).toBe("insecure protocol http");
    expect((await pull(plain, { insecure: true })).name).toBe(`${server.host}/library/m:latest`);
    expect((await resolved(`${server.host}/library/m`)).source).toBe("alloy");
  });

  test("what Ollama has is taken from there, if it is what it says", async () => {
    const { digests, blobPath } = server.ollama("library/m", [["model", gguf]]);
    const theirs = machine.path(".ollama/models/blobs", `sha256-${digests[0]}`);
    writeFileSync(theirs, gguf);
    await pull("m");
    expect(server.of(blobPath(0))).toEqual([]);
    expect(statSync(join(root, "blobs", `sha256-${digests[0]}`)).ino).toBe(statSync(theirs).ino);
    rmSync(root, { recursive: true });
    rmSync(theirs);
    writeFileSync(
      theirs,
      gguf.map((b) => b ^ 1),
    );
    await pull("m");
    expect(server.of(blobPath(0)).length).toBe(1);
  });
});

describe("what goes wrong", () => {
  test("a wrong digest", async () => {
    const { blobPath } = server.ollama("library/m", [["model", gguf]]);
    server.on(blobPath(0), { body: gguf.map((b) => b ^ 1) });
    const error = await refused("m");
    expect(error.data?.ollama).toBe("digest mismatch, file must be downloaded again");
    expect(blobs()).toEqual([]);
    expect(installedModels({ env }).map((m) => m.name)).toEqual(["demo"]);
  });

  test("no room: said before anything is fetched; what is there already counts", async () => {
    const { blobPath } = server.ollama("library/m", [["model", gguf]]);
    const error = await refused("m", { freeBytes: () => 64 * 2 ** 20 + 1000 });
    expect(error.code).toBe("io_error");
    expect(error.message).toMatch(/^m:latest needs \S+ kB more, and .* has room for 67\.1 MB$/);
    expect(error.hint).toContain("ALLOY_MODELS");
    expect(server.of(blobPath(0))).toEqual([]);
    await pull("m");
    await pull("m", { freeBytes: () => 0 });
  });

  test.skipIf(!CAN_MOUNT)("a disk that fills up in the middle (skipped: cannot mount a small one here)", async () => {
    const small = machine.path("small/x");
    mkdirSync(dirname(small), { recursive: true });
    if (!Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=256k", "none", dirname(small)], { stderr: "ignore" }).success) return;
    try {
      const big = new Uint8Array(1_000_000).fill(7);
      server.ollama("library/m", [["model", big]]);
      const onSmall = { env: { ...env, ALLOY_MODELS: dirname(small) }, freeBytes: () => 1e12 };
      const error = await refused("m", onSmall);
      expect([error.code, error.message]).toEqual(["io_error", expect.stringContaining("the disk is full: ")]);
      expect(error.hint).toContain("what is here already is kept");
    } finally {
      Bun.spawnSync(["umount", dirname(small)]);
    }
  });

  test("a store that cannot be written", async () => {
    server.ollama("library/m", [["model", gguf]]);
    writeFileSync(machine.path("file"), "");
    const error = await refused("m", { env: { ...env, ALLOY_MODELS: join(machine.root, "file/models") } });
    expect(error.code).toBe("io_error");
  });

  test("somebody who gives up stops the download, and the next pull goes on", async () => {
    const big = new Uint8Array(600_000).map((_, i) => i);
    const { blobPath } = server.ollama("library/m", [["model", big]]);
    server.fault = () => ({ slowMs: 20 });
    const stop = new AbortController();
    const reason = new AlloyError("cancelled", "gone");
    const onEvent = (e: PullEvent) => (e.completed ?? 0) > 0 && stop.abort(reason);
    expect(await refused("m", { signal: stop.signal, onEvent, download: { connections: 1 } })).toBe(reason);
    expect(blobs().some((f) => f.endsWith(".partial"))).toBe(true);
    expect(blobs().some((f) => f.endsWith(".lock"))).toBe(false);
    server.fault = () => undefined;
    await pull("m");
    expect(server.of(blobPath(0)).at(-1)!.headers.range).toMatch(/^bytes=[1-9]/);
  });
});

describe("several at once", () => {
  const big = new Uint8Array(400_000).map((_, i) => i * 7);

  test("two pulls of one model in one program share the download; one that leaves does not stop the other", async () => {
    const { blobPath } = server.ollama("library/m", [["model", big]]);
    server.fault = (seen) => (seen.path === blobPath(0) ? { slowMs: 5 } : undefined);
    const stop = new AbortController();
    const first = pull("m", { signal: stop.signal }).catch((e: unknown) => e);
    await until(() => server.of(blobPath(0)).length === 1, "the first one downloads");
    const second = pull("m");
    await until(() => server.sent > 50_000, "something came");
    const reason = new AlloyError("cancelled", "gone");
    stop.abort(reason);
    expect(await first).toBe(reason);
    expect((await second).statuses.at(-1)).toBe("success");
    expect(server.of(blobPath(0)).length).toBe(1);
  });

  test("another program's download is waited for, with its progress; kill -9 leaves it to the next", async () => {
    const { blobPath } = server.ollama("library/m", [["model", big]]);
    let slowMs = 80;
    server.fault = (seen) => (seen.path === blobPath(0) ? { slowMs } : undefined);
    const child = spawnPull("m");
    try {
      await until(() => existsSync(join(root, "blobs", `sha256-${sha256(big)}.partial.json`)), "the other program has written its journal");
      let seen = 0;
      const mine = pull("m", { onEvent: ({ completed = 0 }) => void (seen ||= completed) });
      await until(() => seen > 0, "its progress is seen here");
      expect(seen).toBeLessThan(big.byteLength);
      expect(server.of(blobPath(0)).length).toBe(1);
      child.kill("SIGKILL");
      slowMs = 0;
      await mine;
      expect(server.of(blobPath(0))[1].headers.range).toMatch(/^bytes=[1-9]/);
      expect(readFileSync((await resolved("m")).path).equals(big)).toBe(true);
    } finally {
      child.kill("SIGKILL");
      await child.exited;
    }
  }, 120_000);

  function spawnPull(name: string) {
    const script = `import { pullModel } from ${JSON.stringify(join(import.meta.dir, "../../src/hub/pull/pull.ts"))}; await pullModel(${JSON.stringify(name)});`;
    return Bun.spawn([process.execPath, "-e", script], { env: { ...process.env, ...env }, stdout: "ignore", stderr: "inherit" });
  }
});

describe("Hugging Face", () => {
  const large = (n: number) => new Uint8Array(2000).fill(n);

  test("a quantization of a GGUF repository, by every way to write its name", async () => {
    server.repository("org/Tiny-GGUF", {
      "README.md": Buffer.from("hi"),
      "Tiny-Q4_K_M.gguf": gguf,
      "Tiny-Q8_0.gguf": large(8),
      "mmproj-F16.gguf": large(1),
    });
    expect((await pull("hf.co/org/Tiny-GGUF:q8_0")).name).toBe("hf.co/org/Tiny-GGUF:q8_0");
    expect((await pull("ORG/Tiny-GGUF:Q8_0")).name).toBe("hf.co/org/Tiny-GGUF:q8_0");
    expect((await pull("https://huggingface.co/org/Tiny-GGUF")).name).toBe("hf.co/org/Tiny-GGUF:latest");
    const q4 = join(root, "blobs", `sha256-${sha256(gguf)}`);
    expect(await resolved("hf.co/org/Tiny-GGUF")).toMatchObject({ name: "hf.co/org/Tiny-GGUF:latest", path: q4, source: "alloy" });
    for (const name of ["org/tiny-gguf", "org/Tiny-GGUF:latest", "huggingface.co/org/Tiny-GGUF"])
      expect((await resolved(name)).path).toBe(q4);
    for (const name of ["org/Tiny-GGUF:Q8_0", "HF.CO/org/tiny-gguf:q8"]) expect((await resolved(name)).path).toContain(sha256(large(8)));
    expect((await resolved("org/Tiny-GGUF")).projector).toBeUndefined();
    const error = await refused("org/Tiny-GGUF:Q3_K_S");
    expect([error.code, error.message, error.hint]).toEqual([
      "model_not_found",
      'org/Tiny-GGUF is not to be had as "Q3_K_S"',
      "There are: Q4_K_M, Q8_0.",
    ]);
    await pull("org/Tiny-GGUF:Q4_K_M", { projector: true });
    expect((await resolved("org/Tiny-GGUF:Q4_K_M")).projector).toContain(sha256(large(1)));
  });

  test("all parts of a split one, under their names", async () => {
    const names = ["big-Q4_0-00001-of-00002.gguf", "big-Q4_0-00002-of-00002.gguf"];
    server.repository("org/Big-GGUF", Object.fromEntries(names.map((n, i) => [`Q4_0/${n}`, large(i)])));
    const { statuses } = await pull("org/Big-GGUF:Q4_0");
    expect(statuses).toContain(`pulling ${sha256(large(1)).slice(0, 12)}`);
    const { path, digest } = await resolved("org/Big-GGUF");
    expect(path).toBe(join(root, "views", digest!, names[0]));
    expect(names.map((n) => readFileSync(join(dirname(path), n))[0])).toEqual([0, 1]);
    expect(readlinkSync(path)).toStartWith("../../blobs/sha256-");
    server.repository("org/Half-GGUF", { [names[0]]: large(1) });
    expect((await refused("org/Half-GGUF")).message).toContain(`not its other part ${names[1]}`);
  });

  test("a checkpoint with its configuration and tokenizer, and nothing else", async () => {
    const folder = join(FIXTURES, "qwen2/tiny/hf");
    const files = Object.fromEntries(readdirSync(folder).map((f) => [f, readFileSync(join(folder, f))]));
    server.repository("Qwen/tiny", {
      ...files,
      "README.md": Buffer.from("x"),
      "pytorch_model.bin": large(3),
      "original/model.safetensors": large(4),
    });
    const { name, statuses } = await pull("Qwen/tiny");
    expect(name).toBe("hf.co/Qwen/tiny:latest");
    expect(statuses).toContain("pulling config.json");
    const model = await resolved("Qwen/tiny");
    expect(model.format).toBe("huggingface");
    expect(readdirSync(model.path).toSorted()).toEqual(
      Object.keys(files)
        .filter((f) => CHECKPOINT_FILES.test(f))
        .toSorted(),
    );
    const opened = openModel(model.path);
    expect(opened.tensors.size).toBeGreaterThan(10);
    opened.close();
    expect((await refused("Qwen/tiny:Q4_K_M")).message).toContain("has no GGUF files");
    server.repository("org/old", { "config.json": Buffer.from("{}"), "pytorch_model.bin": large(1) });
    expect((await refused("hf.co/org/old")).hint).toContain("pytorch_model.bin, which Alloy does not read");
  });

  test("a revision; the commit pins all files", async () => {
    server.repository("org/M-GGUF", { "m-Q8_0.gguf": large(1) }, { revision: "v1", commit: "1".repeat(40) });
    await pull("org/M-GGUF:Q8_0", { revision: "v1" });
    expect(server.requests.at(-1)!.path).toBe(`/org/M-GGUF/resolve/${"1".repeat(40)}/m-Q8_0.gguf`);
    server.on("/api/models/org/M-GGUF/revision/v9", { status: 404, headers: { "x-error-code": "RevisionNotFound" } });
    expect((await refused("org/M-GGUF", { revision: "v9" })).message).toBe("org/M-GGUF has no such revision");
  });

  test("gated and private models say what to do; the token goes to the hub alone", async () => {
    await using cdn = await StandIn.start();
    server.repository("org/Gated-GGUF", { "g-Q8_0.gguf": large(5) });
    const file = `/org/Gated-GGUF/resolve/${"c0ffee0".padEnd(40, "0")}/g-Q8_0.gguf`;
    server.on(file, (seen) =>
      seen.headers.authorization === "Bearer hf_x"
        ? { redirect: `${cdn.url}/x` }
        : { status: 401, headers: { "x-error-code": "GatedRepo" } },
    );
    cdn.on("/x", { body: large(5) });
    const error = await refused("org/Gated-GGUF");
    expect([error.code, error.message]).toEqual([
      "forbidden",
      `org/Gated-GGUF is only for people who accepted its terms (401 from ${server.host})`,
    ]);
    expect(error.hint).toContain("then set HF_TOKEN");
    await pull("org/Gated-GGUF", { env: { ...env, HF_TOKEN: "hf_x" } });
    expect(cdn.requests.map((r) => r.headers.authorization)).toEqual([undefined]);
    server.on("/api/models/org/private/revision/main", { status: 401, headers: { "x-error-code": "RepoNotFound" } });
    const hidden = await refused("hf.co/org/private");
    expect(hidden.message).toContain("has no model org/private that everybody may read");
    expect(hidden.hint).toContain("HF_TOKEN");
  });

  test("a name that both places spell alike is looked for in both", async () => {
    server.repository("someone/mine", { "m-Q8_0.gguf": large(1) });
    expect((await pull("someone/mine")).name).toBe("hf.co/someone/mine:latest");
    expect(server.requests[0].path).toBe("/v2/someone/mine/manifests/latest");
    server.ollama("someone/mine", [["model", gguf]]);
    expect((await pull("someone/mine")).name).toBe("someone/mine:latest");
    server.ollama("Someone/X-GGUF", [["model", gguf]]);
    expect((await pull("Someone/X-GGUF")).name).toBe("Someone/X-GGUF:latest");
    const error = await refused("someone/else");
    expect(error.message).toBe(`neither ${server.host} nor ${server.host} has a model "someone/else"`);
  });

  test("pages of the tree are followed on the same server only; names that lead elsewhere are left out", async () => {
    const commit = "c0ffee0".padEnd(40, "0");
    const tree = `/api/models/org/P-GGUF/tree/${commit}`;
    server.repository("org/P-GGUF", { "p-Q8_0.gguf": large(1) });
    const entry = (path: string) => ({ type: "file", path, size: 3, oid: "0".repeat(40) });
    server.on("/page2", {
      body: Buffer.from(JSON.stringify([entry("p-Q4_0.gguf"), entry("../../../evil.gguf"), entry("/abs.gguf"), { type: "file" }, 5])),
    });
    server.json(tree, [entry("p-Q5_0.gguf")], { link: `<${server.url}/page2>; rel="next"` });
    expect((await refused("org/P-GGUF:Q2_K")).hint).toBe("There are: Q5_0, Q4_0.");
    server.json(tree, [entry("p-Q5_0.gguf")], { link: `<http://127.0.0.1:1/page2>; rel="next"` });
    expect((await refused("org/P-GGUF:Q2_K")).hint).toBe("There are: Q5_0.");
  });

  test("what the Hugging Face cache has is taken from there", async () => {
    server.repository("org/C-GGUF", { "c-Q8_0.gguf": large(9) });
    const cached = machine.path(".cache/huggingface/hub/models--org--C-GGUF/blobs", sha256(large(9)));
    writeFileSync(cached, large(9));
    await pull("org/C-GGUF");
    expect(server.requests.some((r) => r.path.includes("/resolve/"))).toBe(false);
    expect(statSync(realpathSync((await resolved("org/C-GGUF")).path)).ino).toBe(statSync(cached).ino);
  });
});
