/** Cases of the kernels behind the builtins of lazy buffers, each with some work fused into it. */
import { f16, f32, fn, ptr } from "../../src/compiler/language/index.ts";
import { flashAttention } from "../flash-attention.ts";
import { matmul } from "../matmul.ts";
import { pointwise } from "../pointwise.ts";
import { crossEntropy, normalize, reduce, softmax } from "../rows.ts";
import { below, floats, FUNCTIONS, ints, type KernelCases, type Random, SUMS } from "./case.ts";

const params = { x: ptr(f32), bias: ptr(f32) };
/** A row-major x of N columns. */
const source = fn((al, p, row, col, inside) => al.load(p.x + row * p.N + col, { mask: inside }));
/** max(v + bias of the column, 0.01). */
const epilogue = fn((al, p, v, row, col, inside) => al.max(v + al.load(p.bias + col, { mask: inside }), 0.01));
/** v + bias of the row. */
const ofRow = fn((al, p, v, row, _col, _inside) => v + al.load(p.bias + row));
/** x of the element times bias of the row. */
const scaled = fn((al, p, row, col, inside) => al.load(p.x + row * p.columns + col, { mask: inside }) * al.load(p.bias + row));

const halves = (next: Random, n: number, scale = 1): Float16Array => Float16Array.from(floats(next, n, scale));

/** [rows, columns] with one element, no rows, odd sizes; rows of one piece and of several. */
const shapes = (next: Random, block: number): [number, number][] => [
  [1, 1],
  [0, 5],
  [1 + below(next, 4), 1 + below(next, block)],
  [2, block + 1 + below(next, 2 * block)],
];

const pointwiseCases: KernelCases = {
  kernel: pointwise({ name: "fused_pointwise", params, source: scaled, epilogue }, f32),
  tolerance: 0,
  *cases(next) {
    for (const [BR, BC] of [
      [1, 1024],
      [8, 128],
    ]) {
      for (const [rows, columns] of shapes(next, 300)) {
        const args = { x: floats(next, rows * columns), bias: floats(next, rows), y: floats(next, rows * columns), rows, columns };
        const grid = [Math.ceil(columns / BC), Math.ceil(rows / BR), 1] as const;
        yield { what: `[${rows}, ${columns}] by ${BR} × ${BC}`, constexprs: { BR, BC }, grid, args };
      }
    }
  },
};

/** Pieces of a row, and whether a row of N is one. */
const rowTile = (target: "cpu" | "gpu", N: number) => {
  const BLOCK = target === "cpu" ? 64 : 512;
  return { BLOCK, WHOLE: N <= BLOCK };
};
const pieceOf = (target: "cpu" | "gpu"): number => rowTile(target, 1).BLOCK;

const softmaxCases: KernelCases = {
  kernel: softmax({ name: "fused_softmax", params, source, epilogue }, f32),
  tolerance: 2e-6,
  why: FUNCTIONS,
  *cases(next, target) {
    for (const [rows, N] of shapes(next, pieceOf(target))) {
      const args = { x: floats(next, rows * N, 9), bias: floats(next, N, 0.1), y: floats(next, rows * N), N };
      yield { what: `[${rows}, ${N}]`, constexprs: rowTile(target, N), grid: [rows, 1, 1], args };
    }
  },
};

const normalizeCases: KernelCases = {
  kernel: normalize({ name: "fused_normalize", params, source, epilogue }, f32),
  tolerance: 1e-5,
  why: SUMS,
  *cases(next, target) {
    for (const CENTER of [true, false]) {
      for (const [rows, N] of shapes(next, pieceOf(target))) {
        const args = { x: floats(next, rows * N, 3), bias: floats(next, N), y: floats(next, rows * N), N, eps: 1e-3 };
        yield {
          what: `${CENTER ? "layer" : "rms"} [${rows}, ${N}]`,
          constexprs: { CENTER, ...rowTile(target, N) },
          grid: [rows, 1, 1],
          args,
        };
      }
    }
  },
};

const reduceCases: KernelCases = {
  kernel: reduce({ name: "fused_reduce", params, source, epilogue: ofRow }, f32),
  tolerance: 1e-5,
  why: SUMS,
  *cases(next, target) {
    const BLOCK = pieceOf(target);
    for (const HOW of ["sum", "mean", "max", "min"]) {
      for (const [rows, N] of shapes(next, BLOCK)) {
        const args = { x: floats(next, rows * N, 3), bias: floats(next, rows), y: floats(next, rows), N };
        yield { what: `${HOW} [${rows}, ${N}]`, constexprs: { HOW, BLOCK }, grid: [rows, 1, 1], args };
      }
    }
  },
};

const crossEntropyCases: KernelCases = {
  kernel: crossEntropy({ name: "fused_cross_entropy", params, source, epilogue: ofRow }, f32),
  tolerance: 1e-5,
  why: FUNCTIONS,
  *cases(next, target) {
    const BLOCK = pieceOf(target);
    for (const [rows, N] of shapes(next, BLOCK)) {
      const args = { x: floats(next, rows * N, 9), bias: floats(next, rows), labels: ints(next, rows, N), y: floats(next, rows), N };
      yield { what: `[${rows}, ${N}]`, constexprs: { BLOCK }, grid: [rows, 1, 1], args };
    }
  },
};

const batchOfA = fn((_al, p, batch) => batch * p.M * p.K);
const sameB = fn((_al, _p, _batch) => 0);

const matmulCases: KernelCases = {
  kernel: matmul({ name: "fused_matmul", params: { bias: ptr(f32) }, epilogue, aStart: batchOfA, bStart: sameB }, f16, f16, f32),
  tolerance: 1e-5,
  why: SUMS,
  *cases(next, target) {
    const tile = target === "cpu" ? { BM: 24, BN: 64, BK: 64 } : { BM: 32, BN: 32, BK: 32 };
    for (const TRANSPOSED of [false, true]) {
      for (const [batches, M, N, K] of [
        [1, 1, 1, 1],
        [1, 0, 3, 2],
        [2, 1 + below(next, 40), 1 + below(next, 70), 1 + below(next, 70)],
      ]) {
        const [a, b] = [halves(next, batches * M * K), halves(next, N * K)];
        const args = { bias: floats(next, N), a, b, y: floats(next, batches * M * N), M, N, K };
        const grid = [Math.ceil(M / tile.BM), Math.ceil(N / tile.BN), batches] as const;
        yield { what: `${TRANSPOSED ? "bᵀ " : ""}${batches} × [${M}, ${N}, ${K}]`, constexprs: { TRANSPOSED, ...tile }, grid, args };
      }
    }
  },
};

const attentionCases: KernelCases = {
  kernel: flashAttention({ name: "fused_attention", params: { bias: ptr(f32) }, epilogue }, f16, f32),
  tolerance: 1e-5,
  why: FUNCTIONS,
  *cases(next, target) {
    const tile = target === "cpu" ? { BM: 24, BN: 64 } : { BM: 16, BN: 32 };
    for (const CAUSAL of [false, true]) {
      for (const [H, G, T, S, D] of [
        [1, 1, 1, 1, 1],
        [4, 2, 1 + below(next, 30), 1 + below(next, 80), 16],
        [1, 1, 7, 3, 1 + below(next, 16)],
      ]) {
        const [q, k, v] = [halves(next, H * T * D), halves(next, (H / G) * S * D), halves(next, (H / G) * S * D)];
        const args = { bias: floats(next, D), q, k, v, y: floats(next, H * T * D), H, G, T, S, D, scale: 0.3 };
        const grid = [Math.ceil(T / tile.BM), H, 1] as const;
        yield { what: `${CAUSAL ? "causal " : ""}${H}/${G} × [${T}, ${S}, ${D}]`, constexprs: { CAUSAL, BD: 16, ...tile }, grid, args };
      }
    }
  },
};

export const builtinCases: readonly KernelCases[] = [
  pointwiseCases,
  softmaxCases,
  normalizeCases,
  reduceCases,
  crossEntropyCases,
  matmulCases,
  attentionCases,
];
