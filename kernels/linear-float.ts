/**
 * y = x Wᵀ for weights that are plain floats, read in place (row-major [n, k], as mapped): lanes run along k, a program holds
 * RN rows × MT tokens of partial sums in registers. Sums are f32, in 16 partial sums per result.
 */
import type { Instance } from "./instances.ts";
import { bf16, constexpr, dim, f16, f32, kernel, ptr, type Pointer, type Tile } from "../src/compiler/language/index.ts";
import type { FloatType } from "./families.ts";

const FLOATS = { f32, f16, bf16 };

/** Rows per program. */
export const ROWS = 4;
/** Tokens per tile: the smallest that holds a plan's tokens, or the last. */
export const FLOAT_TILES = [1, 2, 4] as const;

/**
 * Grid: (rows / RN rounded up, splits): token tiles of MT are dealt over the second axis.
 * `epilogue`, bias, residual, stride and offset as in ./linear.ts.
 */
const linearFloat = (type: FloatType) =>
  kernel(
    `linear_${type}`,
    {
      w: ptr(FLOATS[type]),
      x: ptr(f32),
      y: ptr(f32),
      bias: ptr(f32),
      residual: ptr(f32),
      t: dim,
      n: dim,
      k: dim,
      xStride: dim,
      stride: dim,
      offset: dim,
      epilogue: dim,
      RN: constexpr(4),
      MT: constexpr(1),
    },
    (al, { w, x, y, bias, residual, t, n, k, xStride, stride, offset, epilogue, RN, MT }) => {
      const lanes = al.arange(16);
      const first = al.programId(0) * RN;
      const whole = k - (k % 16);
      const rows: Pointer[] = [];
      // Rows and tokens beyond the end repeat the last: they are computed and not stored.
      for (const r of al.unroll(RN)) rows.push(w + al.min(first + r, n - 1) * k);
      for (let tile = al.programId(1); tile * MT < t; tile += al.numPrograms(1)) {
        const tokens: Pointer[] = [];
        for (const m of al.unroll(MT)) tokens.push(x + al.min(tile * MT + m, t - 1) * xStride);
        const sums: Tile[] = [];
        for (const _ of al.unroll(RN * MT)) sums.push(al.zeros([16]));
        for (let i = 0; i < whole; i += 16) {
          const v: Tile[] = [];
          // The rows of the next program are on their way while these are multiplied: with few tokens memory is the limit.
          if (tile === al.programId(1)) for (const r of al.unroll(RN)) al.prefetch(rows[r] + RN * k + i);
          for (const r of al.unroll(RN)) v.push(al.cast(al.load(rows[r] + i + lanes), al.f32));
          for (const m of al.unroll(MT)) {
            const a = al.load(tokens[m] + i + lanes);
            for (const r of al.unroll(RN)) sums[m * RN + r] += a * v[r];
          }
        }
        if (whole < k) {
          const mask = whole + lanes < k;
          for (const m of al.unroll(MT)) {
            const a = al.load(tokens[m] + whole + lanes, { mask });
            for (const r of al.unroll(RN)) sums[m * RN + r] += a * al.cast(al.load(rows[r] + whole + lanes, { mask }), al.f32);
          }
        }
        for (const m of al.unroll(MT)) {
          const token = tile * MT + m;
          for (const r of al.unroll(RN)) {
            const column = first + r;
            const mask = column < n && token < t;
            let value = al.sum(sums[m * RN + r]);
            const at = token * stride + offset + column;
            if ((epilogue & 1) !== 0) value += al.load(bias + column, { mask });
            if ((epilogue & 2) !== 0) value += al.load(residual + at, { mask });
            al.store(y + at, value, { mask });
          }
        }
      }
    },
  );

export const linearFloats = { f32: linearFloat("f32"), f16: linearFloat("f16"), bf16: linearFloat("bf16") };

export const instances: Instance[] = Object.values(linearFloats).flatMap((kernel) =>
  FLOAT_TILES.map((MT) => ({ kernel, constexprs: { RN: ROWS, MT } })),
);
