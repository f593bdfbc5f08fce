/**
 * y = x Wᵀ for many tokens (prefill), weights of any type as they lie in the file: a program computes BM tokens × BN rows, step by step
 * along the columns, on the matrix units (`al.dot`) with float32 sums. Quantised weights become f16 in the program; activations do too.
 * Plain floats other than f16 are multiplied as float32: bfloat16 has a range that f16 has not.
 *
 * Four neighbouring values lie in one word, so a step of 4 · BQ columns is four products: of the first bytes of all words, the second …,
 * each with the activations that belong to them. The order of the columns in a sum does not matter, and no word is taken apart twice.
 * Grid: (rows / BN rounded up, tokens / BM rounded up). Bias, residual, epilogue, stride and offset as in ./matvec.ts.
 */
import { bf16, constexpr, dim, f16, f32, fn, kernel, ptr, u16, u8 } from "../../src/compiler/language/index.ts";
import { BLOCKS } from "../blocks.ts";
import { FAMILIES, QUANTISED_TYPES, type FloatType, type QuantisedType } from "../families.ts";
import { hasMinimum, reader } from "./reader.ts";

const OUTPUT = { x: ptr(f32), y: ptr(f32), bias: ptr(f32), residual: ptr(f32) };
const SIZES = { t: dim, n: dim, k: dim, stride: dim, offset: dim, epilogue: dim };

/** A simdgroup holds up to 512 sums, 16 a thread. */
const simdgroups = (c: { BM: number; BN: number }): number => Math.min(8, Math.max(1, (c.BM * c.BN) / 512));

/** f32 to f16 with values beyond its range at the largest it has: a rare huge activation must not become infinity. NaN stays. */
export const toHalf = fn((al, v) => al.cast(al.where(v > 65504, 65504, al.where(v < -65504, -65504, v)), al.f16));

/** Bias, residual and store of a tile of results. */
const finish = fn((al, sums, y, bias, residual, tokens, rows, t, n, stride, offset, epilogue) => {
  let v = sums;
  const mask = al.col(tokens) < t && al.row(rows) < n;
  const at = al.col(tokens) * stride + offset + al.row(rows);
  if ((epilogue & 1) !== 0) v += al.row(al.load(bias + rows, { mask: rows < n }));
  if ((epilogue & 2) !== 0) v += al.load(residual + at, { mask });
  if ((epilogue & 4) !== 0) v += al.load(y + at, { mask });
  al.store(y + at, v, { mask });
});

const matmulQuantised = (type: QuantisedType) => {
  const { decode, scales } = reader(type);
  const { quads } = BLOCKS[type];
  const { block, group, offset } = FAMILIES[type];
  const Q = {
    BLOCK: block,
    QUADS: block / 4,
    QUAD_BITS: Math.log2(block / 4),
    GROUP_BITS: Math.log2(group / 4),
    OFF: offset,
    MIN: hasMinimum(type),
  };
  return kernel(
    `matmul_${type}`,
    { b: ptr(u8), h: ptr(u16), ...OUTPUT, ...SIZES, BM: constexpr(32), BN: constexpr(64), BQ: constexpr(8) },
    (al, { b, h, x, y, bias, residual, t, n, k, stride, offset, epilogue, BM, BN, BQ }) => {
      const rows = al.programId(0) * BN + al.arange(BN);
      const tokens = al.programId(1) * BM + al.arange(BM);
      // Rows and tokens beyond the end repeat the last: they are computed and not stored.
      const from = al.col(al.min(rows, n - 1) * al.idiv(k, Q.BLOCK));
      const at = al.col(al.min(tokens, t - 1) * k);
      let sums = al.zeros([BM, BN], al.f32);
      for (let s = 0; s < al.idiv(k, 4); s += BQ) {
        const quad = al.row(s + al.arange(BQ));
        const block = from + (quad >> Q.QUAD_BITS);
        const inside = quad & (Q.QUADS - 1);
        const [scale, minimum] = scales(b, h, block, inside >> Q.GROUP_BITS);
        const words = decode(quads(b, h, block, inside));
        for (const j of al.unroll(4)) {
          const u = al.cast(((words >> (8 * j)) & 255) - Q.OFF, al.f32);
          const w = Q.MIN ? al.fma(scale, u, minimum) : scale * u;
          const a = al.load(x + at + quad * 4 + j);
          sums = al.dot(toHalf(a), al.cast(w, al.f16), sums, { transposeB: true });
        }
      }
      finish(sums, y, bias, residual, tokens, rows, t, n, stride, offset, epilogue);
    },
    { uses: { quads, decode, scales, toHalf, finish, Q }, simdgroups, distinct: true },
  );
};

const FLOATS = { f32, f16, bf16 };

const matmulFloat = (type: FloatType) => {
  const HALF = type === "f16";
  return kernel(
    `matmul_${type}`,
    { w: ptr(FLOATS[type]), ...OUTPUT, ...SIZES, BM: constexpr(32), BN: constexpr(64), BK: constexpr(32) },
    (al, { w, x, y, bias, residual, t, n, k, stride, offset, epilogue, BM, BN, BK }) => {
      const rows = al.programId(0) * BN + al.arange(BN);
      const tokens = al.programId(1) * BM + al.arange(BM);
      const from = al.col(al.min(rows, n - 1) * k);
      const at = al.col(al.min(tokens, t - 1) * k);
      let sums = al.zeros([BM, BN], al.f32);
      for (let i = 0; i < k; i += BK) {
        const column = al.row(i + al.arange(BK));
        const mask = column < k;
        const v = al.load(w + from + column, { mask });
        const a = al.load(x + at + column, { mask });
        if (HALF) sums = al.dot(toHalf(a), v, sums, { transposeB: true });
        else sums = al.dot(a, al.cast(v, al.f32), sums, { transposeB: true });
      }
      finish(sums, y, bias, residual, tokens, rows, t, n, stride, offset, epilogue);
    },
    { uses: { toHalf, finish, HALF }, simdgroups, distinct: true },
  );
};

export const matmulQuantisedKernels = Object.fromEntries(QUANTISED_TYPES.map((type) => [type, matmulQuantised(type)])) as Readonly<
  Record<QuantisedType, ReturnType<typeof matmulQuantised>>
>;
export const matmulFloatKernels = { f32: matmulFloat("f32"), f16: matmulFloat("f16"), bf16: matmulFloat("bf16") };
