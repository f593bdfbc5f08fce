/**
 * Flash attention (Dao et al. 2022) in forty lines: softmax(q kᵀ) v for a block of queries at a time, while keys and values pass by in blocks. The
 * T × S scores never reach memory: a running maximum and sum rescale what was added up so far. Run it: bun examples/flash-attention.ts
 */
import { constexpr, dim, f32, kernel, out, ptr, scalar } from "../src/compiler/language/index.ts";
import { attention, buffer } from "../src/lazy/index.ts";
import { check, noise, time } from "./check.ts";

/** y = softmax(scale · q kᵀ) v for one head. q, y: [T, D], k, v: [S, D]. Grid: (ceil(T / BM)). */
export const flashAttention = kernel(
  "flash_attention",
  {
    q: ptr(f32),
    k: ptr(f32),
    v: ptr(f32),
    y: out(f32, (args) => (args.q as Float32Array).length),
    T: dim,
    S: dim,
    scale: scalar(f32),
    D: constexpr(64),
    BM: constexpr(16),
    BN: constexpr(32),
  },
  (al, { q, k, v, y, T, S, scale, D, BM, BN }) => {
    const t = al.programId(0) * BM + al.arange(BM);
    const d = al.row(al.arange(D));
    const mine = al.col(t) < T;
    const queries = al.load(q + al.col(t) * D + d, { mask: mine });

    let peak = al.full([BM], -Infinity); // the largest score of each query so far
    let total = al.zeros([BM]); // the sum of exp(score - peak)
    let acc = al.zeros([BM, D]); // the sum of exp(score - peak) · value
    for (let s = 0; s < S; s += BN) {
      const n = s + al.arange(BN);
      const there = al.col(n) < S;
      const keys = al.load(k + al.col(n) * D + d, { mask: there });
      const values = al.load(v + al.col(n) * D + d, { mask: there });
      const score = al.where(al.row(n) < S, al.dot(queries, keys, { transposeB: true }) * scale, -Infinity);

      const higher = al.max(peak, al.max(score, { axis: 1 }));
      const shrink = al.exp(peak - higher); // what was summed before is too large by this
      const e = al.exp(score - al.col(higher));
      total = total * shrink + al.sum(e, { axis: 1 });
      acc = al.dot(e, values, acc * al.col(shrink));
      peak = higher;
    }
    al.store(y + al.col(t) * D + d, acc / al.col(total), { mask: mine });
  },
);

export async function main(T = 200, S = 200): Promise<void> {
  const D = 64;
  const [q, k, v] = [noise(T * D), noise(S * D), noise(S * D)];
  const scale = 1 / Math.sqrt(D);
  const run = () => flashAttention.grid(Math.ceil(T / 16))({ q, k, v, T, S, scale });
  const y = await run();

  const plain = (i: number): number => {
    const [t, d] = [Math.floor(i / D), i % D];
    let [sum, weights] = [0, 0];
    for (let s = 0; s < S; s++) {
      let score = 0;
      for (let c = 0; c < D; c++) score += q[t * D + c] * k[s * D + c];
      const e = Math.exp(score * scale);
      weights += e;
      sum += e * v[s * D + d];
    }
    return sum / weights;
  };
  console.log(`by hand: ${check(y.subarray(0, 8 * D), plain)}`);
  const builtin = await attention(buffer(q, [T, D]), buffer(k, [S, D]), buffer(v, [S, D])).read();
  console.log(`builtin: ${check(builtin as Float32Array, (i) => y[i])}`);
  console.log(`${T} queries, ${S} keys of ${D}: ${(await time(run)).toFixed(2)} ms`);
}

if (import.meta.main) await main();
