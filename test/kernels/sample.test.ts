import { describe, expect, test } from "bun:test";
import {
  NO_TOKEN,
  NOT_SAMPLED,
  CHUNK,
  listEntries,
  sampleBytes,
  samplePartials,
  sampleRows,
  writeSampling,
  type SampleBuffers,
} from "../../kernels/sample.ts";
import { interpret } from "../../src/compiler/ir/interpret.ts";
import type { RowSampling } from "../../src/models/api.ts";
import type { DeviceBuffer } from "../../src/runtime/device.ts";
import { NONE, philox, sampleTwin, uniform } from "./sample-twin.ts";

/** Host memory that looks like a device's. */
function hostBuffer(bytes: number): DeviceBuffer {
  const memory = new Uint8Array(Math.ceil(bytes / 4) * 4);
  return { bytes: memory.length, address: 0, slice: () => hostBuffer(0), view: () => memory, free: () => {} };
}

const ints = (b: DeviceBuffer): Int32Array => new Int32Array(b.view().buffer);
const floats = (b: DeviceBuffer): Float32Array => new Float32Array(b.view().buffer);

interface Sampled {
  tokens: Int32Array;
  logSumExp: Float32Array;
}

/** Runs both kernels on the interpreter, which defines what they mean. */
function sample(logits: Float32Array, V: number, rows: (RowSampling | null)[]): Sampled {
  const bytes = sampleBytes(rows.length, V, listEntries(rows));
  const b = Object.fromEntries(Object.entries(bytes).map(([k, n]) => [k, hostBuffer(n)])) as unknown as SampleBuffers;
  writeSampling(rows, b);
  const sizes = { V, TILES: Math.ceil(V / 64), CHUNKS: Math.ceil(V / CHUNK) };
  const shared = { logits, tileKeys: ints(b.tileKeys), partials: floats(b.partials), ...sizes };
  interpret(samplePartials.ir(), [sizes.CHUNKS, rows.length, 1], shared);
  const before = logits.slice();
  interpret(sampleRows.ir(), [rows.length, 1, 1], {
    ...shared,
    rowInts: ints(b.rowInts),
    rowFloats: floats(b.rowFloats),
    listIds: ints(b.listIds),
    listValues: floats(b.listValues),
    saved: floats(b.saved),
    candidateIds: ints(b.candidateIds),
    candidateValues: floats(b.candidateValues),
    tokens: ints(b.tokens),
    logSumExp: floats(b.logSumExp),
  });
  expect(new Uint32Array(logits.buffer)).toEqual(new Uint32Array(before.buffer));
  return { tokens: ints(b.tokens), logSumExp: floats(b.logSumExp) };
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

const seed = Number(process.env.ALLOY_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
console.log(`sampling seed ${seed} (ALLOY_TEST_SEED=${seed} repeats it)`);
let state = seed;
const random = (): number => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
};
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
  };
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

describe("sampling kernel on the interpreter", () => {
  test("agrees with the twin on random rows", () => {
    for (let round = 0; round < 60; round++) {
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

  test("draws as often as the probabilities say", () => {
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
