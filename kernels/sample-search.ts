/** Helpers of the sampling kernels (./sample.ts): floats as ordered integers, searches for thresholds, the draw, the random number. */
import { fn } from "../src/compiler/language/index.ts";

/** Logits per tile. */
export const TILE = 64;
/** Key of -Infinity: below every other. */
export const LOWEST = -0x7f800000;
const LARGEST = 3.4028234663852886e38;
const SIGN = -0x80000000;

/** NaN to -Infinity, +Infinity to the largest float; on the bits, so that no compiler's idea of NaN matters. */
export const clean = fn((al, v) => al.where((al.bitcast(v, al.i32) & 0x7fffffff) > 0x7f800000, -Infinity, al.min(v, LARGEST)), {
  uses: { LARGEST },
});

/** An i32 that orders as the float does; -0 and 0 are equal. */
export const keyOf = fn((al, v) => {
  const bits = al.bitcast(v, al.i32);
  return al.where(bits >= 0, bits, -(bits & 0x7fffffff));
});

/** The float of a key. */
export const valueOf = fn((al, key) => al.bitcast(al.where(key >= 0, key, -key | SIGN), al.f32), { uses: { SIGN } });

/** TILE cleaned logits from `i` on, -Infinity from `n` on. */
export const tileAt = fn(
  (al, values, i, n) => {
    const k = i + al.arange(TILE);
    return clean(al.load(values + k, { mask: k < n, other: -Infinity }));
  },
  { uses: { clean, TILE } },
);

/** How many of n integers are at least `least`. */
export const countKeys = fn(
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
export const weightFrom = fn(
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
export const middle = fn((al, a, b) => (a | b) - ((a ^ b) >> 1));

/**
 * Filters n logits in order of id and draws one; returns its index. `best` is the largest key and `max` its value; `mass` is what top-p
 * takes a share of where top-k is off.
 */
export const choose = fn(
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
export const uniform = fn((al, low, high, counter) => {
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
