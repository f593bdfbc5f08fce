/** Ways to store keys and values, and copies of blocks: golden checkpoints, computed in float32 but for the cache. */
import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { kvBytes, KV_TYPES, type KvType } from "../../kernels/kv-cache.ts";
import { openModel } from "../../src/formats/open.ts";
import { evaluate, GREEDY } from "../../src/models/evaluate.ts";
import { loadRunner } from "../../src/models/runner.ts";
import { createDevice } from "../../src/runtime/index.ts";
import { ggufOf, maxError, reference } from "./golden.ts";

// Kernels that no library holds are compiled when they are first used.
setDefaultTimeout(120_000);
const device = createDevice("cpu", { threads: 2 });
afterAll(() => device.close());

const load = (name: string, kvType: KvType, kvTokens = 256) =>
  loadRunner(openModel(ggufOf(name)), { device, contextLength: 160, kvTokens, maxBatchTokens: 128, precision: "exact", kvType });

/**
 * Largest error of a logit, as part of the largest logit. These models' random weights let every rounding show: q8_0 rounds to 1/254 of a
 * group's largest value, f16 to 1/2048.
 */
const WITHIN: Record<KvType, number> = { f32: 1e-5, f16: 1.5e-3, q8_0: 0.03 };

describe.each([...KV_TYPES])("%s", (kvType) => {
  // Grouped heads of 16; more layers, norms of q and k; a fused projection with learned positions.
  for (const name of ["llama/tiny", "qwen3/tiny", "gpt2/tiny"]) {
    test(`${name}: logits of whole prompts and of pieces`, async () => {
      const runner = await load(name, kvType);
      for (const p of await reference(name)) {
        const largest = Math.max(...p.logits.map(Math.abs));
        for (const pieces of [undefined, [5, 1, 16]]) {
          const { logits } = await evaluate(runner, p.ids, 1, pieces);
          expect(maxError(logits, p.logits) / largest).toBeLessThan(WITHIN[kvType]);
        }
      }
      runner.close();
    });
  }

  test("a copied block is as good as the one it was copied from", async () => {
    const runner = await load("llama/tiny", kvType);
    const ids = Int32Array.from({ length: 40 }, (_, i) => (i * 37) % 100);
    const feed = async (tokens: Int32Array, start: number, block: number) => {
      const step = { tokens, start, blocks: Int32Array.of(block), outputs: "last" as const, sampling: GREEDY };
      return (await runner.step([step])).logits(0).slice();
    };
    await feed(ids.subarray(0, 30), 0, 1);
    runner.copyBlock(1, 3);
    // What becomes of the copy does not touch the original.
    await feed(
      Int32Array.from({ length: 5 }, () => 7),
      30,
      3,
    );
    const original = await feed(ids.subarray(30), 30, 1);
    expect(await feed(ids.subarray(30), 30, 3)).toEqual(original);
    runner.close();
  });
});

test("bytes of a cache: q8_0 has two of scales beside up to 32 of values", async () => {
  const bytes: number[] = [];
  for (const type of KV_TYPES) {
    const [small, large] = [await load("llama/tiny", type, 256), await load("llama/tiny", type, 256 + 6400)];
    bytes.push(large.memoryBytes - small.memoryBytes);
    small.close();
    large.close();
  }
  const [f16, f32, q8] = bytes;
  expect(f32 / f16).toBe(2);
  // Heads of 16.
  expect(q8 / f16).toBe(18 / 32);
  expect(kvBytes("q8_0", 128) / kvBytes("f16", 128)).toBe(17 / 32);
});
