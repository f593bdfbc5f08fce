/**
 * Writing new keys and values into the paged cache. A block holds BT tokens of one layer:
 * keys [KVH][D][BT] (tokens innermost, so that scores are computed with tokens in the lanes), values [KVH][BT][D].
 *
 * As q8_0 (the numerics of llama.cpp's type of that name) a token's keys and values are bytes with a scale for every 32 of them. A head's
 * record in a block is then the bytes as above, and behind them the scales as f16 [D / 32][BT].
 * Grid: (KVH, T / TOKENS rounded up). Keys of one token are columns of D lines; where a CPU's threads each write a token, they write the same lines, which
 * then go back and forth between their caches. So a program takes TOKENS tokens, and LANES of them that follow each other in a block are turned in registers.
 */
import type { DeviceBuffer, Dispatch, Slot } from "../src/runtime/device.ts";
import type { BlockSizes, StepContext } from "./api.ts";
import type { Instance } from "./instances.ts";
import { constexpr, dim, f16, f32, fn, i32, i8, kernel, ptr } from "../src/compiler/language/index.ts";

/** How the cache stores keys and values. */
export type KvType = "f16" | "f32" | "q8_0";
export const KV_TYPES: readonly KvType[] = ["f16", "f32", "q8_0"];

/** Tokens per block. */
export const BLOCK_TOKENS = 64;
/** Values that share a scale. */
export const KV_GROUP = 32;

/** Bytes of a token's keys, or of its values, for a head of D elements. */
export const kvBytes = (type: KvType, D: number): number =>
  type === "q8_0" ? D + 2 * Math.ceil(D / KV_GROUP) : D * (type === "f16" ? 2 : 4);

const kvStore = (name: string, type: typeof f16 | typeof f32) =>
  kernel(
    name,
    {
      x: ptr(f32),
      slots: ptr(i32),
      keys: ptr(type),
      values: ptr(type),
      T: dim,
      stride: dim,
      keyColumn: dim,
      valueColumn: dim,
      KVH: dim,
      D: dim,
      BT: constexpr(BLOCK_TOKENS),
      LANES: constexpr(16),
      TOKENS: constexpr(1),
    },
    (al, { x, slots, keys, values, T, stride, keyColumn, valueColumn, KVH, D, BT, LANES, TOKENS }) => {
      const head = al.programId(0);
      const lanes = al.arange(LANES);
      const end = al.min(al.programId(1) * TOKENS + TOKENS, T);
      let t = al.programId(1) * TOKENS;
      while (t < end) {
        const slot = al.load(slots + t);
        const block = al.idiv(slot, BT);
        const offset = slot % BT;
        const base = (al.cast(block, al.i64) * KVH + head) * D * BT;
        const from = x + t * stride + head * D;
        let run = 1;
        if (
          TOKENS > 1 &&
          D % LANES === 0 &&
          t + LANES <= end &&
          offset + LANES <= BT &&
          al.all(al.load(slots + al.min(t + lanes, T - 1)) === slot + lanes)
        ) {
          run = LANES;
          const tile = from + al.col(lanes) * stride + al.row(lanes);
          for (let d = 0; d < D; d += LANES) {
            const k = al.trans(al.load(tile + keyColumn + d));
            al.store(keys + base + offset + (d + al.col(lanes)) * BT + al.row(lanes), k);
            const v = al.load(tile + valueColumn + d);
            al.store(values + base + (offset + al.col(lanes)) * D + d + al.row(lanes), v);
          }
        } else
          for (let i = 0; i < D; i += LANES) {
            const d = i + lanes;
            const k = al.load(from + keyColumn + d, { mask: d < D });
            al.store(keys + base + offset + d * BT, k, { mask: d < D });
            const v = al.load(from + valueColumn + d, { mask: d < D });
            al.store(values + base + offset * D + d, v, { mask: d < D });
          }
        t += run;
      }
    },
    { distinct: true },
  );

/** slots[t] = block · BT + position in block of token t; x: [T, stride] float32 rows with keys and values at the given columns. */
export const kvStoreF16 = kvStore("kv_store_f16", f16);
export const kvStoreF32 = kvStore("kv_store_f32", f32);

/** Bytes of values whose largest is at most `peak`. */
const bytesOf = fn((al, x, peak) => al.cast(al.round(x * al.where(peak > 0, 127 / peak, 0)), al.i8));

/** The same as bytes with scales; keyScales and valueScales are the same memory as keys and values. */
export const kvStoreQ8 = kernel(
  "kv_store_q8",
  {
    x: ptr(f32),
    slots: ptr(i32),
    keys: ptr(i8),
    keyScales: ptr(f16),
    values: ptr(i8),
    valueScales: ptr(f16),
    T: dim,
    stride: dim,
    keyColumn: dim,
    valueColumn: dim,
    KVH: dim,
    D: dim,
    BT: constexpr(BLOCK_TOKENS),
    TOKENS: constexpr(1),
  },
  (al, { x, slots, keys, keyScales, values, valueScales, T, stride, keyColumn, valueColumn, KVH, D, BT, TOKENS }) => {
    const head = al.programId(0);
    const groups = al.cdiv(D, 32);
    const lanes = al.arange(16);
    const end = al.min(al.programId(1) * TOKENS + TOKENS, T);
    let t = al.programId(1) * TOKENS;
    while (t < end) {
      const slot = al.load(slots + t);
      const offset = slot % BT;
      const record = al.cast(al.idiv(slot, BT), al.i64) * KVH + head;
      const base = record * (D * BT + 2 * groups * BT);
      const scales = record * (al.idiv(D * BT, 2) + groups * BT) + al.idiv(D * BT, 2) + offset;
      const from = x + t * stride + head * D;
      let run = 1;
      if (
        TOKENS > 1 &&
        D % 32 === 0 &&
        t + 16 <= end &&
        offset + 16 <= BT &&
        al.all(al.load(slots + al.min(t + lanes, T - 1)) === slot + lanes)
      ) {
        run = 16;
        const tile = from + al.col(lanes) * stride;
        for (let g = 0; g < groups; g++) {
          const k = tile + keyColumn + g * 32 + al.row(lanes);
          const first = al.trans(al.load(k));
          const second = al.trans(al.load(k + 16));
          const peakK = al.max(al.max(al.abs(first), al.abs(second)), { axis: 0 });
          const to = keys + base + offset + (g * 32 + al.col(lanes)) * BT + al.row(lanes);
          al.store(to, bytesOf(first, al.row(peakK)));
          al.store(to + 16 * BT, bytesOf(second, al.row(peakK)));
          al.store(keyScales + scales + g * BT + lanes, al.cast(peakK / 127, al.f16));
          const v = al.load(tile + valueColumn + g * 32 + al.row(al.arange(32)));
          const peakV = al.max(al.abs(v), { axis: 1 });
          al.store(values + base + (offset + al.col(lanes)) * D + g * 32 + al.row(al.arange(32)), bytesOf(v, al.col(peakV)));
          al.store(valueScales + scales + g * BT + lanes, al.cast(peakV / 127, al.f16));
        }
      } else
        for (let g = 0; g < groups; g++) {
          const d = g * 32 + al.arange(32);
          const k = al.load(from + keyColumn + d, { mask: d < D });
          const peakK = al.max(al.abs(k));
          al.store(keys + base + offset + d * BT, bytesOf(k, peakK), { mask: d < D });
          al.store(keyScales + scales + g * BT, al.cast(peakK / 127, al.f16));
          const v = al.load(from + valueColumn + d, { mask: d < D });
          const peakV = al.max(al.abs(v));
          al.store(values + base + offset * D + d, bytesOf(v, peakV), { mask: d < D });
          al.store(valueScales + scales + g * BT, al.cast(peakV / 127, al.f16));
        }
      t += run;
    }
  },
  { distinct: true, uses: { bytesOf } },
);

/** The values of a q8_0 cache in the order of its bytes, for tests. */
export function dequantised(cache: Int8Array, D: number, which: "keys" | "values"): Float32Array {
  const BT = BLOCK_TOKENS;
  const record = kvBytes("q8_0", D) * BT;
  const scales = new Float16Array(cache.buffer, cache.byteOffset, cache.byteLength / 2);
  return Float32Array.from({ length: (cache.length / record) * D * BT }, (_, i) => {
    const [r, at] = [Math.floor(i / (D * BT)), i % (D * BT)];
    const [d, t] = which === "keys" ? [Math.floor(at / BT), at % BT] : [at % D, Math.floor(at / D)];
    const group = Math.floor(d / KV_GROUP);
    const scale = scales[(r * record + D * BT) / 2 + group * BT + t];
    return cache[r * record + at] * scale;
  });
}

export interface KvStoreOptions {
  kv: KvType;
  /** Rows [T, stride] with keys and values at the given columns. */
  x: DeviceBuffer;
  slots: DeviceBuffer;
  keys: DeviceBuffer;
  values: DeviceBuffer;
  stride: number;
  keyColumn: number;
  valueColumn: number;
  KVH: number;
  D: number;
  T: Slot | number;
  /** Programs for T tokens: T / tokens, rounded up. */
  groups: Slot | number;
  /** Elements per step, where they are stored as floats, and tokens of a program. */
  blocks: BlockSizes["kvStore"];
}

export function kvStoreDispatch(ctx: Pick<StepContext, "program">, o: KvStoreOptions): Dispatch {
  const rest = [o.T, o.stride, o.keyColumn, o.valueColumn, o.KVH, o.D];
  const grid = [o.KVH, o.groups, 1] as const;
  const { lanes: LANES, tokens: TOKENS } = o.blocks;
  if (o.kv === "q8_0")
    return {
      program: ctx.program(kvStoreQ8, { BT: BLOCK_TOKENS, TOKENS }),
      grid,
      args: [o.x, o.slots, o.keys, o.keys, o.values, o.values, ...rest],
    };
  const program = ctx.program(o.kv === "f16" ? kvStoreF16 : kvStoreF32, { BT: BLOCK_TOKENS, LANES, TOKENS });
  return { program, grid, args: [o.x, o.slots, o.keys, o.values, ...rest] };
}

/** Tokens of a CPU's program: keys of so many are whole cache lines. */
export const CPU_KV_STORE: BlockSizes["kvStore"] = { lanes: 16, tokens: 32 };

export const instances: Instance[] = [
  ...[kvStoreF16, kvStoreF32].map((kernel) => ({
    kernel,
    constexprs: { BT: BLOCK_TOKENS, LANES: CPU_KV_STORE.lanes, TOKENS: CPU_KV_STORE.tokens },
  })),
  { kernel: kvStoreQ8, constexprs: { BT: BLOCK_TOKENS, TOKENS: CPU_KV_STORE.tokens } },
];
