/**
 * Causal attention over the paged KV cache with an online softmax (Milakov & Gimelshein 2018; Dao et al. 2022), grouped-query heads
 * (Ainslie et al. 2023), optional sliding window and attention sinks. One kernel serves prefill and decode: its unit of work is a
 * *tile* of consecutive tokens of one sequence and one KV head, whose rows are (token, query head of the group).
 *
 * tiles: int32 [tiles][4] = first token (row of q), tokens in the tile, position of the first token, start of the sequence's block ids
 * in blockTable. A block of keys passes over all groups of MR rows, which first score it and then take exponentials, row by row; values follow after ROUND
 * blocks, so that sums come and go less often. For many rows (WIDE) the first group brings the NV keys or DC values that it multiplies into shape as
 * float32: a strip that stays in level 1 while the other groups pass. For few they are widened as they are multiplied. What is needed next is prefetched.
 *
 * Exponentials are powers of two (queries are scaled by log2(e) too) relative to a reference of the row: a maximum, but one that only moves when a score
 * exceeds it by more than 2^REACH (as in FlashAttention-4). After the first blocks hardly any does, and then there is no maximum to find and nothing to
 * shrink. It moves for each row on its own, whatever rows share its tile.
 *
 * Sizes that no inner loop needs to know are run-time numbers, so that one instance serves all heads whose size DC divides. A program's own
 * memory: scores [ROWS][ROUND·BT]; references [ROWS]; sums [ROWS][LANES], added up at the end; results [ROWS][D] and scaled queries [ROWS][DMAX], so that
 * the inner loop reads them at constant distances; a strip.
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
/** Partial sums of a row, and powers of two that a score may exceed the row's reference by. */
const [LANES, REACH] = [16, 8];
/** Rows of queries and of results that are asked for beforehand. */
const AHEAD = 8;

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
      ROUND: constexpr(1),
    },
    (al, p) => {
      const { q, keys, values, keyScales, valueScales, tiles, blockTable, sinks, y } = p;
      const { stride, column, KVH, G, D, window, sunk, scale, cap } = p;
      const { DMAX, DC, NV, MR, ROWS, WIDE, BT, ROUND } = p;
      // Keys of a round.
      const RT = ROUND * BT;
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
      const scores = al.local([ROWS, RT]);
      const marks = al.local([ROWS]);
      const sums = al.local([ROWS, LANES]);
      const results = al.local([ROWS, DMAX]);
      const queries = al.local([ROWS, DMAX]);
      const wide = WIDE ? al.local([al.max(NV * DMAX, RT * DC)]) : scores;
      const scaled = SCALED ? al.local([MR, BT]) : scores;
      const pieces = al.numPrograms(2);
      const piece = al.programId(2);
      const r = al.arange(MR);
      // A row of a wide tile asks for so much of the next block that all together ask for all of it.
      const STEP = al.cdiv(BT * DMAX, ROWS);
      const step = al.cdiv(BT * D, ROWS);
      const recordSize = Q8 ? D * BT + 2 * units * BT : D * BT;

      const unit = cap > 0 ? scale : scale * LOG2E;
      const source = (row: number) => {
        const own = al.min(row, rows - 1);
        return q + (first + al.idiv(own, G)) * stride + column + (kvHead * G + (own % G)) * D;
      };
      for (let row = 0; row < padded; row++) {
        let top = al.cast(-1e30, al.f32);
        let total = al.cast(0, al.f32);
        // A sink belongs to the first piece of the context.
        if (sunk > 0 && piece === 0) {
          top = al.load(sinks + kvHead * G + (al.min(row, rows - 1) % G)) * LOG2E;
          total = al.cast(1, al.f32);
        }
        al.store(marks + row, top);
        al.store(sums + row * LANES + al.arange(LANES), al.where(al.arange(LANES) === 0, total, 0));
        if (WIDE) al.prefetch(source(row + AHEAD) + al.arange(DMAX));
        for (let c = 0; c < D; c += DC) {
          // The first round of a wide tile writes all of them.
          if (!WIDE) al.store(results + row * D + c + al.arange(DC), al.zeros([DC], al.f32));
          al.store(queries + row * DMAX + c + al.arange(DC), al.load(source(row) + c + al.arange(DC)) * unit);
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
      for (let from = begin; from < end; from += ROUND) {
        const blocks = al.min(end - from, ROUND);
        for (let h = 0; h < blocks; h++) {
          const b = from + h;
          const record = al.cast(al.load(blockTable + table + b), al.i64) * KVH + kvHead;
          const base = record * recordSize;
          const scales = record * (half + units * BT) + half;
          const next = (al.cast(al.load(blockTable + table + al.min(b + 1, end - 1)), al.i64) * KVH + kvHead) * recordSize;
          const hides = b * BT + BT - 1 > position || (window > 0 && b * BT <= last - window);
          for (let n = 0; n < BT; n += NV)
            for (let g = 0; g < groups; g++) {
              const seen = position + al.idiv(al.min(g * MR + MR, rows) - 1, G) - b * BT + 1;
              // The first group brings a strip into shape for all.
              const widens = WIDE && g === 0;
              if (widens || seen > 0) {
                // Behind the diagonal they are hidden.
                let s = al.zeros([MR, NV], al.f32);
                if (widens)
                  for (let u = 0; u < units; u++) {
                    const by = Q8 ? al.cast(al.load(keyScales + scales + u * BT + n + al.arange(NV)), al.f32) : 1;
                    for (let d = u * KV_GROUP; d < (Q8 ? al.min(u * KV_GROUP + KV_GROUP, D) : D); d++) {
                      const k = al.cast(al.load(keys + base + d * BT + n + al.arange(NV)), al.f32) * by;
                      s = al.fma(al.col(al.load(queries + r * DMAX + d)), al.row(k), s);
                      al.store(wide + d * NV + al.arange(NV), k);
                    }
                  }
                else if (seen > n)
                  for (let u = 0; u < (SCALED ? units : 1); u++) {
                    let part = al.zeros([MR, NV], al.f32);
                    for (let d = u * KV_GROUP; d < (SCALED ? al.min(u * KV_GROUP + KV_GROUP, D) : D); d++) {
                      const at = WIDE ? wide + d * NV : keys + base + d * BT + n;
                      const k = al.cast(al.load(at + al.arange(NV)), al.f32);
                      if (!WIDE) al.prefetch(values + base + (n * D + d * NV) + al.arange(NV));
                      part = al.fma(al.col(al.load(queries + (g * MR + r) * DMAX + d)), al.row(k), part);
                    }
                    s = SCALED ? al.fma(part, al.row(al.cast(al.load(keyScales + scales + u * BT + n + al.arange(NV)), al.f32)), s) : part;
                  }
                al.store(scores + al.col(g * MR + r) * RT + h * BT + n + al.row(al.arange(NV)), s);
              }
              if (n + NV === BT && seen > 0)
                for (let row = g * MR; row < g * MR + MR; row++) {
                  if (WIDE) {
                    al.prefetch(keys + next + row * step + al.arange(STEP));
                    al.prefetch(values + next + row * step + al.arange(STEP));
                  }
                  const at = scores + row * RT + h * BT + al.arange(BT);
                  let s = al.load(at);
                  if (cap > 0) s = cap * LOG2E * al.tanh(s / cap);
                  if (hides) {
                    const key = b * BT + al.arange(BT);
                    const own = position + al.idiv(al.min(row, rows - 1), G);
                    s = al.where(key <= own && (window === 0 || key > own - window), s, -Infinity);
                  }
                  let top = al.load(marks + row);
                  const sum = sums + row * LANES + al.arange(LANES);
                  let peak = al.slice(s, 0, 0, LANES);
                  for (const i of al.unroll(LANES, BT, LANES)) peak = al.max(peak, al.slice(s, 0, i, LANES));
                  if (al.any(peak > top + REACH)) {
                    const now = al.max(peak);
                    const shrink = power(top - now);
                    al.store(marks + row, now);
                    al.store(sum, al.load(sum) * shrink);
                    if (!WIDE || from > begin)
                      for (let c = 0; c < D; c += DC) {
                        const cell = results + row * D + c + al.arange(DC);
                        al.store(cell, al.load(cell) * shrink);
                      }
                    for (let i = 0; i < h; i++) {
                      const earlier = scores + row * RT + i * BT + al.arange(BT);
                      al.store(earlier, al.load(earlier) * shrink);
                    }
                    top = now;
                  }
                  const e = power(s - top);
                  let part = al.load(sum);
                  for (const i of al.unroll(0, BT, LANES)) part = part + al.slice(e, 0, i, LANES);
                  al.store(sum, part);
                  al.store(at, e);
                }
            }
        }

        // Of one block: what is not widened comes in rounds of one.
        const record = al.cast(al.load(blockTable + table + from), al.i64) * KVH + kvHead;
        const scales = record * (half + units * BT) + half;
        const next = (al.cast(al.load(blockTable + table + al.min(from + 1, end - 1)), al.i64) * KVH + kvHead) * recordSize;
        const live = al.min(last - from * BT + 1, blocks * BT);
        for (let c = 0; c < D; c += DC)
          for (let g = 0; g < groups; g++) {
            const seen = al.min(position + al.idiv(al.min(g * MR + MR, rows) - 1, G) - from * BT + 1, blocks * BT);
            const cell = results + g * MR * D + al.col(r) * D + c + al.row(al.arange(DC));
            let acc = al.zeros([MR, DC], al.f32);
            if (!WIDE || from > begin) acc = al.load(cell);
            if (WIDE && g === 0) {
              for (let h = 0; h < blocks; h++) {
                const mine = al.cast(al.load(blockTable + table + from + h), al.i64) * KVH + kvHead;
                const by = mine * (half + units * BT) + half + al.idiv(c, KV_GROUP) * BT;
                const widen = (j: number) => {
                  const v = al.cast(al.load(values + mine * recordSize + j * D + c + al.arange(DC)), al.f32);
                  return Q8 ? v * al.cast(al.load(valueScales + by + j), al.f32) : v;
                };
                const to = wide + h * BT * DC + al.arange(DC);
                const visible = al.min(seen - h * BT, BT);
                for (let j = 0; j < visible; j++) {
                  const v = widen(j);
                  acc = al.fma(al.col(al.load(scores + r * RT + h * BT + j)), al.row(v), acc);
                  al.store(to + j * DC, v);
                }
                // What other groups see beyond.
                for (let j = al.max(visible, 0); j < al.min(live - h * BT, BT); j++) al.store(to + j * DC, widen(j));
              }
              al.store(cell, acc);
            } else if (seen > 0) {
              let weights = scores + g * MR * RT;
              if (SCALED) {
                // DC divides the group, whose scales the weights take over.
                const by = al.cast(al.load(valueScales + scales + al.idiv(c, KV_GROUP) * BT + al.arange(BT)), al.f32);
                al.store(
                  scaled + al.col(r) * BT + al.row(al.arange(BT)),
                  al.load(weights + al.col(r) * BT + al.row(al.arange(BT))) * al.row(by),
                );
                weights = scaled;
              }
              for (let j = 0; j < seen; j++) {
                const at = WIDE ? wide + j * DC : values + record * recordSize + j * D + c;
                const v = al.cast(al.load(at + al.arange(DC)), al.f32);
                if (!WIDE) al.prefetch(keys + next + c * BT + j * DC + al.arange(DC));
                acc = al.fma(al.col(al.load(weights + r * RT + j)), al.row(v), acc);
              }
              al.store(cell, acc);
            }
          }
      }

      // A piece: results [padded][D] as they are, then their maxima and sums.
      const part = y + al.cast((tile * KVH + kvHead) * pieces + piece, al.i64) * (padded * (D + 2));
      const target = (row: number) => y + (first + al.idiv(row, G)) * (KVH * G * D) + (kvHead * G + (row % G)) * D;
      for (let row = 0; row < rows; row++) {
        const total = al.sum(al.load(sums + row * LANES + al.arange(LANES)));
        if (pieces > 1) {
          al.store(part + padded * D + row, al.load(marks + row) * LN2);
          al.store(part + padded * (D + 1) + row, total);
        }
        if (WIDE) al.prefetch(target(al.min(row + AHEAD, rows - 1)) + al.arange(DMAX));
        const share = 1 / total;
        for (let c = 0; c < D; c += DC) {
          const own = al.load(results + row * D + c + al.arange(DC));
          if (pieces > 1) al.store(part + row * D + c + al.arange(DC), own);
          else al.store(target(row) + c + al.arange(DC), own * share);
        }
      }
    },
    { uses: { Q8, KV_GROUP, LOG2E, LN2, LANES, REACH, AHEAD, power } },
  );
};

/** q: [T, stride] float32, roped, heads at `column`; y: [T, KVH·G·D]; window 0 = none, else keys with position > own - window. */
export const attentionF16 = attention("attention_f16", f16);
export const attentionF32 = attention("attention_f32", f32);
export const attentionQ8 = attention("attention_q8", i8);

export const attentionKernels = { f16: attentionF16, f32: attentionF32, q8_0: attentionQ8 };

/** Rows and columns of a prefill product whose sums stay in registers: 8 rows of 2 vectors with AVX-512, 6 of 2 with AVX2, 6 of 4 with NEON. */
const prefillTile = (isa: IsaName): { MR: number; NV: number } => (isa.startsWith("avx512") ? { MR: 8, NV: 32 } : { MR: 6, NV: 16 });
/** Rows of a prefill tile, which share keys and values once they are widened: whole groups, fewer of long heads, whose memory would not fit. */
const prefillRows = (MR: number, D: number): number => Math.floor((D <= 128 ? 132 : D <= 256 ? 66 : 48) / MR) * MR;
/** Tokens of a full prefill tile. */
export const prefillTokens = (isa: IsaName, G: number, D: number): number =>
  Math.max(1, Math.floor(prefillRows(prefillTile(isa).MR, D) / G));

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
  // Decode: the group's query heads, split evenly when they do not fit the registers, and columns: 4 vectors, 2 rows of 4 or 4 of 2 with AVX2.
  const few = Math.ceil(G / Math.ceil(G / 4));
  const { MR, NV } = prefill ? prefillTile(isa) : { MR: few, NV: isa.startsWith("avx512") ? 64 : few <= 2 ? 32 : 16 };
  // Of q8_0 that is not widened no more than a group, which has one scale.
  const most = kv === "q8_0" && !WIDE ? Math.min(NV, KV_GROUP) : NV;
  const DC = [64, 32, 16, 8, 4, 2, 1].find((c) => D % c === 0 && c <= most)!;
  const rows = Math.ceil(Math.max(prefill ? prefillRows(MR, D) : 1, G) / MR) * MR;
  const constexprs = {
    DMAX: prefill && D <= 128 ? 128 : Math.ceil(D / 256) * 256,
    DC,
    NV,
    MR,
    ROWS: prefill ? rows : Math.ceil(rows / (4 * MR)) * 4 * MR,
    WIDE,
    BT: BLOCK_TOKENS,
    ROUND: WIDE ? 2 : 1,
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
