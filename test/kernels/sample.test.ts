/** The sampling kernels beside their plain twin, on the interpreter and on the CPU device. */
import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import type { KernelSet } from "../../kernels/api.ts";
import { cpuKernels } from "../../kernels/cpu.ts";
import { gpuKernels } from "../../kernels/gpu/index.ts";
import {
  listEntries,
  maskedRows,
  maskWords,
  NO_TOKEN,
  NOT_SAMPLED,
  type SampleBuffers,
  sampleBytes,
  sampleDispatches,
  writeSampling,
} from "../../kernels/sample.ts";
import type { RowSampling } from "../../src/models/api.ts";
import { createDevice } from "../../src/runtime/index.ts";
import { deviceRunner, interpreterRunner, random as randomOf, type Runner, SEED } from "./runners.ts";
import { NONE, philox, sampleTwin, uniform } from "./sample-twin.ts";

// The first run compiles the kernels.
setDefaultTimeout(120_000);
const device = createDevice("cpu", { threads: 2 });
afterAll(() => device.close());

interface Sampled {
  tokens: Int32Array;
  logSumExp: Float32Array;
}

/** Samples rows, and checks that their logits are afterwards, bit for bit, what they were. */
function sampleOn(r: Runner, set: KernelSet, logits: Float32Array, V: number, rows: (RowSampling | null)[]): Sampled {
  const bytes = sampleBytes(rows.length, V, listEntries(rows), maskedRows(rows));
  const buffers = Object.fromEntries(Object.entries(bytes).map(([k, n]) => [k, r.buffer(n)])) as unknown as SampleBuffers;
  writeSampling(rows, buffers);
  const memory = r.buffer(logits);
  r.run(sampleDispatches(r.ctx.program, set.sampling, { logits: memory, buffers, V, rows: rows.length }));
  const before = new Uint8Array(logits.buffer, logits.byteOffset, logits.byteLength);
  expect(Buffer.compare(memory.view(0, logits.byteLength), before)).toBe(0);
  const tokens = new Int32Array(buffers.tokens.view(0, rows.length * 4).slice().buffer);
  const logSumExp = new Float32Array(buffers.logSumExp.view(0, rows.length * 4).slice().buffer);
  for (const b of [memory, ...(Object.values(buffers) as (typeof memory)[])]) b.free();
  return { tokens, logSumExp };
}

const PLAIN: RowSampling = {
  temperature: 1,
  topK: 0,
  topP: 1,
  minP: 0,
  repeatPenalty: 1,
  frequencyPenalty: 0,
  presencePenalty: 0,
  penaltyIds: new Int32Array(0),
  penaltyCounts: new Int32Array(0),
  biasIds: new Int32Array(0),
  biasValues: new Float32Array(0),
  seed: [1, 2],
  counter: 0,
};

/** The token must be the twin's, or one next to it when the random number falls on the border between both. */
function expectLikeTwin(logits: Float32Array, s: RowSampling, token: number, logSumExp: number, what: string): void {
  const twin = sampleTwin(logits, s);
  if (twin.logSumExp === -Infinity) expect(logSumExp, what).toBe(-Infinity);
  else expect(Math.abs(logSumExp - twin.logSumExp) / Math.max(1, Math.abs(twin.logSumExp)), what).toBeLessThan(1e-5);
  if (token === twin.token) return;
  let sum = 0;
  for (const { id, p } of twin.candidates) {
    const near = twin.u > sum - 2e-5 && twin.u < sum + p + 2e-5;
    if (id === token && near) return;
    sum += p;
  }
  throw new Error(`${what}: drew ${token}, the twin ${twin.token} of ${twin.candidates.length} with u = ${twin.u}`);
}

const random = randomOf(SEED);
const pick = <T>(...of: T[]): T => of[Math.floor(random() * of.length)];
const normal = (): number => Math.sqrt(-2 * Math.log(random() + 1e-12)) * Math.cos(2 * Math.PI * random());
const distinct = (n: number, V: number): Int32Array => Int32Array.from(new Set(Array.from({ length: n }, () => Math.floor(random() * V))));

function randomRow(V: number): RowSampling {
  const penaltyIds = distinct(pick(0, 0, 3, 40), V);
  const biasIds = distinct(pick(0, 0, 2, 20), V);
  return {
    temperature: pick(0, 0.2, 0.7, 1, 1, 2.5),
    topK: pick(0, 0, 1, 5, 40, 200, V, 10 * V),
    topP: pick(1, 1, 0.95, 0.5, 0.05, 0),
    minP: pick(0, 0, 0.05, 0.5, 1),
    repeatPenalty: pick(1, 1.1, 2, 0.5),
    frequencyPenalty: pick(0, 0.5, -0.5),
    presencePenalty: pick(0, 1, -1),
    penaltyIds,
    penaltyCounts: Int32Array.from(penaltyIds, () => Math.floor(random() * 4)),
    biasIds,
    biasValues: Float32Array.from(biasIds, () => pick(-Infinity, -5, 5, 20)),
    seed: [Math.floor(random() * 2 ** 32), Math.floor(random() * 2 ** 32)],
    counter: Math.floor(random() * 1000),
    mask: pick(undefined, undefined, randomMask(V)),
  };
}

/** A mask with many, few or no permitted tokens. */
function randomMask(V: number): Int32Array {
  const density = pick(0, 0.01, 0.5, 1);
  const mask = new Int32Array(maskWords(V));
  for (let id = 0; id < V; id++) if (random() < density) mask[id >> 5] |= 1 << (id & 31);
  return mask;
}

/** Rows like a model's, flat ones, coarse ones full of ties, and damaged ones. */
function randomLogits(V: number): Float32Array {
  const kind = pick("model", "model", "flat", "ties", "damaged", "two");
  const spread = pick(1, 3, 6);
  return Float32Array.from({ length: V }, () => {
    const x = normal() * spread;
    if (kind === "flat") return x * 0.001;
    if (kind === "ties") return Math.round(x) - 0;
    if (kind === "damaged") return pick(x, x, x, NaN, -Infinity, random() < 0.01 ? Infinity : x, -0, 0);
    if (kind === "two") return random() < 0.01 ? 5 : -Infinity;
    return x;
  });
}

describe.each([
  { name: "interpreter", make: interpreterRunner, rounds: 20, set: cpuKernels },
  { name: "interpreter, as wide as on GPUs", make: interpreterRunner, rounds: 6, set: gpuKernels },
  { name: "cpu", make: () => deviceRunner(device), rounds: 400, set: cpuKernels },
])("sampling on $name", ({ make, rounds, set }) => {
  const runner = make();
  const sample = (logits: Float32Array, V: number, rows: (RowSampling | null)[]): Sampled => sampleOn(runner, set, logits, V, rows);

  test("agrees with the twin on random rows", () => {
    for (let round = 0; round < rounds; round++) {
      const V = pick(7, 64, 100, 1000, 3001);
      const rows = [0, 1, 2].map(() => (random() < 0.1 ? null : randomRow(V)));
      const logits = rows.map(() => randomLogits(V));
      const { tokens, logSumExp } = sample(concat(logits), V, rows);
      rows.forEach((r, i) => {
        if (r) expectLikeTwin(logits[i], r, tokens[i], logSumExp[i], `round ${round}, row ${i}, V ${V}`);
        else expect(tokens[i]).toBe(NOT_SAMPLED);
      });
    }
  });

  test("agrees with the twin where candidates come from tile maxima", () => {
    const V = 40_000;
    for (const [topK, topP, spread] of [
      [40, 1, 4],
      [40, 0.9, 4],
      [0, 0.9, 4],
      [0, 0.95, 0.5],
      [600, 0.99, 2],
    ]) {
      const logits = Float32Array.from({ length: V }, () => normal() * spread);
      const s = { ...randomRow(V), temperature: 0.9, topK, topP, minP: 0 };
      const { tokens, logSumExp } = sample(logits.slice(), V, [s]);
      expectLikeTwin(logits, s, tokens[0], logSumExp[0], `topK ${topK}, topP ${topP}, spread ${spread}`);
    }
  });

  test("greedy takes the lowest of equals, and +Infinity", () => {
    const greedy = { ...PLAIN, temperature: 0 };
    const logits = new Float32Array(300).fill(1);
    expect(sample(logits.slice(), 300, [greedy]).tokens[0]).toBe(0);
    logits[130] = logits[290] = 7;
    expect(sample(logits.slice(), 300, [greedy]).tokens[0]).toBe(130);
    logits[200] = Infinity;
    expect(sample(logits.slice(), 300, [greedy]).tokens[0]).toBe(200);
    expect(sample(Float32Array.of(-0, 0, NaN), 3, [greedy]).tokens[0]).toBe(0);
  });

  test("a row without a finite logit gives no token", () => {
    const nothing = Float32Array.of(NaN, -Infinity, NaN, -Infinity);
    const banned = { ...PLAIN, biasIds: Int32Array.of(0, 1, 2), biasValues: new Float32Array(3).fill(-Infinity) };
    expect(sample(nothing, 4, [PLAIN]).tokens[0]).toBe(NO_TOKEN);
    expect(sample(Float32Array.of(1, 2, 3), 3, [banned]).tokens[0]).toBe(NO_TOKEN);
    expect(sample(Float32Array.of(1, 2, 3), 3, [{ ...banned, temperature: 0 }]).tokens[0]).toBe(NO_TOKEN);
    expect(NONE).toBe(NO_TOKEN);
  });

  // The interpreter takes a second per hundred rows when each is as wide as a threadgroup.
  test.skipIf(set === gpuKernels)("draws as often as the probabilities say", () => {
    const logits = Float32Array.of(Math.log(0.5), Math.log(0.3), Math.log(0.2));
    const rows = Array.from({ length: 2000 }, (_, counter) => ({ ...PLAIN, counter }));
    const { tokens } = sample(concat(rows.map(() => logits)), 3, rows);
    const share = (id: number): number => tokens.filter((t) => t === id).length / tokens.length;
    expect(Math.abs(share(0) - 0.5)).toBeLessThan(0.05);
    expect(Math.abs(share(1) - 0.3)).toBeLessThan(0.05);
  });
});

test("the random number is Philox4x32-10 of the published test vectors", () => {
  expect(philox([0, 0], [0, 0, 0, 0]).map((w) => w.toString(16))).toEqual(["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"]);
  const ones = 0xffffffff;
  expect(philox([ones, ones], [ones, ones, ones, ones]).map((w) => w.toString(16))).toEqual([
    "408f276d",
    "41c83b0e",
    "a20bc7c6",
    "6d5451fd",
  ]);
  expect(uniform([0, 0], 0)).toBe((0x6627e8d5 >>> 8) / 2 ** 24);
});

function concat(rows: Float32Array[]): Float32Array {
  const out = new Float32Array(rows.reduce((n, r) => n + r.length, 0));
  let at = 0;
  for (const r of rows) {
    out.set(r, at);
    at += r.length;
  }
  return out;
}
