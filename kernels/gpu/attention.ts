/**
 * Flash attention (Dao et al. 2022) over the paged KV cache on matrix units. Rows of a program are (token, query head of the group), so the
 * heads of a group share every key that is read; running maximum, sum and result stay in registers.
 *
 * Prefill: BM rows per program, grid (tiles, KVH). Decode: the rows of one token are few and its context may be long, so the context is
 * cut into SPLITS pieces, grid (tiles, KVH, SPLITS); each leaves result, maximum and sum in scratch, and ../attention-combine.ts joins them.
 * Tiles and layouts as in ../attention.ts and ../kv-cache.ts.
 */
import { constexpr, dim, f16, f32, fn, i32, i8, kernel, ptr, scalar } from "../../src/compiler/language/index.ts";
import type { Dispatch } from "../../src/runtime/device.ts";
import type { AttentionOptions, OpContext } from "../api.ts";
import { attentionCombine } from "../attention-combine.ts";
import { BLOCK_TOKENS, KV_GROUP } from "../kv-cache.ts";
import { toHalf } from "./matmul.ts";
import type { GpuTuning } from "./tuning.ts";

const scaled = fn((al, bytes, scale) => al.cast(bytes, al.f16) * scale);

const flash = (name: string, type: typeof f16 | typeof f32 | typeof i8) => {
  // Products of f16; bytes become f16 when they meet their scale.
  const HALF = type !== f32;
  const Q8 = type === i8;
  return kernel(
    name,
    {
      q: ptr(f32),
      keys: ptr(type),
      values: ptr(type),
      keyScales: ptr(f16),
      valueScales: ptr(f16),
      tiles: ptr(i32),
      blockTable: ptr(i32),
      sinks: ptr(f32),
      y: ptr(f32),
      stride: dim,
      column: dim,
      KVH: dim,
      G: dim,
      window: dim,
      scale: scalar(f32),
      cap: scalar(f32),
      D: constexpr(128),
      DP: constexpr(128),
      BM: constexpr(32),
      BN: constexpr(32),
      SPLIT: constexpr(false),
      SINKS: constexpr(false),
      SOFTCAP: constexpr(false),
      BT: constexpr(BLOCK_TOKENS),
    },
    (al, p) => {
      const { q, keys, values, keyScales, valueScales, tiles, blockTable, sinks, y, stride, column, KVH, G, window, scale, cap } = p;
      const { D, DP, BM, BN, SPLIT, SINKS, SOFTCAP, BT } = p;
      // Of a q8_0 record: scales of a token, and where they begin, in f16s.
      const UNITS = al.cdiv(D, KV_GROUP);
      const HALF_BYTES = al.idiv(D * BT, 2);
      const tile = al.programId(0);
      const kvHead = al.programId(1);
      const first = al.load(tiles + tile * 4);
      const tokens = al.load(tiles + tile * 4 + 1);
      const position = al.load(tiles + tile * 4 + 2);
      const table = al.load(tiles + tile * 4 + 3);
      // Rows beyond the last repeat it: they are computed and not stored.
      const rows = tokens * G;
      const row = al.min(al.arange(BM), rows - 1);
      const token = al.idiv(row, G);
      const head = kvHead * G + (row % G);
      const own = position + token;
      const d = al.arange(DP);
      const queries = al.load(q + al.col((first + token) * stride + column + head * D) + al.row(d), { mask: al.row(d) < D }) * scale;
      const a = HALF ? toHalf(queries) : queries;

      const last = position + tokens - 1;
      let begin = window > 0 ? al.max(position - window + 1, 0) : al.cast(0, al.i32);
      begin = begin - (begin % BN);
      let end = last + 1;
      if (SPLIT) {
        // Pieces of whole steps, as even as they can be.
        const piece = al.cdiv(al.cdiv(end - begin, BN), al.numPrograms(2)) * BN;
        begin = begin + al.programId(2) * piece;
        end = al.min(begin + piece, end);
      }
      const sinking = SINKS && (SPLIT ? al.programId(2) == 0 : true);
      let top = SINKS ? al.where(sinking, al.load(sinks + head), -1e30) : al.full([BM], -1e30, al.f32);
      let total = SINKS ? al.where(al.broadcast(sinking, [BM]), 1.0, al.zeros([BM], al.f32)) : al.zeros([BM], al.f32);
      let sums = al.zeros([BM, DP], al.f32);
      for (let i = begin; i < end; i += BN) {
        const block = al.load(blockTable + table + al.idiv(i, BT));
        const record = al.cast(block, al.i64) * KVH + kvHead;
        const base = record * (Q8 ? D * BT + 2 * UNITS * BT : D * BT);
        const units = record * (HALF_BYTES + UNITS * BT) + HALF_BYTES;
        const inside = (i % BT) + al.arange(BN);
        const at = i + al.arange(BN);
        let k = al.load(keys + base + (al.col(d) * BT + al.row(inside)), { mask: al.col(d) < D });
        if (Q8) k = scaled(k, al.load(keyScales + units + (al.col(al.idiv(d, KV_GROUP)) * BT + al.row(inside)), { mask: al.col(d) < D }));
        let s = al.dot(a, k, al.zeros([BM, BN], al.f32));
        if (SOFTCAP) s = cap * al.tanh(s / cap);
        let seen = al.row(at) <= al.col(own);
        if (window > 0) seen = seen && al.row(at) > al.col(own) - window;
        s = al.where(seen, s, -Infinity);
        const now = al.max(top, al.max(s, { axis: 1 }));
        const e = al.exp(s - al.col(now));
        const shrink = al.exp(top - now);
        total = total * shrink + al.sum(e, { axis: 1 });
        top = now;
        // What lies behind the last token was never written: it must not meet a weight of 0, for it may be NaN.
        const written = al.col(at) <= last && al.row(d) < D;
        let v = al.load(values + base + (al.col(inside) * D + al.row(d)), { mask: written });
        if (Q8) v = scaled(v, al.load(valueScales + units + (al.row(al.idiv(d, KV_GROUP)) * BT + al.col(inside)), { mask: written }));
        sums = al.dot(HALF ? al.cast(e, al.f16) : e, v, sums * al.col(shrink));
      }

      const r = al.arange(BM);
      if (SPLIT) {
        const part = ((tile * KVH + kvHead) * al.numPrograms(2) + al.programId(2)) * (BM * (D + 2));
        // A short context leaves pieces empty: their sum of 0 says so.
        if (begin < end) al.store(y + part + al.col(r) * D + al.row(d), sums, { mask: al.row(d) < D });
        al.store(y + part + BM * D + r, top);
        al.store(y + part + BM * D + BM + r, total);
      } else {
        const to = (first + token) * (KVH * G * D) + head * D;
        al.store(y + al.col(to) + al.row(d), sums / al.col(total), { mask: al.col(r) < rows && al.row(d) < D });
      }
    },
    {
      uses: { toHalf, scaled, HALF, Q8, KV_GROUP },
      // Eight rows of a matrix unit to each: maxima and sums of a row stay within a simdgroup.
      simdgroups: (c: { BM: number }) => Math.min(8, Math.max(1, c.BM / 8)),
      distinct: true,
    },
  );
};

/** q: [T, stride] float32, roped, heads at `column`; y: [T, KVH·G·D], or scratch when SPLIT: per program [BM][D], maxima, sums. */
export const flashF16 = flash("flash_f16", f16);
export const flashF32 = flash("flash_f32", f32);
export const flashQ8 = flash("flash_q8", i8);

export const flashKernels = { f16: flashF16, f32: flashF32, q8_0: flashQ8 };

const upTo = (n: number, multiple: number): number => Math.ceil(n / multiple) * multiple;

/** Rows of a prefill program: what its registers hold. */
const prefillRows = (D: number): number => (D > 128 ? 16 : 32);
/** Tokens of a full prefill tile. */
export const gpuPrefillTokens = (G: number, D: number): number => Math.max(1, Math.floor(prefillRows(D) / G));

/** A context is cut into as many pieces as it takes to fill the GPU, within reason. */
const MOST_SPLITS = 32;

/** Compile-time values for a shape. */
export function flashConfig(tuning: GpuTuning, o: Pick<AttentionOptions, "D" | "G" | "KVH" | "kv" | "phase" | "maxCount">) {
  const DP = upTo(o.D, 8);
  const BM = upTo(o.phase === "prefill" ? Math.max(o.G, prefillRows(o.D)) : o.G, 8);
  // Keys and values of a step, and the queries, share 32 KiB of threadgroup memory.
  const BN = DP * (o.kv === "f32" ? 4 : 2) <= 256 ? 32 : 16;
  const wanted = Math.max(1, Math.ceil(tuning.programs / (o.maxCount * o.KVH)));
  const SPLITS = o.phase === "decode" ? Math.min(MOST_SPLITS, 2 ** Math.ceil(Math.log2(wanted))) : 1;
  return { DP, BM, BN, SPLITS };
}

export function gpuAttention(tuning: GpuTuning, ctx: OpContext, o: AttentionOptions): Dispatch[] {
  const { DP, BM, BN, SPLITS } = flashConfig(tuning, o);
  const SPLIT = SPLITS > 1;
  const scratch = SPLIT ? ctx.scratch(o.maxCount * o.KVH * SPLITS * BM * (o.D + 2) * 4) : undefined;
  const constexprs = { D: o.D, DP, BM, BN, SPLIT, SINKS: o.sinks !== undefined, SOFTCAP: o.softcap > 0, BT: BLOCK_TOKENS };
  const buffers = [o.q, o.keys, o.values, o.keys, o.values, o.tiles, o.table, o.sinks ?? o.q, scratch ?? o.y];
  const dispatches: Dispatch[] = [
    {
      program: ctx.program(flashKernels[o.kv], constexprs),
      grid: [o.count, o.KVH, SPLITS],
      args: [...buffers, o.stride, o.column, o.KVH, o.G, o.window, o.scale, o.softcap],
    },
  ];
  if (scratch)
    dispatches.push({
      program: ctx.program(attentionCombine, { SPLITS, DP }),
      grid: [o.count, o.KVH * o.G, 1],
      args: [scratch, o.tiles, o.y, o.KVH, o.G, BM, o.D],
    });
  return dispatches;
}
