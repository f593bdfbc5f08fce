/** A small model file whose matrices are packed, and weights of it with a cache: shared by the tests and the processes that they start. */
import { kernelsFor } from "../../kernels/choice.ts";
import { openModel } from "../../src/formats/open.ts";
import { type GgufTensor, writeGguf } from "../../src/formats/gguf-write.ts";
import { quantize } from "../../src/formats/quant/table.ts";
import type { CacheSettings } from "../../src/graph/packed-cache.ts";
import { WeightStore } from "../../src/graph/weights.ts";
import type { Device } from "../../src/runtime/device.ts";

export const NAMES = ["a.weight", "b.weight", "c.weight"] as const;
const TYPES = ["q8_0", "q4_k", "q6_k"] as const;

/** Three matrices [256, 1024], every value from the seed. */
export function writeModel(path: string, seed: number): void {
  const tensors = NAMES.map((name, i): GgufTensor => {
    let state = (seed * 7919 + i) >>> 0;
    const values = Float32Array.from({ length: 256 * 1024 }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state / 2 ** 31 - 1;
    });
    return { name, type: TYPES[i], shape: [256, 1024], data: quantize(TYPES[i], values) };
  });
  writeGguf(path, { metadata: { "general.architecture": "none" }, tensors });
}

export interface Loaded {
  weights: WeightStore;
  /** Hash of each packed matrix. */
  hashes: string[];
  /** How many came from the cache. */
  mapped: number;
  close(): void;
}

export function load(device: Device, path: string, settings: CacheSettings): Loaded {
  const file = openModel(path);
  const weights = new WeightStore(device, kernelsFor(device.properties, "cpu"), file, false);
  const refs = NAMES.map((name) => ({ name }));
  weights.openCache(refs, settings);
  const hashes = refs.map((ref) => {
    const { buffer } = weights.matrix(ref);
    return new Bun.CryptoHasher("sha256").update(buffer.view()).digest("hex");
  });
  return {
    weights,
    hashes,
    mapped: weights.cachedCount,
    close() {
      weights.free();
      file.close();
    },
  };
}
