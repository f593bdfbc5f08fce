/**
 * Causal attention over the paged KV cache with an online softmax (Milakov & Gimelshein 2018; Dao et al. 2022), grouped-query heads
 * (Ainslie et al. 2023), optional sliding window and attention sinks. One kernel serves prefill and decode: its unit of work is a
 * *tile* of consecutive tokens of one sequence and one KV head, whose rows are (token, query head of the group).
 *
 * tiles: int32 [tiles][4] = first token (row of q), tokens in the tile, position of the first token, start of the sequence's block ids
 * in blockTable. Rows are worked on MR at a time; GROUPS groups of rows share each key block while it is in the cache. For many groups
 * (WIDE) its keys and values are widened to float32 once for all of them; for few they are widened as they are multiplied, and what is
 * needed next is prefetched, since memory is the limit.
 * A program's own memory: probabilities [MR][BT], then per group running maximum [MR], sum [MR], accumulator [MR][D] and the group's scaled
 * queries [MR][D], so that the inner loop reads them at constant distances.
 * Grid: (tiles, KVH), and with SPLIT as many pieces of the context, which ./attention-combine.ts joins (Dao et al. 2023, "Flash-Decoding").
 */
import type { Dispatch } from "../src/runtime/device.ts";
import { attentionCombine, combineConstexprs } from "./attention-combine.ts";
import type { AttentionOptions, OpContext } from "./api.ts";
import type { Instance } from "./instances.ts";
import { constexpr, dim, f16, f32, i32, i8, kernel, ptr, scalar } from "../src/compiler/language/index.ts";
import { BLOCK_TOKENS, KV_GROUP, type KvType } from "./kv-cache.ts";

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
      window: dim,
      scale: scalar(f32),
      cap: scalar(f32),
      D: constexpr(128),
      DC: constexpr(64),
      MR: constexpr(6),
      GROUPS: constexpr(1),
      WIDE: constexpr(false),
      SPLIT: constexpr(false),
      SINKS: constexpr(false),
      SOFTCAP: constexpr(false),
      BT: constexpr(BLOCK_TOKENS),
    },
    (al, p) => {
      const { q, keys, values, keyScales, valueScales, tiles, blockTable, sinks, y } = p;
      const { stride, column, KVH, G, window, scale, cap } = p;
      const { D, DC, MR, GROUPS, WIDE, SPLIT, SINKS, SOFTCAP, BT } = p;
      // Bytes are multiplied as they are, and their sums scaled, where they are not widened first.
      const SCALED = Q8 && !WIDE;
      // Of a q8_0 record: scales of a token, and where they begin, in f16s.
      const UNITS = al.cdiv(D, KV_GROUP);
      const HALF_BYTES = al.idiv(D * BT, 2);
      const tile = al.programId(0);
      const kvHead = al.programId(1);
      const first = al.load(tiles + tile * 4);
      const tokens = al.load(tiles + tile * 4 + 1);
      const position = al.load(tiles + tile * 4 + 2);
      const table = al.load(tiles + tile * 4 + 3);
      const rows = tokens * G;
      const GROUP = 2 * MR + 2 * MR * D;
      const work = al.local([MR, BT]);
      const state = al.local([GROUPS, GROUP]);
      const wideKeys = WIDE ? al.local([D, BT]) : keys;
      const wideValues = WIDE ? al.local([BT, D]) : values;
      const piece = SPLIT ? al.programId(2) : 0;
      const r = al.arange(MR);

      for (let g = 0; g < GROUPS; g++) {
        if (g * MR < rows) {
          const row = al.min(g * MR + r, rows - 1);
          const head = kvHead * G + (row % G);
          // A sink belongs to the first piece of the context.
          const sunk = SPLIT ? piece === 0 : true;
          let top = al.full([MR], -1e30, al.f32);
          if (SINKS) top = al.where(sunk, al.load(sinks + head), top);
          al.store(state + g * GROUP + r, top);
          al.store(state + g * GROUP + MR + r, SINKS ? al.where(sunk, al.full([MR], 1, al.f32), 0) : al.zeros([MR]));
          const from = (first + al.idiv(row, G)) * stride + column + head * D;
          for (let c = 0; c < D; c += DC) {
            const cell = state + g * GROUP + 2 * MR + al.col(r) * D + c + al.row(al.arange(DC));
            al.store(cell, al.zeros([MR, DC], al.f32));
            al.store(cell + MR * D, al.load(q + al.col(from) + c + al.row(al.arange(DC))) * scale);
          }
        }
      }

      const last = position + tokens - 1;
      let begin = window > 0 ? al.idiv(al.max(position - window + 1, 0), BT) : al.cast(0, al.i32);
      let end = al.idiv(last, BT) + 1;
      if (SPLIT) {
        const size = al.cdiv(end - begin, al.numPrograms(2));
        begin = begin + piece * size;
        end = al.min(end, begin + size);
      }
      for (let b = begin; b < end; b++) {
        const block = al.load(blockTable + table + b);
        const record = al.cast(block, al.i64) * KVH + kvHead;
        const base = record * (Q8 ? D * BT + 2 * UNITS * BT : D * BT);
        const units = record * (HALF_BYTES + UNITS * BT) + HALF_BYTES;
        const following = al.cast(al.load(blockTable + table + al.min(b + 1, end - 1)), al.i64) * KVH + kvHead;
        const next = following * (Q8 ? D * BT + 2 * UNITS * BT : D * BT);
        const at = b * BT + al.arange(BT);
        const live = al.min(last - b * BT + 1, BT);
        if (WIDE) {
          for (let d = 0; d < D; d++) {
            let k = al.cast(al.load(keys + base + d * BT + al.arange(BT)), al.f32);
            if (Q8) k = k * al.cast(al.load(keyScales + units + al.idiv(d, KV_GROUP) * BT + al.arange(BT)), al.f32);
            al.store(wideKeys + d * BT + al.arange(BT), k);
          }
          for (let j = 0; j < live; j++)
            for (let c = 0; c < D; c += DC) {
              let v = al.cast(al.load(values + base + j * D + c + al.arange(DC)), al.f32);
              // DC divides the group.
              if (Q8) v = v * al.cast(al.load(valueScales + units + al.idiv(c, KV_GROUP) * BT + j), al.f32);
              al.store(wideValues + j * D + c + al.arange(DC), v);
            }
        }
        const ks = WIDE ? wideKeys : keys + base;
        const vs = WIDE ? wideValues : values + base;
        for (let g = 0; g < GROUPS; g++) {
          if (g * MR < rows) {
            const row = al.min(g * MR + r, rows - 1);
            const token = al.idiv(row, G);
            const own = position + token;
            const m = state + g * GROUP;
            const queries = m + 2 * MR + MR * D;
            let s = al.zeros([MR, BT], al.f32);
            for (let u = 0; u < (SCALED ? UNITS : 1); u++) {
              let part = al.zeros([MR, BT], al.f32);
              for (let d = u * KV_GROUP; d < (SCALED ? al.min(u * KV_GROUP + KV_GROUP, D) : D); d++) {
                const k = al.cast(al.load(ks + d * BT + al.arange(BT)), al.f32);
                if (!WIDE) al.prefetch(values + base + d * BT + al.arange(BT));
                part = al.fma(al.col(al.load(queries + r * D + d)), al.row(k), part);
              }
              s = SCALED ? al.fma(part, al.row(al.cast(al.load(keyScales + units + u * BT + al.arange(BT)), al.f32)), s) : part;
            }
            if (SOFTCAP) s = cap * al.tanh(s / cap);
            let seen = al.row(at) <= al.col(own);
            if (window > 0) seen = seen && al.row(at) > al.col(own) - window;
            s = al.where(seen, s, -Infinity);
            const before = al.load(m + r);
            const now = al.max(before, al.max(s, { axis: 1 }));
            const e = al.exp(s - al.col(now));
            const shrink = al.exp(before - now);
            al.store(m + r, now);
            al.store(m + MR + r, al.load(m + MR + r) * shrink + al.sum(e, { axis: 1 }));
            const weights = work + al.col(r) * BT + al.row(al.arange(BT));
            if (!SCALED) al.store(weights, e);
            for (let c = 0; c < D; c += DC) {
              // DC divides the group, whose scales the weights take over.
              if (SCALED)
                al.store(weights, e * al.row(al.cast(al.load(valueScales + units + al.idiv(c, KV_GROUP) * BT + al.arange(BT)), al.f32)));
              const cell = m + 2 * MR + al.col(r) * D + c + al.row(al.arange(DC));
              let acc = al.load(cell) * al.col(shrink);
              for (let j = 0; j < live; j++) {
                const v = al.cast(al.load(vs + j * D + c + al.arange(DC)), al.f32);
                if (!WIDE) al.prefetch(keys + next + c * BT + j * DC + al.arange(DC));
                acc = al.fma(al.col(al.load(work + r * BT + j)), al.row(v), acc);
              }
              al.store(cell, acc);
            }
          }
        }
      }

      for (let g = 0; g < GROUPS; g++) {
        if (g * MR < rows) {
          const row = g * MR + r;
          const total = al.load(state + g * GROUP + MR + r);
          // A piece: results [rows][D] as they are, then their maxima and sums.
          const part = y + al.cast((tile * KVH + kvHead) * al.numPrograms(2) + piece, al.i64) * (GROUPS * MR * (D + 2));
          if (SPLIT) {
            al.store(part + GROUPS * MR * D + row, al.load(state + g * GROUP + r));
            al.store(part + GROUPS * MR * (D + 1) + row, total);
          }
          const to = (first + al.idiv(row, G)) * (KVH * G * D) + (kvHead * G + (row % G)) * D;
          for (let c = 0; c < D; c += DC) {
            const acc = al.load(state + g * GROUP + 2 * MR + al.col(r) * D + c + al.row(al.arange(DC)));
            if (SPLIT) al.store(part + al.col(row) * D + c + al.row(al.arange(DC)), acc);
            else {
              const mask = al.broadcast(al.col(row < rows), [MR, DC]);
              al.store(y + al.col(to) + c + al.row(al.arange(DC)), acc / al.col(total), { mask });
            }
          }
        }
      }
    },
    { uses: { Q8, KV_GROUP } },
  );
};

/** q: [T, stride] float32, roped, heads at `column`; y: [T, KVH·G·D]; window 0 = none, else keys with position > own - window. */
export const attentionF16 = attention("attention_f16", f16);
export const attentionF32 = attention("attention_f32", f32);
export const attentionQ8 = attention("attention_q8", i8);

export const attentionKernels = { f16: attentionF16, f32: attentionF32, q8_0: attentionQ8 };

/** Rows of a prefill tile, which share each key block once it is widened. */
const PREFILL_ROWS = 48;
/** Tokens of a full prefill tile. */
export const prefillTokens = (G: number): number => Math.max(1, Math.floor(PREFILL_ROWS / G));

export interface AttentionShape {
  D: number;
  /** Query heads per KV head. */
  G: number;
  kv: KvType;
  sinks?: boolean;
  softcap?: boolean;
  /** Decode tiles hold one token, prefill tiles as many as fit the rows. */
  phase: "prefill" | "decode";
  /** Pieces of the context. */
  splits?: number;
}

/** Kernel and compile-time values for a shape. */
export function attentionConfig(shape: AttentionShape) {
  const { D, G } = shape;
  // Of q8_0 no more than a group, which has one scale.
  const DC = [64, 48, 32, 16, 8, 4, 2, 1].find((c) => D % c === 0 && (shape.kv !== "q8_0" || c <= KV_GROUP))!;
  const prefill = shape.phase === "prefill";
  // Decode: the group's query heads, split evenly when they do not fit the registers.
  const MR = prefill ? 6 : Math.ceil(G / Math.ceil(G / 6));
  const GROUPS = prefill ? Math.ceil(Math.max(PREFILL_ROWS, G) / MR) : Math.ceil(G / MR);
  const WIDE = prefill && shape.kv !== "f32";
  const constexprs = {
    D,
    DC,
    MR,
    GROUPS,
    WIDE,
    SPLIT: (shape.splits ?? 1) > 1,
    SINKS: shape.sinks ?? false,
    SOFTCAP: shape.softcap ?? false,
  };
  return { kernel: attentionKernels[shape.kv], constexprs: { ...constexprs, BT: BLOCK_TOKENS } };
}

/** Pieces of the context: enough work for every thread where a step has few tiles. */
const splitsFor = (phase: "prefill" | "decode", programs: number, threads: number): number =>
  phase === "prefill" || programs >= 2 * threads ? 1 : Math.min(8, 2 ** Math.ceil(Math.log2((2 * threads) / programs)));

export function attentionDispatches(ctx: OpContext, o: AttentionOptions): Dispatch[] {
  const { G, D, KVH } = o;
  const splits = splitsFor(o.phase, o.maxCount * KVH, ctx.threads ?? 1);
  const { kernel, constexprs } = attentionConfig({ ...o, splits, sinks: o.sinks !== undefined, softcap: o.softcap > 0 });
  const BM = constexprs.GROUPS * constexprs.MR;
  const y = splits > 1 ? ctx.scratch(o.maxCount * KVH * splits * BM * (D + 2) * 4) : o.y;
  const buffers = [o.q, o.keys, o.values, o.keys, o.values, o.tiles, o.table, o.sinks ?? o.q, y];
  const attend: Dispatch = {
    program: ctx.program(kernel, constexprs),
    grid: [o.count, KVH, splits],
    args: [...buffers, o.stride, o.column, KVH, G, o.window, o.scale, o.softcap],
  };
  if (splits === 1) return [attend];
  const program = ctx.program(attentionCombine, combineConstexprs(splits, BM, D));
  return [attend, { program, grid: [o.count, KVH * G, 1], args: [y, o.tiles, o.y, KVH, G] }];
}

export const instances: Instance[] = (["f16", "q8_0"] as const).flatMap((kv) =>
  [64, 96, 128].flatMap((D) => [
    attentionConfig({ D, G: 1, kv, phase: "prefill" }),
    ...[1, 2, 3, 4, 5, 6].flatMap((G) => [1, 2].map((splits) => attentionConfig({ D, G, kv, phase: "decode", splits }))),
  ]),
);
