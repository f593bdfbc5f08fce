/** Cases of elementwise kernels, norms, rotary positions, the KV store and quantised activations. */
import * as elementwise from "../elementwise.ts";
import { BLOCK_TOKENS, dequantised, kvBytes, kvStoreF16, kvStoreF32, kvStoreQ8 } from "../kv-cache.ts";
import { cpuKernels } from "../cpu.ts";
import { gpuKernels } from "../gpu/index.ts";
import { layerNorm, rmsNorm } from "../norm.ts";
import { quantize, RECORD } from "../quantize.ts";
import { ropeHeads } from "../rope.ts";
import { type Case, below, type CaseArgs, type Data, floats, FUNCTIONS, ints, type KernelCases, type Random, SUMS } from "./case.ts";

const blocksOf = (target: "cpu" | "gpu") => (target === "cpu" ? cpuKernels : gpuKernels).blocks;

/** [rows, columns] with one element, no rows, odd and whole sizes. */
const shapes = (next: Random, block: number): [number, number][] => [
  [1, 1],
  [0, 5],
  [2, block],
  [1 + below(next, 4), 1 + below(next, 2 * block)],
];

/** Values that every elementwise kernel must pass on: not a number, infinities, zeros of both signs. */
const SPECIAL = [NaN, Infinity, -Infinity, -0, 0, 3e38, 1e-40];
function withSpecial(x: Float32Array): Float32Array {
  SPECIAL.forEach((v, i) => x.length > 2 * i && (x[2 * i] = v));
  return x;
}

const gated: KernelCases = {
  kernel: elementwise.gatedActivation,
  tolerance: 3e-6,
  why: FUNCTIONS,
  *cases(next, target) {
    const BLOCK = blocksOf(target).elementwise;
    for (const ACT of elementwise.ACTIVATIONS) {
      for (const [T, N] of shapes(next, 40)) {
        // Rows further apart than they are long; gate and up not side by side.
        const stride = 2 * N + 5;
        const args = { x: floats(next, T * stride, 10), y: floats(next, T * N), stride, gate: N + 3, up: 1, N };
        yield { what: `${ACT} [${T}, ${N}]`, constexprs: { ACT, BLOCK }, grid: [Math.ceil(N / BLOCK), T, 1], args };
      }
    }
  },
};

const activation: KernelCases = {
  kernel: elementwise.activation,
  tolerance: 3e-6,
  why: FUNCTIONS,
  *cases(next, target) {
    const BLOCK = blocksOf(target).elementwise;
    for (const ACT of elementwise.ACTIVATIONS) {
      for (const [T, N] of shapes(next, 40)) {
        const args = { x: floats(next, T * N, 10), y: floats(next, T * N), N };
        yield { what: `${ACT} [${T}, ${N}]`, constexprs: { ACT, BLOCK }, grid: [Math.ceil(N / BLOCK), T, 1], args };
      }
      const args = { x: withSpecial(floats(next, 17)), y: floats(next, 17), N: 17 };
      yield { what: `${ACT}, special values`, constexprs: { ACT, BLOCK }, grid: [1, 1, 1], args };
    }
  },
};

const addScaled: KernelCases = {
  kernel: elementwise.addScaled,
  tolerance: 2e-7,
  why: "one rounding or two",
  *cases(next, target) {
    const BLOCK = blocksOf(target).elementwise;
    for (const [T, N] of shapes(next, BLOCK)) {
      const args = { x: floats(next, T * N), z: floats(next, T * N), y: floats(next, T * N), N, scale: 0.375 };
      yield { what: `[${T}, ${N}]`, constexprs: { BLOCK }, grid: [Math.ceil(N / BLOCK), T, 1], args };
    }
    const args = { x: withSpecial(floats(next, 20)), z: floats(next, 20), y: floats(next, 20), N: 20, scale: 2 };
    yield { what: "special values", constexprs: { BLOCK }, grid: [1, 1, 1], args };
    // In place, as the residual stream is.
    const y = floats(next, 30);
    yield { what: "in place", constexprs: { BLOCK }, grid: [1, 1, 1], args: { x: y, z: floats(next, 30), y, N: 30, scale: 1 } };
  },
};

const scaleRows: KernelCases = {
  kernel: elementwise.scaleRows,
  tolerance: 2e-6,
  why: FUNCTIONS,
  *cases(next, target) {
    const BLOCK = blocksOf(target).elementwise;
    for (const SOFTCAP of [false, true]) {
      for (const [T, N] of shapes(next, 50)) {
        const args = { x: floats(next, T * N, 60), y: floats(next, T * N), N, scale: 0.7, cap: 30 };
        yield { what: `cap ${SOFTCAP} [${T}, ${N}]`, constexprs: { SOFTCAP, BLOCK }, grid: [Math.ceil(N / BLOCK), T, 1], args };
      }
      const args = { x: withSpecial(floats(next, 15)), y: floats(next, 15), N: 15, scale: 0.7, cap: 30 };
      yield { what: `cap ${SOFTCAP}, special values`, constexprs: { SOFTCAP, BLOCK }, grid: [1, 1, 1], args };
    }
  },
};

const gatherRows: KernelCases = {
  kernel: elementwise.gatherRows,
  tolerance: 0,
  *cases(next, target) {
    const BLOCK = blocksOf(target).elementwise;
    for (const [R, N] of shapes(next, BLOCK)) {
      const args = { x: withSpecial(floats(next, 5 * N)), rows: ints(next, R, 5), y: floats(next, R * N), N };
      yield { what: `[${R}, ${N}]`, constexprs: { BLOCK }, grid: [Math.ceil(N / BLOCK), R, 1], args };
    }
  },
};

const softmaxRows: KernelCases = {
  kernel: elementwise.softmaxRows,
  tolerance: 1e-6,
  why: FUNCTIONS,
  *cases(next) {
    for (const [T, N] of shapes(next, 64)) {
      const x = floats(next, T * N, 20);
      // Masked entries; a row of nothing else has no softmax.
      for (let i = 1; i < x.length; i += 3) x[i] = -Infinity;
      yield { what: `[${T}, ${N}]`, constexprs: { BLOCK: 64 }, grid: [1, T, 1], args: { x, y: floats(next, T * N), N } };
    }
  },
};

const norm = (kernel: typeof rmsNorm | typeof layerNorm): KernelCases => ({
  kernel,
  tolerance: 1e-5,
  why: SUMS,
  *cases(next, target) {
    const BLOCK = blocksOf(target).norm;
    for (const [T, D] of [...shapes(next, 60), [1, BLOCK + 3] as const]) {
      const bias: Record<string, Float32Array> = kernel === layerNorm ? { b: floats(next, D) } : {};
      const args = { x: floats(next, T * D, 3), w: floats(next, D), ...bias, y: floats(next, T * D), D, eps: 1e-5 };
      yield { what: `[${T}, ${D}]`, constexprs: { BLOCK }, grid: [1, T, 1], args };
    }
    // A row that holds no number, one that holds an infinity, and between them one that neither may touch.
    const D = 21;
    const x = floats(next, 3 * D, 3);
    x[4] = NaN;
    x[2 * D + 7] = Infinity;
    const bias: Record<string, Float32Array> = kernel === layerNorm ? { b: floats(next, D) } : {};
    const args = { x, w: floats(next, D), ...bias, y: floats(next, 3 * D), D, eps: 1e-5 };
    yield { what: "rows with NaN and infinity", constexprs: { BLOCK }, grid: [1, 3, 1], args };
  },
});

const rope: KernelCases = {
  kernel: ropeHeads,
  tolerance: 3e-6,
  why: SUMS,
  *cases(next, target) {
    const BLOCK = blocksOf(target).rope;
    for (const [INTERLEAVED, NORM] of [
      [false, false],
      [false, true],
      [true, false],
      [true, true],
    ]) {
      for (const [T, heads, D, R] of [
        [1, 1, 2, 2],
        [0, 2, 8, 8],
        [2, 3, 24, 16],
        [1, 2, 80, 80],
      ]) {
        const column = below(next, 4);
        const stride = column + heads * D + below(next, 3);
        const angles = floats(next, (T * R) / 2, 7);
        const tables = { cos: angles.map(Math.cos), sin: angles.map(Math.sin) };
        const args = { x: floats(next, T * stride, 2), ...tables, w: floats(next, D), stride, column, D, R, eps: 1e-6 };
        const what = `${INTERLEAVED ? "interleaved" : "halves"}${NORM ? ", norm" : ""}, ${T} tokens, ${heads} heads of ${D}, ${R} rotated`;
        yield { what, constexprs: { INTERLEAVED, NORM, BLOCK }, grid: [heads, T, 1], args };
      }
    }
  },
};

/** Tokens, heads and their size: few tokens, and enough for runs of 16 that are stored together, whole and cut by blocks. */
const STORED = [
  [1, 1, 1],
  [0, 1, 8],
  [3, 2, 24],
  [2, 1, 80],
  [71, 2, 32],
  [40, 1, 24],
];
const BLOCKS = 4;

/** Slots of tokens: of some that follow each other, which begin anywhere in a block, and then of others one by one. */
function slotsOf(next: () => number, T: number): Int32Array {
  const [from, run] = [below(next, BLOCK_TOKENS), Math.max(0, T - 5)];
  return Int32Array.from({ length: T }, (_, i) => (i < run ? from + i : 3 * BLOCK_TOKENS + ((37 * (i - run) + from) % BLOCK_TOKENS)));
}

const kvStore = (kernel: typeof kvStoreF16 | typeof kvStoreF32): KernelCases => ({
  kernel,
  tolerance: 0,
  *cases(next, target) {
    const { lanes: LANES, tokens: TOKENS } = blocksOf(target).kvStore;
    for (const [T, KVH, D] of STORED) {
      const stride = 2 * KVH * D + 3;
      const slots = slotsOf(next, T);
      const cells = BLOCKS * KVH * D * BLOCK_TOKENS;
      const cache = (): Float16Array | Float32Array => {
        const v = floats(next, cells);
        return kernel === kvStoreF16 ? Float16Array.from(v) : v;
      };
      const columns = { keyColumn: 1, valueColumn: KVH * D + 2 };
      const args = { x: floats(next, T * stride, 3), slots, keys: cache(), values: cache(), T, stride, ...columns, KVH, D };
      yield {
        what: `${T} tokens, ${KVH} heads of ${D}`,
        constexprs: { BT: BLOCK_TOKENS, LANES, TOKENS },
        grid: [KVH, Math.ceil(T / TOKENS), 1],
        args,
      };
    }
  },
});

const kvStoreBytes: KernelCases = {
  kernel: kvStoreQ8,
  tolerance: 1 / 120,
  why: "ties of rounding",
  *cases(next, target) {
    const { tokens: TOKENS } = blocksOf(target).kvStore;
    for (const [T, KVH, D] of STORED) {
      const stride = 2 * KVH * D + 3;
      const slots = slotsOf(next, T);
      const [keys, values] = [0, 1].map(() => new Int8Array(BLOCKS * KVH * kvBytes("q8_0", D) * BLOCK_TOKENS));
      const scales = { keyScales: new Float16Array(keys.buffer), valueScales: new Float16Array(values.buffer) };
      const x = floats(next, T * stride, 3);
      // A token of nothing but zeros has a scale of zero.
      if (T > 1) x.fill(0, 0, stride);
      const args = { x, slots, keys, values, ...scales, T, stride, keyColumn: 1, valueColumn: KVH * D + 2, KVH, D };
      const results = (a: CaseArgs): Record<string, Data> => ({
        keys: dequantised(a.keys as Int8Array, D, "keys"),
        values: dequantised(a.values as Int8Array, D, "values"),
      });
      yield {
        what: `${T} tokens, ${KVH} heads of ${D}`,
        constexprs: { BT: BLOCK_TOKENS, TOKENS },
        grid: [KVH, Math.ceil(T / TOKENS), 1],
        args,
        results,
      };
    }
  },
};

const quantizeRows: KernelCases = {
  kernel: quantize,
  // One step of 1/127 of a group's largest value, should x · (127 / peak) lie between two integers.
  tolerance: 1 / 120,
  why: "ties of rounding",
  *cases(next, target) {
    const cases = [
      [1, 32, "rows"],
      [2, 32, "rows"],
      [6, 32, "rows"],
      [6, 256, "norm"],
      [6, 32, "norm"],
      [6, 256, "gated"],
      [6, 32, "gated"],
    ] as const;
    for (const [MR, SPAN, SOURCE] of cases) {
      // GPUs quantise nothing, and have no memory of a program.
      if (SOURCE !== "rows" && target === "gpu") continue;
      for (const [t, spans] of [
        [1, 1],
        [0, 2],
        [MR + 1, 3],
      ]) {
        const k = spans * SPAN;
        const stride = (SOURCE === "gated" ? 2 : 1) * k + 1;
        const x = floats(next, t * stride, 4);
        x.fill(0, 0, SPAN);
        const tiles = Math.ceil(t / MR);
        const blocks = k / 32;
        const q = new Int32Array(tiles * blocks * MR * RECORD);
        const views = { q, q8: new Int8Array(q.buffer), qf: new Float32Array(q.buffer) };
        yield {
          what: `tiles of ${MR}, [${t}, ${k}], ${SOURCE}`,
          constexprs: { MR, SPAN, SOURCE },
          grid: [tiles, 2, 1],
          args: { x, w: floats(next, k), ...views, t, blocks, stride, up: k, eps: 1e-6 },
          results: (args) => ({ values: valuesOf(new Int32Array((args.q as Int32Array).buffer)) }),
        } satisfies Case;
      }
    }
  },
};

/** The values and sums of quantised activations, in units of a group's largest. */
function valuesOf(q: Int32Array): Float32Array {
  const [bytes, f] = [new Int8Array(q.buffer), new Float32Array(q.buffer)];
  const out: number[] = [];
  for (let r = 0; r < q.length; r += RECORD) {
    for (let i = 0; i < 32; i++) out.push(bytes[r * 4 + i] / 127);
    out.push(f[r + 8], q[r + 9] / 127 / 32, q[r + 11] / 127 / 32, q[r + 12] / 127 / 32, f[r + 10] / 32, f[r + 13] / 32, f[r + 14] / 32);
  }
  return Float32Array.from(out);
}

export const simpleCases: readonly KernelCases[] = [
  gated,
  activation,
  addScaled,
  scaleRows,
  gatherRows,
  softmaxRows,
  norm(rmsNorm),
  norm(layerNorm),
  rope,
  kvStoreBytes,
  kvStore(kvStoreF16),
  kvStore(kvStoreF32),
  quantizeRows,
];
