/**
 * Golden checkpoints through the kernels that GPUs use, run on the CPU: that kernels, cache layout and graph fit together needs no GPU.
 * The same models on Metal: ./metal.test.ts.
 */
import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { openModel } from "../../src/formats/open.ts";
import type { RunnerOptions } from "../../src/models/api.ts";
import { evaluate } from "../../src/models/evaluate.ts";
import { loadRunner } from "../../src/models/runner.ts";
import { createDevice } from "../../src/runtime/index.ts";
import { dequantised, maxError, reference, ROOT } from "./golden.ts";

// Kernels that no library holds are compiled when they are first used.
setDefaultTimeout(240_000);
const device = createDevice("cpu", { threads: 2 });
afterAll(() => device.close());

const load = (path: string, o: Pick<RunnerOptions, "precision" | "kvType">) =>
  loadRunner(openModel(join(ROOT, path)), { device, kernels: "gpu", contextLength: 160, kvTokens: 256, maxBatchTokens: 128, ...o });

/** Whole prompts go through the prefill kernels, pieces through both, the continuation through those of decode. */
const FEEDS: Record<string, number[] | undefined> = { "whole prompt": undefined, "pieces of 1, 5 and the rest": [1, 5] };

/** Each brings kernels that the others do not: the rest run on Metal's stand-in only. */
const MODELS = ["llama/tiny", "mistral/tiny", "gpt2/tiny"] as const;

describe("float32 throughout", () => {
  for (const name of MODELS) {
    test(name, async () => {
      const prompts = await reference(name);
      const runner = await load(`${name}/hf`, { precision: "exact", kvType: "f32" });
      for (const [feed, pieces] of Object.entries(FEEDS)) {
        for (const p of prompts) {
          const { logits, greedy } = await evaluate(runner, p.ids, p.greedy.length, pieces);
          expect({ feed, within: maxError(logits, p.logits) < 1e-4 }).toEqual({ feed, within: true });
          expect(greedy).toEqual(p.greedy);
        }
      }
      runner.close();
    });
  }
});

describe("quantised weights in place, f16 cache", () => {
  for (const type of ["q4_k_m"]) {
    test(type, async () => {
      const prompts = await dequantised(type);
      const runner = await load(`qwen3/kq/model-${type}.gguf`, { precision: "fast", kvType: "f16" });
      let worst = 0;
      for (const pieces of Object.values(FEEDS)) {
        for (const p of prompts) worst = Math.max(worst, maxError((await evaluate(runner, p.ids, 1, pieces)).logits, p.logits));
      }
      console.log(`${type}: logits within ${worst.toExponential(1)} of float32's`);
      // Activations, weights and cache are f16 where tiles are multiplied: 2^-11 per factor, through all layers of a model of random
      // weights. int8 activations, the CPU's way, err by up to 0.42 here.
      expect(worst).toBeLessThan(0.03);
      runner.close();
    });
  }
});
