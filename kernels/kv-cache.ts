/**
 * Writing new keys and values into the paged cache. A block holds BT tokens of one layer:
 * keys [KVH][D][BT] (tokens innermost, so that scores are computed with tokens in the lanes), values [KVH][BT][D].
 * Grid: (KVH, T).
 */
import type { Instance } from "./instances.ts";
import { constexpr, dim, f16, f32, i32, kernel, ptr } from "../src/compiler/language/index.ts";

/** How the cache stores keys and values. */
export type KvType = "f16" | "f32";

/** Tokens per block. */
export const BLOCK_TOKENS = 64;

const kvStore = (name: string, type: typeof f16 | typeof f32) =>
  kernel(
    name,
    {
      x: ptr(f32),
      slots: ptr(i32),
      keys: ptr(type),
      values: ptr(type),
      stride: dim,
      keyColumn: dim,
      valueColumn: dim,
      KVH: dim,
      D: dim,
      BT: constexpr(BLOCK_TOKENS),
      LANES: constexpr(16),
    },
    (al, { x, slots, keys, values, stride, keyColumn, valueColumn, KVH, D, BT, LANES }) => {
      const head = al.programId(0);
      const t = al.programId(1);
      const slot = al.load(slots + t);
      const block = al.idiv(slot, BT);
      const offset = slot % BT;
      const base = (al.cast(block, al.i64) * KVH + head) * D * BT;
      const from = t * stride + head * D;
      for (let i = 0; i < D; i += LANES) {
        const d = i + al.arange(LANES);
        const k = al.load(x + from + keyColumn + d, { mask: d < D });
        al.store(keys + base + offset + d * BT, k, { mask: d < D });
        const v = al.load(x + from + valueColumn + d, { mask: d < D });
        al.store(values + base + offset * D + d, v, { mask: d < D });
      }
    },
    { distinct: true },
  );

/** slots[t] = block · BT + position in block of token t; x: [T, stride] float32 rows with keys and values at the given columns. */
export const kvStoreF16 = kvStore("kv_store_f16", f16);
export const kvStoreF32 = kvStore("kv_store_f32", f32);

export const instances: Instance[] = [kvStoreF16, kvStoreF32].map((kernel) => ({ kernel, constexprs: { BT: BLOCK_TOKENS, LANES: 16 } }));
