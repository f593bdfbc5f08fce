/** The second half of attention whose context was cut into pieces, on CPUs (./attention.ts) and GPUs (./gpu/attention.ts). */
import { constexpr, dim, i32, f32, kernel, ptr } from "../src/compiler/language/index.ts";

/**
 * Joins the pieces of the context of every decode tile. A piece of a KV head: results [BM][D], not divided, maxima [BM], sums [BM]; a sum of 0
 * is an empty piece. DP elements of a head at a time. Grid: (tiles, query heads).
 */
export const attentionCombine = kernel(
  "attention_combine",
  {
    parts: ptr(f32),
    tiles: ptr(i32),
    y: ptr(f32),
    KVH: dim,
    G: dim,
    BM: dim,
    D: dim,
    SPLITS: constexpr(8),
    DP: constexpr(128),
  },
  (al, { parts, tiles, y, KVH, G, BM, D, SPLITS, DP }) => {
    const tile = al.programId(0);
    const head = al.programId(1);
    const row = head % G;
    const from = parts + (tile * KVH + al.idiv(head, G)) * (SPLITS * BM * (D + 2));
    const s = al.arange(SPLITS) * (BM * (D + 2)) + BM * D + row;
    const tops = al.load(from + s);
    const top = al.max(tops);
    const total = al.sum(al.load(from + s + BM) * al.exp(tops - top));
    // By its reciprocal, as ./attention.ts does without pieces: where one piece holds all keys, not a bit differs.
    const share = 1 / total;
    const to = al.load(tiles + tile * 4) * (KVH * G * D) + head * D;
    for (let c = 0; c < D; c += DP) {
      const d = c + al.arange(DP);
      let sums = al.zeros([DP], al.f32);
      for (let i = 0; i < SPLITS; i++) {
        const part = from + i * (BM * (D + 2));
        const own = al.load(part + BM * D + row);
        if (al.load(part + BM * D + BM + row) > 0) sums = al.fma(al.load(part + row * D + d, { mask: d < D }), al.exp(own - top), sums);
      }
      al.store(y + to + d, sums * share, { mask: d < D });
    }
  },
  { distinct: true },
);
