/**
 * y = x Wᵀ for weights that are plain floats, read in place (row-major [n, k], as mapped): lanes run along k, a program holds
 * RN rows × MT tokens of partial sums in registers. Sums are f32, in 16 partial sums per result.
 */
import type { Instance } from "./instances.ts";
import { bf16, constexpr, dim, f16, f32, kernel, ptr, type Pointer, type Tile } from "../src/compiler/language/index.ts";
import { ISAS, isaByName, type IsaName } from "../src/runtime/cpu/isa.ts";
import type { FloatType } from "./families.ts";

const FLOATS = { f32, f16, bf16 };

/** Rows per program. */
export const ROWS = 4;
/** Tokens per tile: the smallest that holds a plan's tokens, or the last. */
export const FLOAT_TILES = [1, 2, 4] as const;
/** Up to so many tokens weights are read in place; for more they are brought into panels first. */
export const FEW_TOKENS = 8;

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

/** Rows of a panel, columns of it at a time (128 KiB as float32: a fourth of the smallest level-2 caches; the tile's activations stay in level 1), and tokens per tile. */
export const PANEL = { NR: 64, KB: 512, MR: 6 } as const;
/** The same for an instruction set: the sums of a tile have to be few enough vectors that they are held in registers, part of the columns at a time. */
export const panelTile = (isa: IsaName) => ({ ...PANEL, NR: isaByName(isa).width >= 8 ? 64 : 32 });

/**
 * The same for many tokens: NR rows × KB columns are widened once to a panel, columns outermost, and all token tiles multiply it, MR tokens
 * × NR rows in registers: a broadcast of one activation feeds NR / 16 vectors, a vector of weights MR tokens.
 * Grid: (rows / NR rounded up, splits): token tiles are dealt over the second axis. Other parameters as above.
 */
const linearPanel = (type: FloatType) =>
  kernel(
    `linear_panel_${type}`,
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
      NR: constexpr(64),
      KB: constexpr(512),
      MR: constexpr(6),
    },
    (al, { w, x, y, bias, residual, t, n, k, xStride, stride, offset, epilogue, NR, KB, MR }) => {
      const panel = al.local([KB, NR]);
      const results = al.local([MR, NR]);
      const lanes = al.arange(16);
      const columns = al.programId(0) * NR + al.arange(NR);
      for (let from = 0; from < k; from += KB) {
        const depth = al.min(k - from, KB);
        const whole = depth - (depth % 16);
        for (let g = 0; g < NR; g += 16) {
          // Rows and tokens beyond the end repeat the last: they are computed and not stored.
          const row = al.cast(al.min(al.programId(0) * NR + g + lanes, n - 1), al.i64);
          const block = w + al.col(row * k) + from + al.row(lanes);
          const to = panel + g + al.col(lanes) * NR + al.row(lanes);
          for (let i = 0; i < whole; i += 16) al.store(to + i * NR, al.trans(al.cast(al.load(block + i), al.f32)));
          if (whole < depth) {
            const mask = al.broadcast(al.row(whole + lanes < depth), [16, 16]);
            al.store(to + whole * NR, al.trans(al.cast(al.load(block + whole, { mask }), al.f32)));
          }
        }
        for (let tile = al.programId(1); tile * MR < t; tile += al.numPrograms(1)) {
          const tokens = x + al.col(al.cast(al.min(tile * MR + al.arange(MR), t - 1), al.i64) * xStride) + from;
          let sums = al.zeros([MR, NR]);
          for (let i = 0; i < depth; i++) sums = al.fma(al.load(tokens + i), al.row(al.load(panel + i * NR + al.arange(NR))), sums);
          // Row by row through memory: the text of one row is a sixth of that of all, and as fast.
          al.store(results + al.col(al.arange(MR)) * NR + al.row(al.arange(NR)), sums);
          for (let m = 0; m < al.min(t - tile * MR, MR); m++) {
            const token = tile * MR + m;
            const mask = columns < n;
            const at = token * stride + offset + columns;
            let value = al.load(results + m * NR + al.arange(NR));
            if (from > 0) value += al.load(y + at, { mask });
            else {
              if ((epilogue & 1) !== 0) value += al.load(bias + columns, { mask });
              if ((epilogue & 2) !== 0) value += al.load(residual + at, { mask });
            }
            al.store(y + at, value, { mask });
          }
        }
      }
    },
  );

export const linearFloats = { f32: linearFloat("f32"), f16: linearFloat("f16"), bf16: linearFloat("bf16") };
export const linearPanels = { f32: linearPanel("f32"), f16: linearPanel("f16"), bf16: linearPanel("bf16") };

export const instances: Instance[] = [
  ...Object.values(linearFloats).flatMap((kernel) => FLOAT_TILES.map((MT) => ({ kernel, constexprs: { RN: ROWS, MT } }))),
  ...ISAS.flatMap(({ name: isa }) => Object.values(linearPanels).map((kernel) => ({ kernel, constexprs: panelTile(isa), isa }))),
];
