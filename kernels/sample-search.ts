/** Helpers of the sampling kernels (./sample.ts): floats as ordered integers, searches for thresholds, the draw, the random number. */
import { fn } from "../src/compiler/language/index.ts";

/** Logits per tile, of which `samplePartials` leaves the maximum. */
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

/**
 * W cleaned logits from `i` on, a multiple of W; -Infinity from `n` on, and for those that a row's mask does not permit. `words` are the
 * mask's, a bit for each logit; `masked` says whether there is one.
 */
export const tileAt = fn(
  (al, values, words, masked, i, n, W) => {
    const k = i + al.arange(W);
    let v = clean(al.load(values + k, { mask: k < n, other: -Infinity }));
    if (masked) {
      const permitted = (al.load(words + al.idiv(k, 32), { mask: k < n, other: 0 }) >> (k & 31)) & 1;
      v = al.where(permitted > 0, v, -Infinity);
    }
    return v;
  },
  { uses: { clean } },
);

/** How many of n integers are at least `least`. */
export const countKeys = fn(
  (al, keys, n, least, W) => {
    let count = al.zeros([W], al.i32);
    for (let i = 0; i < n; i += W) {
      const k = i + al.arange(W);
      count += al.cast(al.load(keys + k, { mask: k < n, other: LOWEST }) >= least, al.i32);
    }
    return al.sum(count);
  },
  { uses: { LOWEST } },
);

/** How many of n logits have at least this key. `least` must be above LOWEST. */
const countFrom = fn(
  (al, values, words, masked, n, least, W) => {
    let count = al.zeros([W], al.i32);
    for (let i = 0; i < n; i += W) count += al.cast(keyOf(tileAt(values, words, masked, i, n, W)) >= least, al.i32);
    return al.sum(count);
  },
  { uses: { keyOf, tileAt } },
);

/** Sum of exp((logit - max) * scale) over logits of at least this key. `least` must be above LOWEST. */
export const weightFrom = fn(
  (al, values, words, masked, n, least, max, scale, W) => {
    let total = al.zeros([W], al.f32);
    for (let i = 0; i < n; i += W) {
      const v = tileAt(values, words, masked, i, n, W);
      total += al.where(keyOf(v) >= least, al.exp((v - max) * scale), 0);
    }
    return al.sum(total);
  },
  { uses: { keyOf, tileAt } },
);

/** (a + b) / 2 rounded up, without overflow. */
export const middle = fn((al, a, b) => (a | b) - ((a ^ b) >> 1));

/**
 * Filters n logits (with a mask as `tileAt` takes it) in order of id and draws one; returns its index. `best` is the largest key and `max` its value; `mass` is what top-p
 * takes a share of where top-k is off; W the logits that are looked at together.
 */
export const choose = fn(
  (al, values, words, masked, n, best, max, mass, topK, topP, logMinP, scale, random, W) => {
    // Kept: keys above `floor`, and the first `ties` that equal it.
    let floor = al.cast(LOWEST + 1, al.i32);
    let ties = n;
    if (topK > 0 && topK < n) {
      let high = best;
      while (floor < high) {
        const mid = middle(floor, high);
        if (countFrom(values, words, masked, n, mid, W) >= topK) floor = mid;
        else high = mid - 1;
      }
      ties = topK - countFrom(values, words, masked, n, floor + 1, W);
    }
    if (topP < 1) {
      const above = weightFrom(values, words, masked, n, floor + 1, max, 1, W);
      const onFloor = countFrom(values, words, masked, n, floor, W) - countFrom(values, words, masked, n, floor + 1, W);
      const whole = topK > 0 ? above + al.cast(al.min(ties, onFloor), al.f32) * al.exp(valueOf(floor) - max) : mass;
      const target = whole * topP;
      const lowest = floor;
      let high = best;
      while (floor < high) {
        const mid = middle(floor, high);
        if (weightFrom(values, words, masked, n, mid, max, 1, W) >= target) floor = mid;
        else high = mid - 1;
      }
      const missing = (target - weightFrom(values, words, masked, n, floor + 1, max, 1, W)) / al.exp(valueOf(floor) - max);
      const needed = al.max(al.cast(al.ceil(missing), al.i32), 1);
      ties = floor > lowest ? needed : al.min(ties, needed);
    }
    const least = keyOf(max + logMinP);
    if (least > floor) {
      floor = least;
      ties = n;
    }

    const tieWeight = al.exp((valueOf(floor) - max) * scale);
    let total = weightFrom(values, words, masked, n, floor + 1, max, scale, W);
    if (tieWeight > 0) {
      const onFloor = countFrom(values, words, masked, n, floor, W) - countFrom(values, words, masked, n, floor + 1, W);
      total += al.cast(al.min(ties, onFloor), al.f32) * tieWeight;
    }
    // The tile that the random number falls into, or the last with any weight: sums in another order may leave a rest.
    let left = random * total;
    let from = al.cast(0, al.i32);
    let leftFrom = left;
    let tiesFrom = ties;
    let found = false;
    let at = al.cast(0, al.i32);
    while (at < n && !found) {
      const v = tileAt(values, words, masked, at, n, W);
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
      at += W;
    }
    // Within it, the last token at which something is left.
    const v = tileAt(values, words, masked, from, n, W);
    const key = keyOf(v);
    const tied = al.cumsum(al.cast(key == floor, al.i32));
    const weight = al.where(key > floor || (key == floor && tied <= tiesFrom), al.exp((v - max) * scale), 0);
    const before = al.cumsum(weight, { exclusive: true });
    return al.max(al.where(weight > 0 && before <= leftFrom, from + al.arange(W), from));
  },
  { uses: { countFrom, weightFrom, middle, keyOf, valueOf, tileAt, LOWEST } },
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
