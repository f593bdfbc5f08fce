/**
 * Causal attention over the paged KV cache with an online softmax (Milakov & Gimelshein 2018; Dao et al. 2022), grouped-query heads
 * (Ainslie et al. 2023), optional sliding window and attention sinks. One kernel serves prefill and decode: its unit of work is a
 * *tile* of consecutive tokens of one sequence and one KV head, whose rows are (token, query head of the group).
 *
 * tiles: int32 [tiles][4] = first token (row of q), tokens in the tile, position of the first token, start of the sequence's block ids
 * in blockTable. Rows are worked on MR at a time; GROUPS groups of rows share each key block while it is in the cache.
 * scratch: per program, probabilities [MR][BT], then per group running maximum [MR], sum [MR], accumulator [MR][D]
 * and the group's scaled queries [MR][D], so that the inner loop reads them at constant distances.
 * Grid: (tiles, KVH).
 */
import type { Dispatch } from "../src/runtime/device.ts";
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
      scratch: ptr(f32),
      y: ptr(f32),
      stride: dim,
      column: dim,
      KVH: dim,
      G: dim,
      GROUPS: dim,
      window: dim,
      scale: scalar(f32),
      cap: scalar(f32),
      D: constexpr(128),
      DC: constexpr(64),
      MR: constexpr(6),
      SINKS: constexpr(false),
      SOFTCAP: constexpr(false),
      BT: constexpr(BLOCK_TOKENS),
    },
    (al, p) => {
      const { q, keys, values, keyScales, valueScales, tiles, blockTable, sinks, scratch, y } = p;
      const { stride, column, KVH, G, GROUPS, window, scale, cap } = p;
      const { D, DC, MR, SINKS, SOFTCAP, BT } = p;
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
      const SIZE = MR * BT + GROUPS * GROUP;
      const work = scratch + al.cast(tile * KVH + kvHead, al.i64) * SIZE;
      const state = work + MR * BT;
      const r = al.arange(MR);

      for (let g = 0; g < GROUPS; g++) {
        if (g * MR < rows) {
          const row = al.min(g * MR + r, rows - 1);
          const head = kvHead * G + (row % G);
          al.store(state + g * GROUP + r, SINKS ? al.load(sinks + head) : al.full([MR], -1e30, al.f32));
          al.store(state + g * GROUP + MR + r, al.full([MR], SINKS ? 1 : 0, al.f32));
          const from = (first + al.idiv(row, G)) * stride + column + head * D;
          for (let c = 0; c < D; c += DC) {
            const cell = state + g * GROUP + 2 * MR + al.col(r) * D + c + al.row(al.arange(DC));
            al.store(cell, al.zeros([MR, DC], al.f32));
            al.store(cell + MR * D, al.load(q + al.col(from) + c + al.row(al.arange(DC))) * scale);
          }
        }
      }

      const last = position + tokens - 1;
      const begin = window > 0 ? al.idiv(al.max(position - window + 1, 0), BT) : al.cast(0, al.i32);
      const end = al.idiv(last, BT) + 1;
      for (let b = begin; b < end; b++) {
        const block = al.load(blockTable + table + b);
        const record = al.cast(block, al.i64) * KVH + kvHead;
        const base = record * (Q8 ? D * BT + 2 * UNITS * BT : D * BT);
        const units = record * (HALF_BYTES + UNITS * BT) + HALF_BYTES;
        const at = b * BT + al.arange(BT);
        for (let g = 0; g < GROUPS; g++) {
          if (g * MR < rows) {
            const row = al.min(g * MR + r, rows - 1);
            const token = al.idiv(row, G);
            const own = position + token;
            const queries = state + g * GROUP + 2 * MR + MR * D;
            let s = al.zeros([MR, BT], al.f32);
            for (let u = 0; u < (Q8 ? UNITS : 1); u++) {
              let part = al.zeros([MR, BT], al.f32);
              for (let d = u * KV_GROUP; d < (Q8 ? al.min(u * KV_GROUP + KV_GROUP, D) : D); d++) {
                const k = al.cast(al.load(keys + base + d * BT + al.arange(BT)), al.f32);
                part = al.fma(al.col(al.load(queries + r * D + d)), al.row(k), part);
              }
              s = Q8 ? al.fma(part, al.row(al.cast(al.load(keyScales + units + u * BT + al.arange(BT)), al.f32)), s) : part;
            }
            if (SOFTCAP) s = cap * al.tanh(s / cap);
            let seen = al.row(at) <= al.col(own);
            if (window > 0) seen = seen && al.row(at) > al.col(own) - window;
            s = al.where(seen, s, -Infinity);
            const m = state + g * GROUP;
            const before = al.load(m + r);
            const now = al.max(before, al.max(s, { axis: 1 }));
            const e = al.exp(s - al.col(now));
            const shrink = al.exp(before - now);
            al.store(m + r, now);
            al.store(m + MR + r, al.load(m + MR + r) * shrink + al.sum(e, { axis: 1 }));
            const weights = work + al.col(r) * BT + al.row(al.arange(BT));
            if (!Q8) al.store(weights, e);
            for (let c = 0; c < D; c += DC) {
              // DC divides the group, whose scales the weights take over.
              if (Q8)
                al.store(weights, e * al.row(al.cast(al.load(valueScales + units + al.idiv(c, KV_GROUP) * BT + al.arange(BT)), al.f32)));
              const cell = m + 2 * MR + al.col(r) * D + c + al.row(al.arange(DC));
              let acc = al.load(cell) * al.col(shrink);
              const live = al.min(last - b * BT + 1, BT);
              for (let j = 0; j < live; j++) {
                const v = al.cast(al.load(values + base + j * D + c + al.arange(DC)), al.f32);
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
          const inside = row < rows;
          const to = (first + al.idiv(row, G)) * (KVH * G * D) + (kvHead * G + (row % G)) * D;
          const total = al.load(state + g * GROUP + MR + r);
          for (let c = 0; c < D; c += DC) {
            const acc = al.load(state + g * GROUP + 2 * MR + al.col(r) * D + c + al.row(al.arange(DC)));
            const mask = al.broadcast(al.col(inside), [MR, DC]);
            al.store(y + al.col(to) + c + al.row(al.arange(DC)), acc / al.col(total), { mask });
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

/** Tokens of a full prefill tile: 24 rows share each key block. */
export const prefillTokens = (G: number): number => Math.max(1, Math.floor(24 / G));

export interface AttentionShape {
  D: number;
  /** Query heads per KV head. */
  G: number;
  kv: KvType;
  sinks?: boolean;
  softcap?: boolean;
  /** Decode tiles hold one token, prefill tiles as many as fit the rows. */
  phase: "prefill" | "decode";
}

/** Kernel, compile-time values, row groups and scratch floats per program for a shape. */
export function attentionConfig(shape: AttentionShape) {
  const { D, G } = shape;
  // Of q8_0 no more than a group, which has one scale.
  const DC = [64, 48, 32, 16, 8, 4, 2, 1].find((c) => D % c === 0 && (shape.kv !== "q8_0" || c <= KV_GROUP))!;
  // Decode: the group's query heads, split evenly when they do not fit the registers.
  const MR = shape.phase === "prefill" ? 6 : Math.ceil(G / Math.ceil(G / 6));
  const tokens = shape.phase === "prefill" ? prefillTokens(G) : 1;
  const GROUPS = Math.ceil((tokens * G) / MR);
  return {
    kernel: attentionKernels[shape.kv],
    constexprs: { D, DC, MR, SINKS: shape.sinks ?? false, SOFTCAP: shape.softcap ?? false, BT: BLOCK_TOKENS },
    GROUPS,
    scratch: MR * BLOCK_TOKENS + GROUPS * (2 * MR + 2 * MR * D),
  };
}

export function attentionDispatches(ctx: OpContext, o: AttentionOptions): Dispatch[] {
  const c = attentionConfig({ ...o, sinks: o.sinks !== undefined, softcap: o.softcap > 0 });
  const scratch = ctx.scratch(o.maxCount * o.KVH * c.scratch * 4);
  const buffers = [o.q, o.keys, o.values, o.keys, o.values, o.tiles, o.table, o.sinks ?? o.q, scratch, o.y];
  return [
    {
      program: ctx.program(c.kernel, c.constexprs),
      grid: [o.count, o.KVH, 1],
      args: [...buffers, o.stride, o.column, o.KVH, o.G, c.GROUPS, o.window, o.scale, o.softcap],
    },
  ];
}

export const instances: Instance[] = (["f16", "q8_0"] as const).flatMap((kv) =>
  [64, 96, 128].flatMap((D) =>
    [1, 2, 3, 4, 5, 6].map((G) => {
      const { kernel, constexprs } = attentionConfig({ D, G, kv, phase: "decode" });
      return { kernel, constexprs };
    }),
  ),
);
