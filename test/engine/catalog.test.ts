/** What requests may name, and what comes with a model from its file or store. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Catalog } from "../../src/engine/catalog.ts";
import { freeMemory } from "../../src/engine/free-memory.ts";
import { fileSampling, ollamaSampling, ollamaStops } from "../../src/engine/recommended.ts";
import type { ModelFile } from "../../src/formats/weights.ts";
import { errorOf } from "./fakes.ts";

const DEMO = join(import.meta.dir, "../../assets/alloy-demo-q8_0.gguf");
let work: string;
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "alloy-catalog-test-"));
  copyFileSync(DEMO, join(work, "mine.gguf"));
  copyFileSync(DEMO, join(work, "demo.gguf"));
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

test("a file given by path goes by its name; requests cannot name other files", async () => {
  const path = join(work, "mine.gguf");
  const catalog = await Catalog.open(["demo", path]);
  const [first, ...others] = await catalog.list();
  expect(first).toMatchObject({ name: "mine", path });
  expect(others.map((m) => m.name)).toContain("demo");
  for (const name of [path, "mine", "MINE:latest"]) expect((await catalog.info(name)).path).toBe(path);
  expect((await catalog.info("demo")).name).toBe("demo");
  const hidden = await errorOf(catalog.info(join(work, "demo.gguf")));
  expect(hidden.code).toBe("model_not_found");
  expect((await errorOf(Catalog.open([join(work, "nothing.gguf")]))).code).toBe("model_not_found");
});

test("a file's name goes before an installed model's", async () => {
  const path = join(work, "demo.gguf");
  const catalog = await Catalog.open([path]);
  expect((await catalog.list()).filter((m) => m.name === "demo").map((m) => m.path)).toEqual([path]);
  expect((await catalog.info("demo")).path).toBe(path);
});

test("recommended sampling comes from metadata, generation_config.json and Ollama's parameters; nonsense is left out", () => {
  const base = { format: "gguf", path: "x", tensors: new Map(), fileBytes: 0, close() {} } as const;
  const gguf: ModelFile = {
    ...base,
    metadata: new Map<string, number | string>([
      ["general.sampling.temp", 0.6],
      ["general.sampling.top_k", 20],
      ["general.sampling.min_p", "high"],
    ]),
  };
  expect(fileSampling(gguf)).toEqual({ temperature: 0.6, topK: 20 });
  const generation = { temperature: 0.7, top_p: 0.8, repetition_penalty: 1.05, top_k: null, eos_token_id: 3 };
  expect(fileSampling({ ...base, metadata: new Map(), config: { config: {}, generation } })).toEqual({
    temperature: 0.7,
    topP: 0.8,
    repeatPenalty: 1.05,
  });
  const params = { temperature: 0.1, repeat_last_n: -1, num_ctx: 8192, stop: ["</s>", "", 3], seed: NaN };
  expect(ollamaSampling(params)).toEqual({ temperature: 0.1, repeatLastN: -1 });
  expect(ollamaStops(params)).toEqual(["</s>"]);
  expect(ollamaStops({ stop: "END" })).toEqual(["END"]);
  expect(ollamaStops()).toEqual([]);
});

test("free memory is between nothing and all there is", () => {
  expect(freeMemory()).toBeWithin(2 ** 20, 2 ** 50);
});
