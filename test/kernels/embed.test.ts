/** Embedding and whole-tensor decoding of every type against the reference codecs. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { dequantize, quantize } from "../../src/formats/quant/table.ts";
import type { TensorType } from "../../src/formats/weights.ts";
import { QUANTISED_TYPES } from "../../kernels/families.ts";
import { dequantDispatches, embedDispatches } from "../../kernels/linear-api.ts";
import { createCpuDevice } from "../../src/runtime/cpu/device.ts";
import { deviceRunner, interpreterRunner, random, type Runner, SEED, uniform } from "./runners.ts";

// Without the ahead-of-time library every kernel is compiled when it is first used.
setDefaultTimeout(120_000);

const TYPES: TensorType[] = ["f32", "f16", "bf16", ...QUANTISED_TYPES];

function check(r: Runner, type: TensorType, k: number): void {
  const n = 7;
  const stored = quantize(type, uniform(random(SEED), n * k));
  const weights = dequantize(type, stored, n * k);
  const near = (got: Float32Array, want: (i: number) => number): void => {
    for (let i = 0; i < got.length; i++) {
      if (Math.abs(got[i] - want(i)) > 1e-6) expect(`${type} value ${i}: ${got[i]}`).toBe(`${type} value ${i}: ${want(i)}`);
    }
  };
  const src = r.buffer(stored);
  const all = r.buffer(n * k * 4);
  r.run(dequantDispatches(r.ctx, { type, n, k, src, dst: all }));
  near(new Float32Array(all.view(0, n * k * 4).slice().buffer), (i) => weights[i]);
  const ids = Int32Array.of(3, 0, n - 1, 3);
  const y = r.buffer(ids.length * k * 4);
  r.run(embedDispatches(r.ctx, { type, n, k, buffer: src, ids: r.buffer(ids), y, T: ids.length, scale: 0.5 }));
  near(new Float32Array(y.view(0, ids.length * k * 4).slice().buffer), (i) => weights[ids[Math.floor(i / k)] * k + (i % k)] * 0.5);
}

describe("interpreter", () => {
  const r = interpreterRunner();
  for (const type of TYPES) test(type, () => check(r, type, 256));
});

describe("cpu", () => {
  let device: ReturnType<typeof createCpuDevice>;
  let r: Runner;
  beforeAll(() => {
    device = createCpuDevice();
    r = deviceRunner(device);
  });
  afterAll(() => device.close());
  for (const type of TYPES) test(type, () => [256, 512, 768].forEach((k) => check(r, type, k)));
  for (const type of ["q8_0", "q4_1", "mxfp4", "f16"] as const) test(`${type}: 96 columns`, () => check(r, type, 96));
});
