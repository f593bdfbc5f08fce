/**
 * Causal attention over the paged KV cache with an online softmax (Milakov & Gimelshein 2018; Dao et al. 2022), grouped-query heads
 * (Ainslie et al. 2023), optional sliding window and attention sinks. One kernel serves prefill and decode: its unit of work is a
 * *tile* of consecutive tokens of one sequence and one KV head, whose rows are (token, query head of the group).
 *
 * tiles: int32 [tiles][4] = first token (row of q), tokens in the tile, position of the first token, start of the sequence's block ids
 * in blockTable. A block of keys passes in three phases, each over all groups of MR rows: scores, their exponentials row by row, values. For many rows (WIDE)
 * its keys and values are first brought into strips of NV keys or DC values as float32, which stay in level 1 while the groups pass; for few they are
 * widened as they are multiplied. What is needed next is prefetched meanwhile.
 *
 * Sizes that no inner loop needs to know are run-time numbers, so that one instance serves all heads whose size DC divides. A program's own
 * memory: scores [ROWS][BT]; running maxima, sums and factors of the last block [3][ROWS]; results [ROWS][D] and scaled queries
 * [ROWS][DMAX], so that the inner loop reads them at constant distances. Maxima are in powers of two: queries are scaled by log2(e) too.
 * Grid: (tiles, KVH), and with a third axis as many pieces of the context, which ./attention-combine.ts joins (Dao et al. 2023, "Flash-Decoding").
 */
import type { Dispatch } from "../src/runtime/device.ts";
import { attentionCombine } from "./attention-combine.ts";
import type { AttentionOptions, OpContext } from "./api.ts";
import type { Instance } from "./instances.ts";
import { constexpr, dim, f16, f32, fn, i32, i8, kernel, ptr, scalar } from "../src/compiler/language/index.ts";
import type { IsaName } from "../src/runtime/cpu/isa.ts";
import { BLOCK_TOKENS, KV_GROUP, type KvType } from "./kv-cache.ts";

const LOG2E = Math.LOG2E;
const LN2 = Math.LN2;

/**
 * 2^x for x ≤ 0, at most 2 ulp off; below -100 it stays 2^-100, next to nothing beside the 1 of the largest score and no subnormal number.
 * Adding 1.5 · 2^23 rounds to a whole number, whose low bits then are the exponent. The polynomial is within 2e-9 on [-1/2, 1/2] (minimax).
 */
const power = fn((al, x) => {
  const y = al.max(x, -100);
  const whole = y + 12582912;
  const f = y - (whole - 12582912);
  let s = al.fma(al.fma(f, 1.5353362e-4, 1.33988739e-3), f, 9.61843692e-3);
  s = al.fma(al.fma(s, f, 5.55033237e-2), f, 2.40226477e-1);
  s = al.fma(al.fma(s, f, 6.93147182e-1), f, 1);
  return al.bitcast(al.bitcast(s, al.i32) + (al.bitcast(whole, al.i32) << 23), al.f32);
});

const attention = (name: string, type: typeof f16 | typeof f32 | typeof i8) => {
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
      D: dim,
      window: dim,
      sunk: dim,
      scale: scalar(f32),
      cap: scalar(f32),
      DMAX: constexpr(256),
      DC: constexpr(64),
      NV: constexpr(64),
      MR: constexpr(6),
      ROWS: constexpr(96),
      WIDE: constexpr(false),
      BT: constexpr(BLOCK_TOKENS),
    },
    (al, p) => {
      const { q, keys, values, keyScales, valueScales, tiles, blockTable, sinks, y } = p;
      const { stride, column, KVH, G, D, window, sunk, scale, cap } = p;
      const { DMAX, DC, NV, MR, ROWS, WIDE, BT } = p;
      // Bytes are multiplied as they are, and their sums scaled, where they are not widened first.
      const SCALED = Q8 && !WIDE;
      // Of a q8_0 record: scales of a token, and where they begin, in f16s.
      const units = Q8 ? al.cdiv(D, KV_GROUP) : 1;
      const half = al.idiv(D * BT, 2);
      // Tiles of a prompt's end take longest: they come first.
      const tile = al.numPrograms(0) - 1 - al.programId(0);
      const kvHead = al.programId(1);
      const first = al.load(tiles + tile * 4);
      const tokens = al.load(tiles + tile * 4 + 1);
      const position = al.load(tiles + tile * 4 + 2);
      const table = al.load(tiles + tile * 4 + 3);
      const rows = tokens * G;
      const groups = al.cdiv(rows, MR);
      // Rows behind the last repeat it: they are computed and not stored.
      const padded = groups * MR;
      const scores = al.local([ROWS, BT]);
      const marks = al.local([3, ROWS]);
      const results = al.local([ROWS, DMAX]);
      const queries = al.local([ROWS, DMAX]);
      const wideKeys = WIDE ? al.local([BT, DMAX]) : keys;
      const wideValues = WIDE ? al.local([BT, DMAX]) : values;
      const scaled = SCALED ? al.local([MR, BT]) : scores;
      const pieces = al.numPrograms(2);
      const piece = al.programId(2);
      const r = al.arange(MR);
      // A turn of an inner loop asks for so much of the next block that all groups together ask for all of it.
      const keyStep = al.cdiv(BT * MR, ROWS);
      const valueStep = al.cdiv(D * MR, ROWS);

      const unit = cap > 0 ? scale : scale * LOG2E;
      for (let row = 0; row < padded; row++) {
        const own = al.min(row, rows - 1);
        const head = kvHead * G + (own % G);
        let top = al.cast(-1e30, al.f32);
        let total = al.cast(0, al.f32);
        // A sink belongs to the first piece of the context.
        if (sunk > 0 && piece === 0) {
          top = al.load(sinks + head) * LOG2E;
          total = al.cast(1, al.f32);
        }
        al.store(marks + row, top);
        al.store(marks + ROWS + row, total);
        // Behind the diagonal scores are not computed, only hidden.
        al.store(scores + row * BT + al.arange(BT), al.zeros([BT], al.f32));
        const from = (first + al.idiv(own, G)) * stride + column + head * D;
        for (let c = 0; c < D; c += DC) {
          al.store(results + row * D + c + al.arange(DC), al.zeros([DC], al.f32));
          al.store(queries + row * DMAX + c + al.arange(DC), al.load(q + from + c + al.arange(DC)) * unit);
        }
      }

      const last = position + tokens - 1;
      let begin = window > 0 ? al.idiv(al.max(position - window + 1, 0), BT) : al.cast(0, al.i32);
      let end = al.idiv(last, BT) + 1;
      if (pieces > 1) {
        const size = al.cdiv(end - begin, pieces);
        begin = begin + piece * size;
        end = al.min(end, begin + size);
      }
      for (let b = begin; b < end; b++) {
        const block = al.load(blockTable + table + b);
        const record = al.cast(block, al.i64) * KVH + kvHead;
        const base = record * (Q8 ? D * BT + 2 * units * BT : D * BT);
        const scales = record * (half + units * BT) + half;
        const following = al.cast(al.load(blockTable + table + al.min(b + 1, end - 1)), al.i64) * KVH + kvHead;
        const next = following * (Q8 ? D * BT + 2 * units * BT : D * BT);
        const live = al.min(last - b * BT + 1, BT);
        if (WIDE) {
          for (let u = 0; u < units; u++) {
            const by = Q8 ? al.cast(al.load(keyScales + scales + u * BT + al.arange(BT)), al.f32) : al.full([BT], 1, al.f32);
            for (let d = u * KV_GROUP; d < (Q8 ? al.min(u * KV_GROUP + KV_GROUP, D) : D); d++) {
              let k = al.cast(al.load(keys + base + d * BT + al.arange(BT)), al.f32);
              if (Q8) k = k * by;
              for (const n of al.unroll(0, BT, NV)) al.store(wideKeys + n * D + d * NV + al.arange(NV), al.slice(k, 0, n, NV));
            }
          }
          const VC = Q8 ? al.min(DC, KV_GROUP) : DC;
          for (let j = 0; j < live; j++)
            for (let c = 0; c < D; c += DC)
              for (const i of al.unroll(0, DC, VC)) {
                let v = al.cast(al.load(values + base + j * D + c + i + al.arange(VC)), al.f32);
                if (Q8) v = v * al.cast(al.load(valueScales + scales + al.idiv(c + i, KV_GROUP) * BT + j), al.f32);
                al.store(wideValues + c * BT + j * DC + i + al.arange(VC), v);
              }
        }
        for (let n = 0; n < BT; n += NV)
          for (let g = 0; g < groups; g++) {
            const seen = position + al.idiv(al.min(g * MR + MR, rows) - 1, G) - b * BT + 1;
            if (seen > n) {
              let s = al.zeros([MR, NV], al.f32);
              for (let u = 0; u < (SCALED ? units : 1); u++) {
                let part = al.zeros([MR, NV], al.f32);
                for (let d = u * KV_GROUP; d < (SCALED ? al.min(u * KV_GROUP + KV_GROUP, D) : D); d++) {
                  const at = WIDE ? wideKeys + n * D + d * NV : keys + base + d * BT + n;
                  const k = al.cast(al.load(at + al.arange(NV)), al.f32);
                  if (WIDE) al.prefetch(keys + next + (g * D + d) * keyStep);
                  else al.prefetch(values + base + (n * D + d * NV) + al.arange(NV));
                  part = al.fma(al.col(al.load(queries + (g * MR + r) * DMAX + d)), al.row(k), part);
                }
                s = SCALED ? al.fma(part, al.row(al.cast(al.load(keyScales + scales + u * BT + n + al.arange(NV)), al.f32)), s) : part;
              }
              al.store(scores + al.col(g * MR + r) * BT + n + al.row(al.arange(NV)), s);
            }
          }

        const hides = b * BT + BT - 1 > position || (window > 0 && b * BT <= last - window);
        for (let row = 0; row < padded; row++) {
          let s = al.load(scores + row * BT + al.arange(BT));
          if (cap > 0) s = cap * LOG2E * al.tanh(s / cap);
          if (hides) {
            const at = b * BT + al.arange(BT);
            const own = position + al.idiv(al.min(row, rows - 1), G);
            s = al.where(at <= own && (window === 0 || at > own - window), s, -Infinity);
          }
          const before = al.load(marks + row);
          const now = al.max(before, al.max(s));
          const e = power(s - now);
          const shrink = power(before - now);
          al.store(marks + row, now);
          al.store(marks + ROWS + row, al.load(marks + ROWS + row) * shrink + al.sum(e));
          al.store(marks + 2 * ROWS + row, shrink);
          al.store(scores + row * BT + al.arange(BT), e);
        }

        for (let c = 0; c < D; c += DC)
          for (let g = 0; g < groups; g++) {
            const seen = al.min(position + al.idiv(al.min(g * MR + MR, rows) - 1, G) - b * BT + 1, BT);
            if (seen > 0) {
              let weights = scores + g * MR * BT;
              if (SCALED) {
                // DC divides the group, whose scales the weights take over.
                const by = al.cast(al.load(valueScales + scales + al.idiv(c, KV_GROUP) * BT + al.arange(BT)), al.f32);
                al.store(
                  scaled + al.col(r) * BT + al.row(al.arange(BT)),
                  al.load(weights + al.col(r) * BT + al.row(al.arange(BT))) * al.row(by),
                );
                weights = scaled;
              }
              const cell = results + g * MR * D + al.col(r) * D + c + al.row(al.arange(DC));
              let acc = al.load(cell) * al.col(al.load(marks + 2 * ROWS + g * MR + r));
              for (let j = 0; j < seen; j++) {
                const at = WIDE ? wideValues + c * BT + j * DC : values + base + j * D + c;
                const v = al.cast(al.load(at + al.arange(DC)), al.f32);
                if (WIDE) al.prefetch(values + next + (g * BT + j) * valueStep);
                else al.prefetch(keys + next + c * BT + j * DC + al.arange(DC));
                acc = al.fma(al.col(al.load(weights + r * BT + j)), al.row(v), acc);
              }
              al.store(cell, acc);
            }
          }
      }

      // A piece: results [padded][D] as they are, then their maxima and sums.
      const part = y + al.cast((tile * KVH + kvHead) * pieces + piece, al.i64) * (padded * (D + 2));
      for (let row = 0; row < rows; row++) {
        const total = al.load(marks + ROWS + row);
        const to = (first + al.idiv(row, G)) * (KVH * G * D) + (kvHead * G + (row % G)) * D;
        if (pieces > 1) {
          al.store(part + padded * D + row, al.load(marks + row) * LN2);
          al.store(part + padded * (D + 1) + row, total);
        }
        for (let c = 0; c < D; c += DC) {
          const sums = al.load(results + row * D + c + al.arange(DC));
          if (pieces > 1) al.store(part + row * D + c + al.arange(DC), sums);
          else al.store(y + to + c + al.arange(DC), sums / total);
        }
      }
    },
    { uses: { Q8, KV_GROUP, LOG2E, LN2, power } },
  );
};

/** q: [T, stride] float32, roped, heads at `column`; y: [T, KVH·G·D]; window 0 = none, else keys with position > own - window. */
export const attentionF16 = attention("attention_f16", f16);
export const attentionF32 = attention("attention_f32", f32);
export const attentionQ8 = attention("attention_q8", i8);

export const attentionKernels = { f16: attentionF16, f32: attentionF32, q8_0: attentionQ8 };

/** Rows of a prefill tile, which share each key block once it is widened; fewer of long heads, whose memory would not fit. */
const prefillRows = (D: number): number => (D <= 128 ? 96 : 48);
/** Tokens of a full prefill tile. */
export const prefillTokens = (G: number, D: number): number => Math.max(1, Math.floor(prefillRows(D) / G));

export interface AttentionShape {
  D: number;
  /** Query heads per KV head. */
  G: number;
  kv: KvType;
  /** Decode tiles hold one token, prefill tiles as many as fit the rows. */
  phase: "prefill" | "decode";
}

/** Kernel and compile-time values for a shape. */
export function attentionConfig({ D, G, kv, phase }: AttentionShape, isa: IsaName) {
  const prefill = phase === "prefill";
  const WIDE = prefill && D <= 256;
  // Decode: the group's query heads, split evenly when they do not fit the registers.
  const MR = prefill ? 6 : Math.ceil(G / Math.ceil(G / 4));
  // Columns of a product whose sums stay in registers: 6 rows of 4 vectors with AVX-512, 2 of 4 or 6 of 2 elsewhere.
  const NV = isa.startsWith("avx512") ? 64 : MR <= 2 ? 32 : 16;
  // Of q8_0 that is not widened no more than a group, which has one scale.
  const most = kv === "q8_0" && !WIDE ? Math.min(NV, KV_GROUP) : NV;
  const DC = [64, 32, 16, 8, 4, 2, 1].find((c) => D % c === 0 && c <= most)!;
  const rows = Math.ceil(Math.max(prefill ? prefillRows(D) : 1, G) / MR) * MR;
  const constexprs = {
    DMAX: prefill && D <= 128 ? 128 : Math.ceil(D / 256) * 256,
    DC,
    NV,
    MR,
    ROWS: prefill ? rows : Math.ceil(rows / (4 * MR)) * 4 * MR,
    WIDE,
    BT: BLOCK_TOKENS,
  };
  return { kernel: attentionKernels[kv], constexprs };
}

/** Elements of a head that pieces are joined for at a time, and most pieces. */
const [COMBINED, MOST_SPLITS] = [64, 8];

/** Pieces of the context: enough work for every thread where a step has few tiles. */
const splitsFor = (phase: "prefill" | "decode", programs: number, threads: number): number =>
  phase === "prefill" || programs >= 2 * threads ? 1 : Math.min(MOST_SPLITS, 2 ** Math.ceil(Math.log2((2 * threads) / programs)));

export function attentionDispatches(isa: IsaName, ctx: OpContext, o: AttentionOptions): Dispatch[] {
  const { G, D, KVH } = o;
  const splits = splitsFor(o.phase, o.maxCount * KVH, ctx.threads ?? 1);
  const { kernel, constexprs } = attentionConfig(o, isa);
  const padded = Math.ceil(G / constexprs.MR) * constexprs.MR;
  const y = splits > 1 ? ctx.scratch(o.maxCount * KVH * splits * padded * (D + 2) * 4) : o.y;
  const buffers = [o.q, o.keys, o.values, o.keys, o.values, o.tiles, o.table, o.sinks ?? o.q, y];
  const attend: Dispatch = {
    program: ctx.program(kernel, constexprs),
    grid: [o.count, KVH, splits],
    args: [...buffers, o.stride, o.column, KVH, G, D, o.window, o.sinks === undefined ? 0 : 1, o.scale, o.softcap],
  };
  if (splits === 1) return [attend];
  const program = ctx.program(attentionCombine, { SPLITS: splits, DP: COMBINED });
  return [attend, { program, grid: [o.count, KVH * G, 1], args: [y, o.tiles, o.y, KVH, G, padded, D] }];
}

const ISA_NAMES = ["avx512-vnni", "avx512", "avx-vnni", "avx2", "neon-dotprod", "baseline"] as const;

/** Heads of 64, 128, 192 and 256 elements by one instance, of 32, 96 and 160 by another; up to four query heads of a KV head, and twice as many and so on. */
export const instances: Instance[] = [
  ...ISA_NAMES.flatMap((isa) =>
    (["f16", "q8_0"] as const).flatMap((kv) =>
      [96, 128, 256].flatMap((D) => [
        { ...attentionConfig({ D, G: 1, kv, phase: "prefill" }, isa), isa },
        ...[1, 2, 3, 4].map((G) => ({ ...attentionConfig({ D, G, kv, phase: "decode" }, isa), isa })),
      ]),
    ),
  ),
  ...[2, 4, MOST_SPLITS].map((SPLITS) => ({ kernel: attentionCombine, constexprs: { SPLITS, DP: COMBINED } })),
];
