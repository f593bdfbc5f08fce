/**
 * From logits to tokens. Two kernels: `samplePartials` reads the rows once, in pieces and in parallel, for the normaliser and the
 * maximum of every tile of 64 logits; `sampleRows` then does everything else, one program per row, in the order of llama.cpp's default
 * chain: penalties, logit bias, top-k, top-p, min-p, temperature, draw. Before all of them comes a row's mask of permitted tokens, if it has one.
 *
 * Top-k, top-p and min-p each keep a prefix of the tokens in order (logit descending, id ascending), so all three together are one
 * threshold and a number of tokens that lie exactly on it. Thresholds are found by bisection on `key`, an integer that orders as the
 * floats do, hence exactly. A 150k vocabulary is not read 30 times for that: the k-th largest tile maximum is at most the k-th largest
 * logit, so only tiles that reach it can hold one of the k largest, and the bisection runs over the few candidates in those. With top-p
 * alone k is `RANK`, and if the candidates' share of the probability does not reach p (a nearly flat row), the whole row is used.
 *
 * NaN counts as -Infinity and +Infinity as the largest float. The random number is Philox4x32-10 of seed and counter (Salmon et al.,
 * "Parallel Random Numbers: As Easy as 1, 2, 3", 2011), so it depends on nothing else that runs.
 */
import { constexpr, dim, f32, i32, kernel, ptr, type AnyKernel } from "../src/compiler/language/index.ts";
import type { RowSampling } from "../src/models/api.ts";
import type { DeviceBuffer, Dispatch, Program, Slot } from "../src/runtime/device.ts";
import { AlloyError } from "../src/support/errors.ts";
import type { ConstexprValues, KernelSet } from "./api.ts";
import type { Instance } from "./instances.ts";
import { choose, clean, countKeys, keyOf, LOWEST, middle, TILE, tileAt, uniform, valueOf, weightFrom } from "./sample-search.ts";

/** Logits per program of `samplePartials`. */
export const CHUNK = 4096;
/** Candidates that a row's scratch holds; with more, the whole row is searched. */
export const CAPACITY = 4096;
/** Tile maxima that bound the candidates where top-p comes without top-k. */
const RANK = 512;

/** Token of a row in which nothing can be drawn: every logit is NaN, -Infinity or banned. */
export const NO_TOKEN = -2;
/** Token of a row that asked for logits only. */
export const NOT_SAMPLED = -1;

/**
 * Places in a row's integers (`rowInts`) and floats (`rowFloats`). A list is where its entries lie in `listIds` and `listValues`; a mask
 * is one more than the row's place in `masks`.
 */
const INT = { sampled: 0, penalties: 1, penaltyCount: 2, biases: 3, biasCount: 4, topK: 5, seedLow: 6, seedHigh: 7, counter: 8, mask: 9 };
const FLOAT = { inverseTemperature: 0, topP: 1, logMinP: 2, repeat: 3, frequency: 4, presence: 5 };
const INTS = 16;
const FLOATS = 8;

/** On a GPU a thread has four logits. */
const simdgroups = (c: { W: number }): number => Math.max(1, c.W / 128);

/**
 * logits: [rows, V] float32; W of them are looked at together. tileKeys: [rows, TILES] int32, the largest key of each tile; partials: [rows, CHUNKS, 2] float32, maximum and
 * sum of exp(logit - maximum) of each chunk. Grid: (CHUNKS, rows).
 */
export const samplePartials = kernel(
  "sample_partials",
  {
    logits: ptr(f32),
    tileKeys: ptr(i32),
    partials: ptr(f32),
    V: dim,
    TILES: dim,
    CHUNKS: dim,
    TILE: constexpr(TILE),
    CHUNK: constexpr(CHUNK),
    W: constexpr(TILE),
  },
  (al, { logits, tileKeys, partials, V, TILES, CHUNKS, TILE, CHUNK, W }) => {
    const chunk = al.programId(0);
    const row = al.programId(1);
    const x = logits + al.cast(row, al.i64) * V;
    const begin = chunk * CHUNK;
    const end = al.min(begin + CHUNK, V);
    let largest = al.full([W], -Infinity, al.f32);
    for (let i = begin; i < end; i += W) {
      const v = tileAt(x, tileKeys, false, i, V, W);
      const tile = al.idiv(i, TILE);
      if (W === TILE) al.store(tileKeys + row * TILES + tile, al.max(keyOf(v)));
      else {
        const tiles = tile + al.arange(W / TILE);
        al.store(tileKeys + row * TILES + tiles, al.max(al.reshape(keyOf(v), [W / TILE, TILE]), { axis: 1 }), { mask: tiles < TILES });
      }
      largest = al.max(largest, v);
    }
    const max = al.max(largest);
    let sum = al.zeros([W], al.f32);
    if (max > -Infinity) for (let i = begin; i < end; i += W) sum += al.exp(tileAt(x, tileKeys, false, i, V, W) - max);
    const out = partials + (row * CHUNKS + chunk) * 2;
    al.store(out, max);
    al.store(out + 1, al.sum(sum));
  },
  { uses: { tileAt, keyOf }, simdgroups },
);

/**
 * Rows as `samplePartials` left them, parameters as `writeSampling` lays them out. Logits are changed while a row is worked on
 * (penalties, bias; the old values wait in `saved`) and are as before at the end. masks: [masked rows, V / 32] int32, a bit per
 * token, lowest first. tokens: [rows] int32; logSumExp: [rows] float32. Grid: (rows).
 */
export const sampleRows = kernel(
  "sample_rows",
  {
    logits: ptr(f32),
    tileKeys: ptr(i32),
    partials: ptr(f32),
    rowInts: ptr(i32),
    rowFloats: ptr(f32),
    listIds: ptr(i32),
    listValues: ptr(f32),
    saved: ptr(f32),
    masks: ptr(i32),
    candidateIds: ptr(i32),
    candidateValues: ptr(f32),
    tokens: ptr(i32),
    logSumExp: ptr(f32),
    V: dim,
    TILES: dim,
    CHUNKS: dim,
    TILE: constexpr(TILE),
    LANES: constexpr(16),
    W: constexpr(TILE),
  },
  (al, p) => {
    const { logits, tileKeys, partials, rowInts, rowFloats, listIds, listValues, saved, candidateIds, candidateValues } = p;
    const { masks } = p;
    const { tokens, logSumExp, V, TILES, CHUNKS, TILE, LANES, W } = p;
    const row = al.programId(0);
    const x = logits + al.cast(row, al.i64) * V;
    const tiles = tileKeys + row * TILES;
    const ints = rowInts + row * INTS;
    const floats = rowFloats + row * FLOATS;

    let top = al.cast(-Infinity, al.f32);
    for (let c = 0; c < CHUNKS; c += 1) top = al.max(top, al.load(partials + (row * CHUNKS + c) * 2));
    let sum = al.cast(0, al.f32);
    if (top > -Infinity) {
      for (let c = 0; c < CHUNKS; c += 1) {
        const part = partials + (row * CHUNKS + c) * 2;
        sum += al.load(part + 1) * al.exp(al.load(part) - top);
      }
    }
    al.store(logSumExp + row, top > -Infinity ? top + al.log(sum) : top);

    let token = al.cast(NOT_SAMPLED, al.i32);
    if (al.load(ints + INT.sampled) > 0) {
      const penalties = al.load(ints + INT.penalties);
      const penaltyEnd = penalties + al.load(ints + INT.penaltyCount);
      const biases = al.load(ints + INT.biases);
      const biasEnd = biases + al.load(ints + INT.biasCount);
      const repeat = al.load(floats + FLOAT.repeat);
      const frequency = al.load(floats + FLOAT.frequency);
      const presence = al.load(floats + FLOAT.presence);
      const place = al.load(ints + INT.mask);
      const masked = place > 0;
      const words = masks + (place - 1) * al.idiv(V + 31, 32);
      for (let i = penalties; i < penaltyEnd; i += LANES) {
        const j = i + al.arange(LANES);
        const mask = j < penaltyEnd;
        const at = x + al.load(listIds + j, { mask });
        const old = al.load(at, { mask });
        const v = clean(old);
        const count = al.load(listValues + j, { mask });
        al.store(saved + j, old, { mask });
        al.store(at, al.where(v > 0, v / repeat, v * repeat) - count * frequency - al.where(count > 0, presence, 0), { mask });
      }
      for (let i = biases; i < biasEnd; i += LANES) {
        const j = i + al.arange(LANES);
        const mask = j < biasEnd;
        const at = x + al.load(listIds + j, { mask });
        const old = al.load(at, { mask });
        al.store(saved + j, old, { mask });
        al.store(at, clean(old) + al.load(listValues + j, { mask }), { mask });
      }
      const adjusted = penaltyEnd > penalties || biasEnd > biases || masked;
      if (masked) {
        for (let i = 0; i < V; i += W) {
          const v = keyOf(tileAt(x, words, masked, i, V, W));
          const tile = al.idiv(i, TILE);
          if (W === TILE) al.store(tiles + tile, al.max(v));
          else {
            const t = tile + al.arange(W / TILE);
            al.store(tiles + t, al.max(al.reshape(v, [W / TILE, TILE]), { axis: 1 }), { mask: t < TILES });
          }
        }
      } else {
        for (let i = penalties; i < penaltyEnd; i += 1) {
          const tile = al.idiv(al.load(listIds + i), TILE);
          al.store(tiles + tile, al.max(keyOf(tileAt(x, words, false, tile * TILE, V, TILE))));
        }
        for (let i = biases; i < biasEnd; i += 1) {
          const tile = al.idiv(al.load(listIds + i), TILE);
          al.store(tiles + tile, al.max(keyOf(tileAt(x, words, false, tile * TILE, V, TILE))));
        }
      }

      let best = al.cast(LOWEST, al.i32);
      for (let i = 0; i < TILES; i += W) {
        const k = i + al.arange(W);
        best = al.max(best, al.max(al.load(tiles + k, { mask: k < TILES, other: LOWEST })));
      }
      const max = valueOf(best);
      const scale = al.load(floats + FLOAT.inverseTemperature);
      const topP = al.load(floats + FLOAT.topP);
      const logMinP = al.load(floats + FLOAT.logMinP);
      const topK = al.load(ints + INT.topK);
      if (best == LOWEST) {
        token = al.cast(NO_TOKEN, al.i32);
      } else if (scale == 0 || topK == 1) {
        let tile = TILES - 1;
        for (let i = 0; i < TILES; i += W) {
          const k = i + al.arange(W);
          tile = al.min(tile, al.min(al.where(al.load(tiles + k, { mask: k < TILES, other: LOWEST }) == best, k, tile)));
        }
        const k = tile * TILE + al.arange(TILE);
        token = al.min(al.where(keyOf(tileAt(x, words, masked, tile * TILE, V, TILE)) == best, k, V));
      } else {
        const low = al.bitcast(al.load(ints + INT.seedLow), al.u32);
        const high = al.bitcast(al.load(ints + INT.seedHigh), al.u32);
        const random = uniform(low, high, al.bitcast(al.load(ints + INT.counter), al.u32));
        // Where top-k comes first, top-p takes its share of what that keeps.
        const mass = topP < 1 && topK <= 0 && adjusted ? weightFrom(x, words, masked, V, LOWEST + 1, max, 1, W) : sum * al.exp(top - max);

        // The rank-th largest tile maximum is at most the rank-th largest logit: all that can be kept lies in tiles that reach it.
        const rank = topK > 0 ? topK : topP < 1 ? RANK : TILES;
        let count = al.cast(0, al.i32);
        const ids = candidateIds + row * CAPACITY;
        const values = candidateValues + row * CAPACITY;
        if (rank < TILES) {
          let floor = al.cast(LOWEST + 1, al.i32);
          let high = best;
          while (floor < high) {
            const mid = middle(floor, high);
            if (countKeys(tiles, TILES, mid, W) >= rank) floor = mid;
            else high = mid - 1;
          }
          for (let i = 0; i < V; i += W) {
            const t = al.idiv(i, TILE) + al.arange(W / TILE);
            if (al.max(al.load(tiles + t, { mask: t < TILES, other: LOWEST })) >= floor) {
              const v = tileAt(x, words, masked, i, V, W);
              const kept = keyOf(v) >= floor;
              const at = count + al.cumsum(al.cast(kept, al.i32), { exclusive: true });
              const mask = kept && at < CAPACITY;
              al.store(ids + at, i + al.arange(W), { mask });
              al.store(values + at, v, { mask });
              count += al.sum(al.cast(kept, al.i32));
            }
          }
        }
        let enough = count > 0 && count <= CAPACITY;
        if (enough && topK <= 0) enough = weightFrom(values, words, false, count, LOWEST + 1, max, 1, W) >= mass * topP;
        if (enough) token = al.load(ids + choose(values, words, false, count, best, max, mass, topK, topP, logMinP, scale, random, W));
        else token = choose(x, words, masked, V, best, max, mass, topK, topP, logMinP, scale, random, W);
      }

      for (let i = biases; i < biasEnd; i += LANES) {
        const j = i + al.arange(LANES);
        const mask = j < biasEnd;
        al.store(x + al.load(listIds + j, { mask }), al.load(saved + j, { mask }), { mask });
      }
      for (let i = penalties; i < penaltyEnd; i += LANES) {
        const j = i + al.arange(LANES);
        const mask = j < penaltyEnd;
        al.store(x + al.load(listIds + j, { mask }), al.load(saved + j, { mask }), { mask });
      }
    }
    al.store(tokens + row, token);
  },
  {
    uses: {
      clean,
      keyOf,
      valueOf,
      tileAt,
      countKeys,
      weightFrom,
      middle,
      choose,
      uniform,
      INT,
      FLOAT,
      INTS,
      FLOATS,
      CAPACITY,
      RANK,
      LOWEST,
      NO_TOKEN,
      NOT_SAMPLED,
    },
    simdgroups,
  },
);

/** Compile-time values for CPUs. */
export const cpuSampling: KernelSet["sampling"] = { partials: { TILE, CHUNK, W: TILE }, rows: { TILE, LANES: 16, W: TILE } };
/** … for GPUs: a row is one program, so it is as wide as a threadgroup. */
export const gpuSampling: KernelSet["sampling"] = { partials: { TILE, CHUNK, W: 1024 }, rows: { TILE, LANES: 32, W: 1024 } };

/** For the ahead-of-time library. */
export const instances: readonly Instance[] = [
  { kernel: samplePartials, constexprs: cpuSampling.partials },
  { kernel: sampleRows, constexprs: cpuSampling.rows },
];

/** Memory of the sampling kernels for up to `rows` rows. */
export interface SampleBuffers {
  tileKeys: DeviceBuffer;
  partials: DeviceBuffer;
  rowInts: DeviceBuffer;
  rowFloats: DeviceBuffer;
  listIds: DeviceBuffer;
  listValues: DeviceBuffer;
  saved: DeviceBuffer;
  masks: DeviceBuffer;
  candidateIds: DeviceBuffer;
  candidateValues: DeviceBuffer;
  tokens: DeviceBuffer;
  logSumExp: DeviceBuffer;
}

/** Bytes of each buffer for `rows` rows of a vocabulary of V, of which `masked` have a mask, and the `entries` of all lists of a step. */
export function sampleBytes(rows: number, V: number, entries: number, masked: number): Record<keyof SampleBuffers, number> {
  const lists = Math.max(1, entries) * 4;
  return {
    tileKeys: rows * Math.ceil(V / TILE) * 4,
    partials: rows * Math.ceil(V / CHUNK) * 8,
    rowInts: rows * INTS * 4,
    rowFloats: rows * FLOATS * 4,
    listIds: lists,
    listValues: lists,
    saved: lists,
    masks: Math.max(4, masked * maskWords(V) * 4),
    candidateIds: rows * CAPACITY * 4,
    candidateValues: rows * CAPACITY * 4,
    tokens: rows * 4,
    logSumExp: rows * 4,
  };
}

/** Words of a mask over V tokens. */
export const maskWords = (V: number): number => Math.ceil(V / 32);

/** Entries that `rows` put on the lists: what `sampleBytes` needs to hold them. */
export const listEntries = (rows: readonly (RowSampling | null)[]): number =>
  rows.reduce((n, r) => n + (r ? r.penaltyIds.length + r.biasIds.length : 0), 0);

/** How many of `rows` have a mask. */
export const maskedRows = (rows: readonly (RowSampling | null)[]): number => rows.filter((r) => r?.mask).length;

/** Writes the parameters of a step's rows; null rows give only logits and normaliser. Throws `kernel_error` when the lists are too long. */
export function writeSampling(
  rows: readonly (RowSampling | null)[],
  buffers: Readonly<Record<"rowInts" | "rowFloats" | "listIds" | "listValues" | "masks", Pick<DeviceBuffer, "view" | "bytes">>>,
): void {
  const view = (b: Pick<DeviceBuffer, "view" | "bytes">): [ArrayBufferLike, number, number] => {
    const bytes = b.view();
    return [bytes.buffer, bytes.byteOffset, b.bytes >> 2];
  };
  const ints = new Int32Array(...view(buffers.rowInts));
  const floats = new Float32Array(...view(buffers.rowFloats));
  const ids = new Int32Array(...view(buffers.listIds));
  const values = new Float32Array(...view(buffers.listValues));
  const masks = new Int32Array(...view(buffers.masks));
  const entries = listEntries(rows);
  const maskEntries = rows.reduce((n, r) => n + (r?.mask?.length ?? 0), 0);
  if (maskEntries > masks.length) throw new AlloyError("kernel_error", `masks of ${maskEntries} words do not fit the sampling buffers`);
  if (entries > ids.length || rows.length * INTS > ints.length) {
    throw new AlloyError("kernel_error", `${rows.length} rows with ${entries} list entries do not fit the sampling buffers`);
  }
  let used = 0;
  let masked = 0;
  const list = (from: Int32Array, what: ArrayLike<number>): number => {
    const at = used;
    ids.set(from, at);
    values.set(what, at);
    used += from.length;
    return at;
  };
  rows.forEach((r, i) => {
    const int = ints.subarray(i * INTS, (i + 1) * INTS).fill(0);
    const float = floats.subarray(i * FLOATS, (i + 1) * FLOATS).fill(0);
    if (!r) return;
    int[INT.sampled] = 1;
    int[INT.penalties] = list(r.penaltyIds, r.penaltyCounts);
    int[INT.penaltyCount] = r.penaltyIds.length;
    int[INT.biases] = list(r.biasIds, r.biasValues);
    int[INT.biasCount] = r.biasIds.length;
    int[INT.topK] = Math.max(0, r.topK);
    int[INT.seedLow] = r.seed[0];
    int[INT.seedHigh] = r.seed[1];
    int[INT.counter] = r.counter;
    if (r.mask) {
      masks.set(r.mask, masked * r.mask.length);
      int[INT.mask] = ++masked;
    }
    // 0 stands for greedy; so cold that nothing but the likeliest token could be drawn is the same.
    float[FLOAT.inverseTemperature] = r.temperature < 1e-6 ? 0 : 1 / r.temperature;
    float[FLOAT.topP] = r.topP;
    float[FLOAT.logMinP] = r.minP > 0 ? Math.log(Math.min(1, r.minP)) : -Infinity;
    float[FLOAT.repeat] = r.repeatPenalty;
    float[FLOAT.frequency] = r.frequencyPenalty;
    float[FLOAT.presence] = r.presencePenalty;
  });
}

/**
 * The dispatches that sample `rows` rows of `logits` ([rows, V] float32): results in `buffers.tokens` (a token id, NOT_SAMPLED or NO_TOKEN)
 * and `buffers.logSumExp`. `program` compiles a kernel for the device.
 */
export function sampleDispatches(
  program: (kernel: AnyKernel, constexprs: ConstexprValues) => Program,
  sampling: KernelSet["sampling"],
  o: { logits: DeviceBuffer; buffers: SampleBuffers; V: number; rows: number | Slot },
): Dispatch[] {
  const { logits, buffers: b, V, rows } = o;
  const tiles = Math.ceil(V / TILE);
  const chunks = Math.ceil(V / CHUNK);
  const partials = program(samplePartials, sampling.partials);
  const sample = program(sampleRows, sampling.rows);
  const lists = [b.rowInts, b.rowFloats, b.listIds, b.listValues, b.saved, b.masks, b.candidateIds, b.candidateValues];
  return [
    { program: partials, grid: [chunks, rows, 1], args: [logits, b.tileKeys, b.partials, V, tiles, chunks], label: "sample.partials" },
    {
      program: sample,
      grid: [rows, 1, 1],
      args: [logits, b.tileKeys, b.partials, ...lists, b.tokens, b.logSumExp, V, tiles, chunks],
      label: "sample.rows",
    },
  ];
}
