/** Golden checkpoints: logits and greedy tokens of transformers and llama.cpp, through our kernels, graph and cache. */
import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { openModel } from "../../src/formats/open.ts";
import { evaluate } from "../../src/models/evaluate.ts";
import { loadRunner } from "../../src/models/runner.ts";
import { createDevice } from "../../src/runtime/index.ts";
import { dequantised, ggufOf, GOLDEN, maxError, reference, ROOT } from "./golden.ts";

// Kernels that no library holds are compiled when they are first used.
setDefaultTimeout(120_000);
const device = createDevice("cpu", { threads: 2 });
afterAll(() => device.close());

const load = (path: string, precision: "exact" | "fast") =>
  loadRunner(openModel(path), { device, contextLength: 160, kvTokens: 256, maxBatchTokens: 128, precision, kvType: "f32" });

const FEEDS: Record<string, number[] | undefined> = {
  "whole prompt": undefined,
  "one at a time": Array.from({ length: 128 }, () => 1),
  "pieces of 5, 1, 16 and the rest": [5, 1, 16],
};

/** This GGUF holds less than the folder: the converter has no key for Mistral's sliding window. */
const GGUF_DIFFERS = new Set(["mistral/tiny"]);

for (const name of GOLDEN) {
  for (const [form, path] of [
    ["folder", join(ROOT, name, "hf")],
    ["gguf", ggufOf(name)],
  ] as const) {
    if (form === "gguf" && GGUF_DIFFERS.has(name)) continue;
    describe(`${name} ${form}`, () => {
      for (const [feed, pieces] of Object.entries(FEEDS)) {
        // Long factors apply from the length on at which they are needed: feeding in pieces caches keys with the short ones.
        if (name === "phi3/longrope" && pieces) continue;
        test(feed, async () => {
          const prompts = await reference(name);
          const runner = await load(path, "exact");
          for (const p of prompts) {
            const { logits, greedy } = await evaluate(runner, p.ids, p.greedy.length, pieces);
            const tokens = p.ids.length;
            expect({ tokens, within: maxError(logits, p.logits) < 1e-4 }).toEqual({ tokens, within: true });
            expect(greedy).toEqual(p.greedy);
          }
          runner.close();
        });
      }
    });
  }
}

describe("qwen3/kq, quantised", () => {
  for (const type of ["q8_0", "q4_k_m", "q4_0"]) {
    const path = join(ROOT, "qwen3/kq", `model-${type}.gguf`);
    test(`${type}: dequantised to float32`, async () => {
      const runner = await load(path, "exact");
      for (const p of await dequantised(type)) {
        const { logits, greedy } = await evaluate(runner, p.ids, p.greedy.length);
        expect(maxError(logits, p.logits)).toBeLessThan(1e-3);
        expect(greedy).toEqual(p.greedy);
      }
      runner.close();
    });
    test(`${type}: int8 activations err no more than llama.cpp's do`, async () => {
      const runner = await load(path, "fast");
      for (const p of await dequantised(type)) {
        const { logits } = await evaluate(runner, p.ids, 1);
        // Random weights make the rounding of activations show: the notes give 0.42 as llama.cpp's largest difference.
        expect(maxError(logits, p.logits)).toBeLessThan(0.45);
      }
      runner.close();
    });
  }
});
