/**
 * From logits to tokens. Two kernels: `samplePartials` reads the rows once, in pieces and in parallel, for the normaliser and the
 * maximum of every tile of 64 logits; `sampleRows` then does everything else, one program per row, in the order of llama.cpp's default
 * chain: penalties, logit bias, top-k, top-p, min-p, temperature, draw.
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
import { constexpr, dim, f32, fn, i32, kernel, ptr } from "../src/compiler/language/index.ts";

/** Logits per tile, and per program of `samplePartials`. */
export const TILE = 64;
export const CHUNK = 4096;
/** Candidates that a row's scratch holds; with more, the whole row is searched. */
export const CAPACITY = 4096;
/** Tile maxima that bound the candidates where top-p comes without top-k. */
const RANK = 512;

/** Token of a row in which nothing can be drawn: every logit is NaN, -Infinity or banned. */
export const NO_TOKEN = -2;
/** Token of a row that asked for logits only. */
export const NOT_SAMPLED = -1;

/** One row's integers in `rowInts`, and floats in `rowFloats`. Lists lie in `listIds`/`listValues` from the given offset. */
export const ROW_INTS = { sampled: 0, penalties: 1, penaltyCount: 2, biases: 3, biasCount: 4, topK: 5, seedLow: 6, seedHigh: 7, counter: 8 };
export const ROW_FLOATS = { inverseTemperature: 0, topP: 1, logMinP: 2, repeat: 3, frequency: 4, presence: 5 };
export const INTS_PER_ROW = 16;
export const FLOATS_PER_ROW = 8;

/** Key of -Infinity: below every other. */
const LOWEST = -0x7f800000;
const LARGEST = 3.4028234663852886e38;
const SIGN = -0x80000000;

/** NaN to -Infinity, +Infinity to the largest float; on the bits, so that no compiler's idea of NaN matters. */
const clean = fn((al, v) => al.where((al.bitcast(v, al.i32) & 0x7fffffff) > 0x7f800000, -Infinity, al.min(v, LARGEST)), {
  uses: { LARGEST },
});

/** An i32 that orders as the float does; -0 and 0 are equal. */
const keyOf = fn((al, v) => {
  const bits = al.bitcast(v, al.i32);
  return al.where(bits >= 0, bits, -(bits & 0x7fffffff));
});

/** The float of a key. */
const valueOf = fn((al, key) => al.bitcast(al.where(key >= 0, key, -key | SIGN), al.f32), { uses: { SIGN } });

/** TILE cleaned logits from `i` on, -Infinity from `n` on. */
const tileAt = fn(
  (al, values, i, n) => {
    const k = i + al.arange(TILE);
    return clean(al.load(values + k, { mask: k < n, other: -Infinity }));
  },
  { uses: { clean, TILE } },
);

/** How many of n integers are at least `least`. */
const countKeys = fn(
  (al, keys, n, least) => {
    let count = al.zeros([TILE], al.i32);
    for (let i = 0; i < n; i += TILE) {
      const k = i + al.arange(TILE);
      count += al.cast(al.load(keys + k, { mask: k < n, other: LOWEST }) >= least, al.i32);
    }
    return al.sum(count);
  },
  { uses: { TILE, LOWEST } },
);

/** How many of n logits have at least this key. `least` must be above LOWEST. */
const countFrom = fn(
  (al, values, n, least) => {
    let count = al.zeros([TILE], al.i32);
    for (let i = 0; i < n; i += TILE) count += al.cast(keyOf(tileAt(values, i, n)) >= least, al.i32);
    return al.sum(count);
  },
  { uses: { keyOf, tileAt, TILE } },
);

/** Sum of exp((logit - max) * scale) over logits of at least this key. `least` must be above LOWEST. */
const weightFrom = fn(
  (al, values, n, least, max, scale) => {
    let total = al.zeros([TILE], al.f32);
    for (let i = 0; i < n; i += TILE) {
      const v = tileAt(values, i, n);
      total += al.where(keyOf(v) >= least, al.exp((v - max) * scale), 0);
    }
    return al.sum(total);
  },
  { uses: { keyOf, tileAt, TILE } },
);

/** (a + b) / 2 rounded up, without overflow. */
const middle = fn((al, a, b) => (a | b) - ((a ^ b) >> 1));

/**
 * Filters n logits in order of id and draws one; returns its index. `best` is the largest key and `max` its value; `mass` is what top-p
 * takes a share of where top-k is off.
 */
const choose = fn(
  (al, values, n, best, max, mass, topK, topP, logMinP, scale, random) => {
    // Kept: keys above `floor`, and the first `ties` that equal it.
    let floor = al.cast(LOWEST + 1, al.i32);
    let ties = n;
    if (topK > 0 && topK < n) {
      let high = best;
      while (floor < high) {
        const mid = middle(floor, high);
        if (countFrom(values, n, mid) >= topK) floor = mid;
        else high = mid - 1;
      }
      ties = topK - countFrom(values, n, floor + 1);
    }
    if (topP < 1) {
      const above = weightFrom(values, n, floor + 1, max, 1);
      const onFloor = countFrom(values, n, floor) - countFrom(values, n, floor + 1);
      const whole = topK > 0 ? above + al.cast(al.min(ties, onFloor), al.f32) * al.exp(valueOf(floor) - max) : mass;
      const target = whole * topP;
      const lowest = floor;
      let high = best;
      while (floor < high) {
        const mid = middle(floor, high);
        if (weightFrom(values, n, mid, max, 1) >= target) floor = mid;
        else high = mid - 1;
      }
      const missing = (target - weightFrom(values, n, floor + 1, max, 1)) / al.exp(valueOf(floor) - max);
      const needed = al.max(al.cast(al.ceil(missing), al.i32), 1);
      ties = floor > lowest ? needed : al.min(ties, needed);
    }
    const least = keyOf(max + logMinP);
    if (least > floor) {
      floor = least;
      ties = n;
    }

    const tieWeight = al.exp((valueOf(floor) - max) * scale);
    const onFloor = countFrom(values, n, floor) - countFrom(values, n, floor + 1);
    const total = weightFrom(values, n, floor + 1, max, scale) + al.cast(al.min(ties, onFloor), al.f32) * tieWeight;
    // The tile that the random number falls into, or the last with any weight: sums in another order may leave a rest.
    let left = random * total;
    let from = al.cast(0, al.i32);
    let leftFrom = left;
    let tiesFrom = ties;
    let found = false;
    let at = al.cast(0, al.i32);
    while (at < n && !found) {
      const v = tileAt(values, at, n);
      const key = keyOf(v);
      const tied = al.min(al.sum(al.cast(key == floor, al.i32)), ties);
      const weight = al.sum(al.where(key > floor, al.exp((v - max) * scale), 0)) + al.cast(tied, al.f32) * tieWeight;
      if (weight > 0) {
        from = at;
        leftFrom = left;
        tiesFrom = ties;
        found = left < weight;
      }
      left -= weight;
      ties -= tied;
      at += TILE;
    }
    // Within it, the last token at which something is left.
    let chosen = from;
    const end = al.min(from + TILE, n);
    for (let i = from; i < end; i += 1) {
      const v = clean(al.load(values + i));
      const key = keyOf(v);
      const kept = key > floor || (key == floor && tiesFrom > 0);
      const weight = al.where(kept, al.exp((v - max) * scale), 0);
      if (key == floor) tiesFrom -= 1;
      if (weight > 0 && leftFrom >= 0) chosen = i;
      leftFrom -= weight;
    }
    return chosen;
  },
  { uses: { countFrom, weightFrom, middle, keyOf, valueOf, tileAt, clean, TILE, LOWEST } },
);

/** Upper 24 bits of the first word of Philox4x32-10(key, [counter, 0, 0, 0]) as a fraction. */
const uniform = fn((al, low, high, counter) => {
  let k0 = low;
  let k1 = high;
  let c0 = counter;
  let c1 = al.cast(0, al.u32);
  let c2 = al.cast(0, al.u32);
  let c3 = al.cast(0, al.u32);
  for (let round = 0; round < 10; round += 1) {
    const a = al.cast(c0, al.u64) * 0xd2511f53;
    const b = al.cast(c2, al.u64) * 0xcd9e8d57;
    c0 = al.cast(b >> 32, al.u32) ^ c1 ^ k0;
    c1 = al.cast(b, al.u32);
    c2 = al.cast(a >> 32, al.u32) ^ c3 ^ k1;
    c3 = al.cast(a, al.u32);
    k0 += 0x9e3779b9;
    k1 += 0xbb67ae85;
  }
  return al.cast(c0 >> 8, al.f32) * 5.9604644775390625e-8;
});

/**
 * logits: [rows, V] float32. tileKeys: [rows, TILES] int32, the largest key of each tile; partials: [rows, CHUNKS, 2] float32, maximum and
 * sum of exp(logit - maximum) of each chunk. Grid: (CHUNKS, rows).
 */
export const samplePartials = kernel(
  "sample_partials",
  { logits: ptr(f32), tileKeys: ptr(i32), partials: ptr(f32), V: dim, TILES: dim, CHUNKS: dim, TILE: constexpr(TILE), CHUNK: constexpr(CHUNK) },
  (al, { logits, tileKeys, partials, V, TILES, CHUNKS, TILE, CHUNK }) => {
    const chunk = al.programId(0);
    const row = al.programId(1);
    const x = logits + al.cast(row, al.i64) * V;
    const begin = chunk * CHUNK;
    const end = al.min(begin + CHUNK, V);
    let largest = al.full([TILE], -Infinity, al.f32);
    for (let i = begin; i < end; i += TILE) {
      const v = tileAt(x, i, V);
      al.store(tileKeys + row * TILES + al.idiv(i, TILE), al.max(keyOf(v)));
      largest = al.max(largest, v);
    }
    const max = al.max(largest);
    let sum = al.zeros([TILE], al.f32);
    if (max > -Infinity) for (let i = begin; i < end; i += TILE) sum += al.exp(tileAt(x, i, V) - max);
    const out = partials + (row * CHUNKS + chunk) * 2;
    al.store(out, max);
    al.store(out + 1, al.sum(sum));
  },
  { uses: { tileAt, keyOf } },
);

/**
 * Rows as `samplePartials` left them, parameters as `writeSampling` lays them out. Logits are changed while a row is worked on (penalties,
 * bias; the old values wait in `saved`) and are as before at the end. tokens: [rows] int32; logSumExp: [rows] float32. Grid: (rows).
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
    candidateIds: ptr(i32),
    candidateValues: ptr(f32),
    tokens: ptr(i32),
    logSumExp: ptr(f32),
    V: dim,
    TILES: dim,
    CHUNKS: dim,
    TILE: constexpr(TILE),
    LANES: constexpr(16),
  },
  (al, p) => {
    const { logits, tileKeys, partials, rowInts, rowFloats, listIds, listValues, saved, candidateIds, candidateValues } = p;
    const { tokens, logSumExp, V, TILES, CHUNKS, TILE, LANES } = p;
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
    if (al.load(ints) > 0) {
      const penalties = al.load(ints + 1);
      const penaltyEnd = penalties + al.load(ints + 2);
      const biases = al.load(ints + 3);
      const biasEnd = biases + al.load(ints + 4);
      const repeat = al.load(floats + 3);
      const frequency = al.load(floats + 4);
      const presence = al.load(floats + 5);
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
      const adjusted = penaltyEnd > penalties || biasEnd > biases;
      for (let i = penalties; i < penaltyEnd; i += 1) {
        const tile = al.idiv(al.load(listIds + i), TILE);
        al.store(tiles + tile, al.max(keyOf(tileAt(x, tile * TILE, V))));
      }
      for (let i = biases; i < biasEnd; i += 1) {
        const tile = al.idiv(al.load(listIds + i), TILE);
        al.store(tiles + tile, al.max(keyOf(tileAt(x, tile * TILE, V))));
      }

      let best = al.cast(LOWEST, al.i32);
      for (let i = 0; i < TILES; i += TILE) {
        const k = i + al.arange(TILE);
        best = al.max(best, al.max(al.load(tiles + k, { mask: k < TILES, other: LOWEST })));
      }
      const max = valueOf(best);
      const scale = al.load(floats);
      const topP = al.load(floats + 1);
      const logMinP = al.load(floats + 2);
      const topK = al.load(ints + 5);
      if (best == LOWEST) {
        token = al.cast(NO_TOKEN, al.i32);
      } else if (scale == 0 || topK == 1) {
        let tile = al.cast(0, al.i32);
        while (al.load(tiles + tile) < best) tile += 1;
        const k = tile * TILE + al.arange(TILE);
        token = al.min(al.where(keyOf(tileAt(x, tile * TILE, V)) == best, k, V));
      } else {
        const low = al.bitcast(al.load(ints + 6), al.u32);
        const high = al.bitcast(al.load(ints + 7), al.u32);
        const random = uniform(low, high, al.bitcast(al.load(ints + 8), al.u32));
        const mass = topP < 1 && adjusted ? weightFrom(x, V, LOWEST + 1, max, 1) : sum * al.exp(top - max);

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
            if (countKeys(tiles, TILES, mid) >= rank) floor = mid;
            else high = mid - 1;
          }
          for (let t = 0; t < TILES; t += 1) {
            if (al.load(tiles + t) >= floor) {
              const end = al.min(t * TILE + TILE, V);
              for (let i = t * TILE; i < end; i += 1) {
                const v = clean(al.load(x + i));
                if (keyOf(v) >= floor) {
                  if (count < CAPACITY) {
                    al.store(ids + count, i);
                    al.store(values + count, v);
                  }
                  count += 1;
                }
              }
            }
          }
        }
        let enough = count > 0 && count <= CAPACITY;
        if (enough && topK <= 0) enough = weightFrom(values, count, LOWEST + 1, max, 1) >= mass * topP;
        if (enough) token = al.load(ids + choose(values, count, best, max, mass, topK, topP, logMinP, scale, random));
        else token = choose(x, V, best, max, mass, topK, topP, logMinP, scale, random);
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
      INTS: INTS_PER_ROW,
      FLOATS: FLOATS_PER_ROW,
      CAPACITY,
      RANK,
      LOWEST,
      NO_TOKEN,
      NOT_SAMPLED,
    },
  },
);

export const instances = [
  { kernel: samplePartials, constexprs: { TILE, CHUNK } },
  { kernel: sampleRows, constexprs: { TILE, LANES: 16 } },
];
