/** Cases of attention: prefill and decode tiles of two sequences over shuffled blocks. */
import { attentionConfig, attentionKernels, prefillTokens } from "../attention.ts";
import { attentionCombine } from "../attention-combine.ts";
import { flashConfig, flashKernels, gpuPrefillTokens } from "../gpu/attention.ts";
import { DEBUG_TUNING, GPU_TUNING } from "../gpu/tuning.ts";
import { BLOCK_TOKENS, KV_TYPES, kvBytes, type KvType } from "../kv-cache.ts";
import { below, type Case, type CaseArgs, type Data, floats, FUNCTIONS, type KernelCases, type Random } from "./case.ts";

interface Shape {
  D: number;
  G: number;
  KVH: number;
  phase: "prefill" | "decode";
  window: number;
  sinks: boolean;
  softcap: boolean;
  /** Tokens in the cache before, and new ones, of each sequence. */
  sequences: readonly { start: number; tokens: number }[];
}

const SHAPES: readonly Shape[] = [
  { D: 16, G: 2, KVH: 1, phase: "prefill", window: 0, sinks: false, softcap: false, sequences: [{ start: 0, tokens: 1 }] },
  {
    D: 8,
    G: 3,
    KVH: 2,
    phase: "prefill",
    window: 20,
    sinks: true,
    softcap: true,
    sequences: [
      { start: 60, tokens: 7 },
      { start: 0, tokens: 15 },
    ],
  },
  {
    D: 24,
    G: 4,
    KVH: 1,
    phase: "decode",
    window: 0,
    sinks: true,
    softcap: false,
    sequences: [
      { start: 0, tokens: 1 },
      { start: 70, tokens: 1 },
    ],
  },
  { D: 12, G: 9, KVH: 1, phase: "decode", window: 33, sinks: false, softcap: false, sequences: [{ start: 130, tokens: 1 }] },
];

const nameOf = (s: Shape): string =>
  `${s.phase}, ${s.KVH}x${s.G} heads of ${s.D}${s.window ? `, window ${s.window}` : ""}${s.sinks ? ", sinks" : ""}${s.softcap ? ", soft cap" : ""}`;

/** What both kernels read. */
function inputs(next: Random, s: Shape, kv: KvType, perTile: number) {
  const { D, G, KVH } = s;
  const counts = s.sequences.map((q) => Math.ceil((q.start + q.tokens) / BLOCK_TOKENS));
  const blocks = counts.reduce((a, b) => a + b, 0);
  const blockTable = Int32Array.from({ length: blocks }, (_, i) => (i * 5 + 2) % (blocks + (blocks % 5 === 0 ? 1 : 0)));
  const tiles: number[] = [];
  let row = 0;
  let table = 0;
  s.sequences.forEach((q, i) => {
    for (let t = 0; t < q.tokens; t += perTile) tiles.push(row + t, Math.min(perTile, q.tokens - t), q.start + t, table);
    row += q.tokens;
    table += counts[i];
  });
  const stride = (G + 2) * KVH * D + 3;
  const column = below(next, 4);
  const cells = (blocks + 1) * KVH * D * BLOCK_TOKENS;
  const cache = (): Data => {
    if (kv === "q8_0") return bytesWithScales(next, (blocks + 1) * KVH, D);
    return kv === "f16" ? Float16Array.from(floats(next, cells)) : floats(next, cells);
  };
  const [keys, values] = [cache(), cache()];
  return {
    args: {
      q: floats(next, row * stride, 3),
      keys,
      values,
      keyScales: new Float16Array(keys.buffer),
      valueScales: new Float16Array(values.buffer),
      tiles: Int32Array.from(tiles),
      blockTable,
      sinks: floats(next, G * KVH, 2),
      y: floats(next, row * KVH * G * D),
      stride,
      column,
      KVH,
      G,
      window: s.window,
      scale: 1 / Math.sqrt(D),
      cap: 5,
    },
    count: tiles.length / 4,
  };
}

/** Records of q8_0 (../kv-cache.ts): bytes, and behind them scales that make them values below 1. */
function bytesWithScales(next: Random, records: number, D: number): Int8Array {
  const bytes = kvBytes("q8_0", D) * BLOCK_TOKENS;
  const all = Int8Array.from({ length: records * bytes }, () => below(next, 255) - 127);
  const scales = new Float16Array(all.buffer);
  for (let r = 0; r < records; r++)
    for (let i = (r * bytes + D * BLOCK_TOKENS) / 2; i < ((r + 1) * bytes) / 2; i++) scales[i] = (0.5 + next() / 2) / 127;
  return all;
}

const scratching = (kv: KvType): KernelCases => ({
  kernel: attentionKernels[kv],
  tolerance: 1e-5,
  why: FUNCTIONS,
  only: "cpu",
  *cases(next) {
    const own = SHAPES.filter((_, i) => i % 2 === (kv === "f32" ? 1 : 0));
    for (const s of own) {
      const { args, count } = inputs(next, s, kv, s.phase === "prefill" ? prefillTokens("avx2", s.G, s.D) : 1);
      for (const splits of s.phase === "decode" ? [1, 2, 4] : [1]) {
        const { constexprs } = attentionConfig({ ...s, kv }, "avx2");
        const BM = Math.ceil(s.G / constexprs.MR) * constexprs.MR;
        const y = splits > 1 ? new Float32Array(count * s.KVH * splits * BM * (s.D + 2)) : args.y;
        const results =
          splits > 1 ? (a: CaseArgs) => ({ parts: joined(a.y as Float32Array, BM, s.D) }) : (a: CaseArgs) => ({ y: a.y as Data });
        yield {
          what: `${nameOf(s)}${splits > 1 ? `, ${splits} pieces` : ""}`,
          constexprs,
          grid: [count, s.KVH, splits],
          args: { ...args, D: s.D, sunk: Number(s.sinks), cap: s.softcap ? 5 : 0, y },
          results,
        };
      }
    }
  },
});

const flash = (kv: KvType): KernelCases => ({
  kernel: flashKernels[kv],
  tolerance: kv === "f32" ? 1e-4 : 2e-3,
  why: kv !== "f32" ? "probabilities are rounded to f16, perhaps the other way" : "exp, and sums of matrix units",
  *cases(next, target) {
    for (const s of target === "cpu" ? SHAPES.slice(1, 3) : SHAPES) {
      const perTile = s.phase === "prefill" ? gpuPrefillTokens(s.G, s.D) : 1;
      const { args, count } = inputs(next, s, kv, perTile);
      const { DP, BM, BN, SPLITS: all } = flashConfig(target === "cpu" ? DEBUG_TUNING : GPU_TUNING, { ...s, kv, maxCount: count });
      // As many pieces as show everything.
      const SPLITS = Math.min(all, 4);
      const SPLIT = SPLITS > 1;
      const y = SPLIT ? new Float32Array(count * s.KVH * SPLITS * BM * (s.D + 2)) : args.y;
      yield {
        what: nameOf(s),
        constexprs: { D: s.D, DP, BM, BN, SPLIT, SINKS: s.sinks, SOFTCAP: s.softcap, BT: BLOCK_TOKENS },
        grid: [count, s.KVH, SPLITS],
        args: { ...args, y },
        results: SPLIT ? (a) => ({ parts: joined(a.y as Float32Array, BM, s.D) }) : undefined,
      } satisfies Case;
    }
  },
});

/** Pieces as what they mean: sums over the maximum found, which itself may differ in the last bits. */
function joined(y: Float32Array, BM: number, D: number): Float32Array {
  const out: number[] = [];
  const size = BM * (D + 2);
  for (let at = 0; at < y.length; at += size) {
    for (let r = 0; r < BM; r++) {
      const [top, total] = [y[at + BM * D + r], y[at + BM * D + BM + r]];
      out.push(top, total === 0 ? 0 : Math.log(total));
      for (let d = 0; d < D; d++) out.push(total === 0 ? 0 : y[at + r * D + d] / total);
    }
  }
  // An empty piece has the lowest maximum there is: of no magnitude to compare others with.
  return Float32Array.from(out, (v) => (v < -1e29 ? -1 : v));
}

const combine: KernelCases = {
  kernel: attentionCombine,
  tolerance: 1e-5,
  why: FUNCTIONS,
  *cases(next) {
    for (const [count, KVH, G, D, SPLITS] of [
      [1, 1, 1, 4, 2],
      [0, 1, 2, 8, 2],
      [2, 2, 3, 20, 4],
    ]) {
      const BM = 8;
      const parts = floats(next, count * KVH * SPLITS * BM * (D + 2), 2);
      // Sums of weights are positive, and 0 where a piece is empty, whatever its values are.
      for (let p = 0; p < count * KVH * SPLITS; p++) {
        const at = p * BM * (D + 2) + BM * D;
        for (let r = 0; r < BM; r++) {
          const empty = p % SPLITS === SPLITS - 1;
          parts[at + r] = empty ? -1e30 : parts[at + r];
          parts[at + BM + r] = empty ? 0 : 1 + Math.abs(parts[at + BM + r]);
          if (empty) parts.fill(NaN, at - BM * D + r * D, at - BM * D + (r + 1) * D);
        }
      }
      const tiles = Int32Array.from({ length: count * 4 }, (_, i) => (i % 4 === 0 ? count - 1 - i / 4 : 0));
      const args = { parts, tiles, y: floats(next, count * KVH * G * D), KVH, G, BM, D };
      // At once, or in two steps.
      const constexprs = { SPLITS, DP: D > 8 ? Math.ceil(D / 16) * 8 : D };
      yield { what: `${count} tokens, ${KVH}x${G} heads of ${D}, ${SPLITS} pieces`, constexprs, grid: [count, KVH * G, 1], args };
    }
  },
};

export const attentionCases: readonly KernelCases[] = [...KV_TYPES.map(scratching), ...KV_TYPES.map(flash), combine];
