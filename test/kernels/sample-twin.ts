/** What kernels/sample.ts computes, in plain TypeScript and double precision: sort, filter, draw. */
import type { RowSampling } from "../../src/models/api.ts";

export interface Twin {
  token: number;
  logSumExp: number;
  /** What can be drawn, in order of id, with probabilities. */
  candidates: { id: number; p: number }[];
  /** The random number in [0, 1). */
  u: number;
}

/** Token of a row in which no token has a finite logit. */
export const NONE = -2;

export function sampleTwin(raw: Float32Array, s: RowSampling): Twin {
  const clean = Array.from(raw, (x) => (Number.isNaN(x) ? -Infinity : Math.min(x, MAX_F32)));
  const logSumExp = lse(clean);
  let x = [...clean];
  s.penaltyIds.forEach((id, i) => {
    const scaled = x[id] > 0 ? x[id] / s.repeatPenalty : x[id] * s.repeatPenalty;
    x[id] = Math.fround(scaled - s.penaltyCounts[i] * s.frequencyPenalty - (s.penaltyCounts[i] > 0 ? s.presencePenalty : 0));
  });
  s.biasIds.forEach((id, i) => (x[id] = Math.fround(x[id] + s.biasValues[i])));
  x = x.map((v) => Math.min(v, MAX_F32));
  const { mask } = s;
  if (mask) x = x.map((v, id) => ((mask[id >> 5] >> (id & 31)) & 1 ? v : -Infinity));
  const u = uniform(s.seed, s.counter);
  let order = x.map((_, id) => id).filter((id) => x[id] > -Infinity);
  order.sort((a, b) => x[b] - x[a] || a - b);
  if (order.length === 0) return { token: NONE, logSumExp, candidates: [], u };
  const max = x[order[0]];
  if (s.temperature === 0) return { token: order[0], logSumExp, candidates: [{ id: order[0], p: 1 }], u };
  if (s.topK > 0) order = order.slice(0, s.topK);
  if (s.topP < 1) {
    const weights = order.map((id) => Math.exp(x[id] - max));
    const target = s.topP * weights.reduce((a, b) => a + b);
    let sum = 0;
    const n = weights.findIndex((w) => (sum += w) >= target);
    order = order.slice(0, n === -1 ? order.length : n + 1);
  }
  if (s.minP > 0) order = order.filter((id) => x[id] >= Math.fround(max + Math.log(Math.min(s.minP, 1))));
  order.sort((a, b) => a - b);
  const weights = order.map((id) => Math.exp((x[id] - max) / s.temperature));
  const total = weights.reduce((a, b) => a + b);
  const candidates = order.map((id, i) => ({ id, p: weights[i] / total }));
  let left = u;
  const chosen = candidates.find(({ p }) => (left -= p) < 0) ?? candidates.findLast(({ p }) => p > 0)!;
  return { token: chosen.id, logSumExp, candidates, u };
}

const MAX_F32 = 3.4028234663852886e38;

function lse(x: readonly number[]): number {
  const max = x.reduce((a, b) => Math.max(a, b), -Infinity);
  if (max === -Infinity) return -Infinity;
  return max + Math.log(x.reduce((sum, v) => sum + Math.exp(v - max), 0));
}

/** Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", 2011): the first word's upper 24 bits as a fraction. */
export function uniform(seed: readonly [number, number], counter: number): number {
  return (philox(seed, [counter >>> 0, 0, 0, 0])[0] >>> 8) / 2 ** 24;
}

export function philox(key: readonly [number, number], counter: readonly number[]): number[] {
  let [k0, k1] = key;
  let [c0, c1, c2, c3] = counter;
  for (let round = 0; round < 10; round++) {
    const a = BigInt(c0) * 0xd2511f53n;
    const b = BigInt(c2) * 0xcd9e8d57n;
    const high = (v: bigint): number => Number(v >> 32n);
    const low = (v: bigint): number => Number(v & 0xffffffffn);
    [c0, c1, c2, c3] = [(high(b) ^ c1 ^ k0) >>> 0, low(b), (high(a) ^ c3 ^ k1) >>> 0, low(a)];
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [c0, c1, c2, c3];
}
