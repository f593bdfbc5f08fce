/** Copying, making and deleting models in Alloy's own store, and what stays untouched in others. */
import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { openModel } from "../../src/formats/open.ts";
import { modelInfo } from "../../src/hub/info.ts";
import { installedModels } from "../../src/hub/resolve.ts";
import { keepBlobs, putBlob } from "../../src/hub/store/blobs.ts";
import { copyModel, createModel, type CreateRequest } from "../../src/hub/store/create.ts";
import { removeModel, removeUnfinished } from "../../src/hub/store/remove.ts";
import { overridingTemplate } from "../../src/hub/template.ts";
import { receiveBlob } from "../../src/hub/store/upload.ts";
import { AlloyError } from "../../src/support/errors.ts";
import { tryLock } from "../../src/support/lock.ts";
import { Machine } from "./machine.ts";
import { sha256 } from "./stand-in.ts";

// Machines that run tests are busy.
setDefaultTimeout(120_000);

const FIXTURES = join(import.meta.dir, "../fixtures/golden");

let machine: Machine;
let env: Record<string, string>;
let root: string;
beforeEach(() => {
  machine = new Machine();
  ({ env } = machine);
  root = join(machine.root, ".alloy/models");
});
afterEach(() => machine[Symbol.dispose]());

const create = (request: CreateRequest) => createModel(request, { env });
const copy = (from: string, to: string) => copyModel(from, to, { env });
const remove = (name: string) => removeModel(name, { env });
const resolved = (name: string) => machine.resolve(name, false);
const names = () => installedModels({ env }).map((m) => m.name);
const blobs = () => readdirSync(join(root, "blobs")).toSorted();
const errorOf = (promise: Promise<unknown>): Promise<AlloyError> =>
  promise.then(
    () => Promise.reject(new Error("it did not fail")),
    (e: unknown) => (e instanceof AlloyError ? e : Promise.reject(e as Error)),
  );

describe("create", () => {
  test("from another model, with settings of its own that add to the other's", async () => {
    machine.gguf(machine.path(".alloy/models/base.gguf"), {
      "tokenizer.chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}",
    });
    const statuses: string[] = [];
    const request = {
      name: "mine:v1",
      from: "base",
      system: "Be brief.",
      parameters: { temperature: 0.2, stop: ["<x>"], num_ctx: 512 },
      messages: [{ role: "user", content: "hi" }],
      license: ["MIT", "also"],
    };
    expect(await createModel(request, { env, onStatus: (s) => void statuses.push(s) })).toBe("mine:v1");
    expect(statuses[0]).toBe("reading model metadata");
    expect(statuses.filter((s) => s.startsWith("using existing layer sha256:")).length).toBe(1);
    expect(statuses.filter((s) => s.startsWith("creating new layer sha256:")).length).toBe(5);
    expect(statuses.slice(-2)).toEqual(["writing manifest", "success"]);
    const info = modelInfo(await resolved("mine:v1"));
    expect(info.preset).toEqual({ system: "Be brief.", messages: request.messages, parameters: request.parameters });
    expect(info.license).toBe("MIT\nalso");

    await create({
      name: "mine:v2",
      from: "mine:v1",
      parameters: { temperature: 1 },
      template: "{% for m in messages %}<{{ m.role }}>{% endfor %}",
    });
    const second = modelInfo(await resolved("mine:v2"));
    expect(second.preset?.parameters).toEqual({ temperature: 1, stop: ["<x>"], num_ctx: 512 });
    expect(second.preset?.system).toBe("Be brief.");
    expect(second.template).toContain("<{{ m.role }}>");
    // The weights lie there once.
    expect((await resolved("mine:v2")).path).toBe((await resolved("mine:v1")).path);
    await create({ name: "mine:v3", from: "mine:v2", template: "{{ .Prompt }}" });
    expect(modelInfo(await resolved("mine:v3")).template).toBe("{{ .Prompt }}");
  });

  test("from uploaded files: one GGUF, its projector, the parts of one, a checkpoint", async () => {
    const gguf = readFileSync(machine.gguf(machine.path("m.gguf")));
    const put = (bytes: Uint8Array) => `sha256:${putBlob(root, bytes).digest}`;
    await create({ name: "one", files: { "m.gguf": put(gguf), "mmproj-F16.gguf": put(Buffer.from("GGUFprojector")) } });
    expect(await resolved("one")).toMatchObject({ format: "gguf", projector: expect.stringContaining("/blobs/") });
    await create({ name: "parts", files: { "m-00001-of-00002.gguf": put(gguf), "m-00002-of-00002.gguf": put(Buffer.from("GGUF2")) } });
    expect((await resolved("parts")).path).toEndWith("/m-00001-of-00002.gguf");
    const folder = join(FIXTURES, "qwen2/tiny/hf");
    const files = Object.fromEntries(readdirSync(folder).map((f) => [f, put(readFileSync(join(folder, f)))]));
    await create({ name: "folder", files });
    const model = openModel((await resolved("folder")).path);
    expect(model.format).toBe("huggingface");
    model.close();
  });

  test("what cannot be made says why", async () => {
    const gguf = `sha256:${putBlob(root, "GGUF").digest}`;
    const text = `sha256:${putBlob(root, "text").digest}`;
    const cases: [CreateRequest, string, string][] = [
      [{ name: "a/b/c/d", from: "demo" }, "invalid_value", "invalid model name"],
      [{ name: "../x", from: "demo" }, "invalid_value", "invalid model name"],
      [{ name: "x" }, "missing_parameter", "neither 'from' or 'files' was specified"],
      [{ name: "x", files: {} }, "invalid_value", "no files provided to convert"],
      [{ name: "x", files: { "m.gguf": "sha256:12" } }, "invalid_value", "invalid digest format"],
      [{ name: "x", files: { "../m.gguf": gguf } }, "invalid_value", "file path must be relative"],
      [{ name: "x", files: { "/m.gguf": gguf } }, "invalid_value", "file path must be relative"],
      [{ name: "x", files: { "m.gguf": text } }, "invalid_value", "supplied file was not in GGUF format"],
    ];
    for (const [request, code, ollama] of cases) {
      const error = await errorOf(create(request));
      expect([error.code, error.data?.ollama]).toEqual([code as never, ollama]);
    }
    expect((await errorOf(create({ name: "x", files: { "m.gguf": `sha256:${"a".repeat(64)}` } }))).hint).toContain("POST /api/blobs/");
    expect((await errorOf(create({ name: "x", from: "nothing" }))).code).toBe("model_not_found");
    expect((await errorOf(create({ name: "demo", from: "demo" }))).message).toContain("inside Alloy");
    expect(names()).toEqual(["demo"]);
  });
});

test("which template is rendered: a store's in Jinja, or one that somebody made a model with; else the file's own", () => {
  expect(overridingTemplate("{% if x %}{% endif %}")).toBe("{% if x %}{% endif %}");
  expect(overridingTemplate("{{ .Prompt }}")).toBeUndefined();
  expect(overridingTemplate("{{ .Prompt }}", true)).toBe("{{ .Prompt }}");
  expect(overridingTemplate(" ", true)).toBeUndefined();
});

describe("copy", () => {
  test("of an own model: the same digest; of others: linked or copied, and theirs is untouched", async () => {
    await create({ name: "a", from: "demo", system: "x" });
    expect(await copy("a", "b:two")).toBe("b:two");
    expect((await resolved("b:two")).digest).toBe((await resolved("a")).digest!);

    const theirs = machine.ollama("registry.ollama.ai/library/theirs/latest", [["system", "s"]]);
    await copy("theirs", "mine");
    expect(await resolved("mine")).toMatchObject({ source: "alloy", layers: { system: "s" } });
    expect((await resolved("theirs")).source).toBe("ollama");
    expect(statSync((await resolved("mine")).path).ino).toBe(statSync(theirs).ino);

    machine.repository("org/repo", ["m-Q8_0.gguf"]);
    await copy("org/repo", "hf-copy");
    expect((await resolved("hf-copy")).source).toBe("alloy");

    cpSync(join(FIXTURES, "qwen2/tiny/hf"), machine.path(".alloy/models/loose"), { recursive: true });
    await copy("loose", "kept");
    rmSync(join(root, "loose"), { recursive: true });
    openModel((await resolved("kept")).path).close();

    expect((await errorOf(copy("nothing", "x"))).code).toBe("model_not_found");
    expect((await errorOf(copy("a", "x y"))).data?.ollama).toBe('destination "x y" is invalid');
  });
});

describe("remove", () => {
  test("blobs that others share stay, the last one takes them; folders do not pile up", async () => {
    await create({ name: "a", from: "demo", system: "one" });
    await create({ name: "b", from: "a", system: "two" });
    const weights = (await resolved("a")).path;
    const { freed } = await remove("A");
    expect(freed).toBeLessThan(1000);
    expect(names()).toEqual(["b:latest", "demo"]);
    expect(existsSync(weights)).toBe(true);
    expect((await remove("b:latest")).freed).toBeGreaterThan(10_000_000);
    expect(blobs()).toEqual([]);
    expect(readdirSync(join(root, "manifests"))).toEqual([]);
    expect(readdirSync(join(root, "pending"))).toEqual([]);
  });

  test("a view goes with the last of its names", async () => {
    cpSync(join(FIXTURES, "qwen2/tiny/hf"), machine.path(".alloy/models/loose"), { recursive: true });
    await copy("loose", "a");
    await copy("a", "b");
    await remove("a");
    openModel((await resolved("b")).path).close();
    await remove("b");
    expect(readdirSync(join(root, "views"))).toEqual([]);
    expect(existsSync(join(root, "loose/config.json"))).toBe(true);
  });

  test("blobs that a pull counts on stay, also one of another program; those of a dead one do not", async () => {
    await create({ name: "a", from: "demo" });
    const weights = (await resolved("a")).path;
    const kept = await keepBlobs(root, [/sha256-(.*)$/.exec(weights)![1]]);
    await remove("a");
    expect(existsSync(weights)).toBe(true);
    kept.release();
    writeFileSync(join(root, "pending", "9-dead"), JSON.stringify([/sha256-(.*)$/.exec(weights)![1]]));
    await create({ name: "a", from: "demo" });
    await remove("a");
    expect(existsSync(weights)).toBe(false);
  });

  test("what is not in Alloy's store is not deleted, and the error says who can", async () => {
    const theirs = machine.ollama("registry.ollama.ai/library/theirs/latest");
    const snapshot = machine.repository("org/repo", ["m-Q8_0.gguf"]);
    for (const [name, hint] of [
      ["theirs", "Delete it with `ollama rm theirs:latest`."],
      ["org/repo", "Delete it with `hf cache rm model/org/repo`."],
      ["demo", "It takes no room beyond the program."],
    ]) {
      const error = await errorOf(remove(name));
      expect([error.code, error.hint]).toEqual(["forbidden", hint]);
    }
    expect([existsSync(theirs), existsSync(join(snapshot, "m-Q8_0.gguf"))]).toEqual([true, true]);
    expect((await errorOf(remove("nothing"))).code).toBe("model_not_found");
    expect((await errorOf(remove(machine.gguf(machine.path("x.gguf"))))).code).toBe("model_not_found");
  });

  test("files that somebody put into the store: all parts; of a link, the link", async () => {
    for (const part of ["1", "2"]) machine.gguf(machine.path(`.alloy/models/big-0000${part}-of-00002.gguf`));
    const outside = machine.gguf(machine.path("outside.gguf"));
    symlinkSync(outside, join(root, "linked.gguf"));
    await remove("big");
    await remove("linked");
    expect(readdirSync(root)).toEqual([]);
    expect(existsSync(outside)).toBe(true);
  });

  test("what unfinished downloads left, but not those under way", async () => {
    mkdirSync(join(root, "blobs"), { recursive: true });
    for (const name of ["a", "b"]) for (const end of ["", ".json"]) writeFileSync(join(root, "blobs", `sha256-${name}.partial${end}`), "x");
    const lock = tryLock(join(root, "blobs", "sha256-b.partial.lock"))!;
    expect((await removeUnfinished({ env })).files).toBe(1);
    expect(blobs().filter((f) => f.endsWith(".partial"))).toEqual(["sha256-b.partial"]);
    lock.release();
    expect((await removeUnfinished({ env })).files).toBe(1);
    expect(blobs()).toEqual([]);

    // Blobs without a model: old ones go, unless a model has them.
    await create({ name: "a", from: "demo", system: "kept" });
    const [lost, fresh] = ["lost", "fresh"].map((text) => putBlob(root, text).digest);
    for (const name of blobs()) if (!name.includes(fresh)) utimesSync(join(root, "blobs", name), 1, 1);
    expect(await removeUnfinished({ env })).toEqual({ files: 1, freed: 4 });
    expect(blobs()).not.toContain(`sha256-${lost}`);
    expect(blobs()).toContain(`sha256-${fresh}`);
    expect((await resolved("a")).layers?.system).toBe("kept");
  });
});

test("uploads are checked while they come, and leave nothing when they are wrong or cut", async () => {
  const pieces = async function* (...texts: string[]) {
    for (const text of texts) yield Buffer.from(text);
  };
  await receiveBlob(root, sha256("hello"), pieces("hel", "lo"), 5);
  expect(readFileSync(join(root, "blobs", `sha256-${sha256("hello")}`), "utf8")).toBe("hello");
  const error = await errorOf(receiveBlob(root, sha256("other"), pieces("x")));
  expect(error.message).toBe(`digest mismatch, expected "sha256:${sha256("other")}", got "sha256:${sha256("x")}"`);
  const cut = async function* () {
    yield Buffer.from("x");
    throw new Error("gone");
  };
  await receiveBlob(root, sha256("cut"), cut()).catch((e: Error) => expect(e.message).toBe("gone"));
  expect((await errorOf(receiveBlob(root, sha256("big"), pieces("x"), 1e18))).message).toContain("has room for");
  expect(blobs()).toEqual([`sha256-${sha256("hello")}`]);
});

test("a store that is Ollama's too, because the user said so, is written to", async () => {
  env = { ...env, ALLOY_MODELS: join(machine.root, ".ollama/models") };
  machine.ollama("registry.ollama.ai/library/theirs/latest");
  expect((await removeModel("theirs", { env })).name).toBe("theirs:latest");
  expect(installedModels({ env }).map((m) => m.name)).toEqual(["demo"]);
});
