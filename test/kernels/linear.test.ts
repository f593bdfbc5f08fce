/** Packing and the integer and float matmuls: every type against the reference codecs and a float64 product. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { dequantize, quantize } from "../../src/formats/quant/table.ts";
import type { TensorType } from "../../src/formats/weights.ts";
import { QUANTISED_TYPES } from "../../kernels/families.ts";
import type { KernelSet } from "../../kernels/api.ts";
import { cpuKernels, cpuKernelsFor } from "../../kernels/cpu.ts";
import { gpuKernels, gpuKernelsOnCpu } from "../../kernels/gpu/index.ts";
import { MATVEC_TOKENS } from "../../kernels/gpu/matvec.ts";
import { packDispatches, packedLayout } from "../../kernels/linear-api.ts";
import { createCpuDevice } from "../../src/runtime/cpu/device.ts";
import { deviceRunner, interpreterRunner, random, type Runner, SEED, uniform } from "./runners.ts";

interface Case {
  type: TensorType;
  n: number;
  k: number;
  t: number;
  bias?: boolean;
  residual?: boolean;
  yOffset?: number;
  /** Activations at their peak, and weights in each row at one end: the largest sums there are. */
  extreme?: boolean;
}

/** What llama.cpp's Q8_0 makes of activations, or for k types its Q8_K, as numbers: round(x * 127 / max) * max / 127 per 32 or 256. */
function roundActivations(x: Float32Array, span: number): Float64Array {
  const out = new Float64Array(x.length);
  for (let i = 0; i < x.length; i += span) {
    let peak = 0;
    for (let j = i; j < i + span; j++) peak = Math.max(peak, Math.abs(x[j]));
    const inverse = peak > 0 ? Math.fround(127 / peak) : 0;
    const d = Math.fround(peak / 127);
    for (let j = i; j < i + span; j++) {
      const v = Math.fround(x[j] * inverse);
      const r = Math.round(v);
      out[j] = d * (Math.abs(v % 1) === 0.5 && r % 2 !== 0 ? r - 1 : r);
    }
  }
  return out;
}

/** Checks a product of a kernel set; errors are relative to the sum of the products' sizes. */
function check(r: Runner, c: Case, seed: number, set: KernelSet = cpuKernels): void {
  const next = random(seed);
  const { type, n, k, t } = c;
  const given = uniform(next, n * k);
  if (c.extreme) given.forEach((_, i) => (given[i] = i % 32 === 0 ? 0 : Math.floor(i / k) % 2 ? 1 : -1));
  const stored = quantize(type, given);
  const weights = dequantize(type, stored, n * k);
  const x = uniform(next, t * k, 4);
  if (c.extreme) x.fill(4);
  // An all-zero block has no scale.
  else x.fill(0, 0, seed % 2 === 0 ? 32 : 256);
  const yOffset = c.yOffset ?? 0;
  const yStride = n + yOffset + 3;
  const start = uniform(next, t * yStride);
  const bias = c.bias ? uniform(next, n) : undefined;
  const layout = packedLayout(type, n, k);
  const span = set.packs({ type, n, k });
  const xb = r.buffer(x);
  const src = r.buffer(stored);
  const y = r.buffer(start);
  let w = src;
  let xq;
  if (span !== 0) {
    w = r.buffer(layout.bytes);
    r.run(packDispatches(r.ctx, { type, n, k, src, dst: w }));
    xq = r.buffer(set.quantizedBytes(t, k));
    r.run(set.quantize(r.ctx, { x: xb, xq, T: t, maxT: t, k, span, rows: "T" }));
  }
  r.run(
    set.linear(r.ctx, {
      type,
      n,
      k,
      w,
      x: xb,
      xq,
      y,
      yStride,
      yOffset,
      T: t,
      maxT: t,
      rows: "T",
      bias: bias && r.buffer(bias),
      residual: c.residual ? y : undefined,
    }),
  );
  const got = new Float32Array(y.view(0, start.byteLength).slice().buffer);
  const xr = span > 0 ? roundActivations(x, span) : x;
  let worst = 0;
  for (let m = 0; m < t; m++) {
    for (let i = 0; i < yStride; i++) {
      const at = m * yStride + i;
      const row = i - yOffset;
      if (row < 0 || row >= n) {
        expect(got[at]).toBe(start[at]);
        continue;
      }
      let sum = bias ? bias[row] : 0;
      if (c.residual) sum += start[at];
      let size = Math.abs(sum);
      for (let j = 0; j < k; j++) {
        const p = weights[row * k + j] * xr[m * k + j];
        sum += p;
        size += Math.abs(p);
      }
      worst = Math.max(worst, Math.abs(got[at] - sum) / (size + 1e-9));
    }
  }
  // Tiles of matrix units multiply f16: each factor is rounded by 2^-11 at most.
  const half = set.name === "gpu" && t > MATVEC_TOKENS && type !== "f32" && type !== "bf16";
  expect(worst).toBeLessThan(half ? 1e-3 : 2e-6);
}

// Without the ahead-of-time library every kernel is compiled when it is first used.
setDefaultTimeout(120_000);

const TYPES: TensorType[] = ["f32", "f16", "bf16", ...QUANTISED_TYPES];

describe("interpreter", () => {
  const r = interpreterRunner();
  for (const type of TYPES) {
    test(`${type}: 19 rows, 256 columns, 3 tokens`, () => check(r, { type, n: 19, k: 256, t: 3, yOffset: 5, bias: true }, SEED));
  }
  test("q8_0: one column block, one token", () => check(r, { type: "q8_0", n: 1, k: 32, t: 1 }, SEED));
  test("f16: columns that are no whole vector", () => check(r, { type: "f16", n: 3, k: 37, t: 2 }, SEED));
});

describe("GPU kernels on the interpreter", () => {
  const r = interpreterRunner();
  for (const type of TYPES) {
    test(type, () => {
      check(r, { type, n: 5, k: 256, t: 3, yOffset: 5, bias: true }, SEED, gpuKernels);
      check(r, { type, n: 19, k: 256, t: 9, residual: true }, SEED, gpuKernels);
    });
  }
  test("float columns that are no whole step", () => {
    for (const t of [2, 10]) check(r, { type: "f16", n: 3, k: 37, t }, SEED, gpuKernels);
    check(r, { type: "f32", n: 3, k: 270, t: 1, bias: true }, SEED, gpuKernels);
  });
});

describe("GPU kernels on the CPU", () => {
  const device = createCpuDevice();
  const r = deviceRunner(device);
  afterAll(() => device.close());
  for (const type of ["q8_0", "q4_k", "f16"] as const) {
    test(type, () => {
      for (const [i, t] of [1, 7, 20].entries())
        check(
          r,
          { type, n: [33, 70][i % 2], k: 256 * (1 + (i % 2)), t, bias: t % 2 === 0, residual: t % 3 === 0 },
          SEED + i,
          gpuKernelsOnCpu,
        );
      for (const k of type === "q8_0" ? [32, 96] : [256]) check(r, { type, n: 8, k, t: 4 }, SEED, gpuKernelsOnCpu);
    });
  }
});

describe("cpu", () => {
  let device: ReturnType<typeof createCpuDevice>;
  let r: Runner;
  beforeAll(() => {
    device = createCpuDevice();
    r = deviceRunner(device);
  });
  afterAll(() => device.close());
  for (const type of TYPES) {
    test(`${type}: decode and prefill sizes`, () => {
      for (const [i, t] of [1, 2, 3, 4, 5, 8, 9, 13, 24].entries()) {
        check(
          r,
          { type, n: [33, 64, 100, 1, 48][i % 5], k: 256 * (1 + (i % 3)), t, bias: i % 2 === 0, residual: i % 3 === 0, yOffset: i % 4 },
          SEED + i,
        );
      }
    });
  }
  for (const type of ["q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_xs", "q8_0"] as const) {
    test(`${type}: prefill in the form of AVX-512 with VNNI`, () => {
      const set = cpuKernelsFor("avx512-vnni");
      for (const [i, t] of [9, 13, 24].entries())
        check(
          r,
          { type, n: [33, 64, 100][i], k: 256 * (1 + 2 * i), t, bias: i % 2 === 0, residual: i % 2 === 1, yOffset: i },
          SEED + i,
          set,
        );
      check(r, { type, n: 20, k: 512, t: 12, extreme: true }, SEED, set);
    });
  }
  for (const type of ["q8_0", "q4_k", "f16"] as const) {
    test(`${type}: 1 to 20 tokens`, () => {
      for (let t = 1; t <= 20; t++) check(r, { type, n: 37, k: 256, t, bias: t % 2 === 1, residual: t % 3 === 0 }, SEED + t);
    });
  }
  for (const type of ["q8_0", "q4_0", "q5_1", "iq4_nl", "mxfp4"] as const) {
    test(`${type}: columns that are no multiple of 256`, () => {
      for (const k of [32, 96, 896]) check(r, { type, n: 40, k, t: 2, residual: true }, SEED + k);
    });
  }
  for (const type of ["f32", "f16", "bf16"] as const) {
    test(`${type}: columns that are no whole vector`, () => {
      for (const k of [1, 15, 16, 17, 100]) for (const t of [1, 2, 7]) check(r, { type, n: 6, k, t }, SEED + k);
    });
  }
});
