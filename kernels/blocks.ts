/**
 * How one block of every quantised type is read: the only place that knows the files' bit layouts (ggml-common.h).
 *
 * A type is three helpers. All take the tensor as bytes (`b`) and as 16-bit words (`h`), and the number of the block (a tile
 * or scalar), and read four neighbouring values at once: within every format four neighbours lie in four neighbouring bytes.
 * - `quads(b, h, block, s)`: values 4s … 4s+3 of the block in stored form, unsigned, one per byte of an i32.
 * - `fields(b, h, block, set, r)`: all quads that lie in the same words, so that a kernel that wants them all loads each word once:
 *   those at set · (n · distance) + f · distance + r, f = 0 … n - 1, r below `distance` (n and distance: FIELDS).
 * - `unit(b, h, block)`: the block's [scale, minimum] as f16 bit patterns (kind `e`: the exponent byte); 0 where there is none.
 * - `part(b, h, block, g)`: the integer [scale, minimum] of group g (k kinds; the others have [1, 0]).
 */
import { fn } from "../src/compiler/language/index.ts";
import type { QuantisedType } from "./families.ts";

/** Four bytes that start at 16-bit word `o`, as an i32. */
const word = fn((al, h, o) => al.load(h + o) | (al.load(h + o + 1) << 16));
/** Byte `i` after 16-bit word `o`, 0 … 255. */
const byteAt = fn((al, h, o, i) => (al.load(h + o + (i >> 1)) >> ((i & 1) * 8)) & 255);
/** 32 values in 16 bytes at word `o`: byte j holds value j in its low and value j + 16 in its high nibble. */
const halves = fn((al, h, o, s) => (word(h, o + (s & 3) * 2) >> (((s >> 2) & 1) * 4)) & 0x0f0f0f0f, { uses: { word } });
/** 64 values in 32 bytes from word `o` on: byte j holds values j and j + 32. */
const pairs = fn((al, h, o, s) => (word(h, o + (s >> 4) * 16 + (s & 7) * 2) >> (((s >> 3) & 1) * 4)) & 0x0f0f0f0f, { uses: { word } });
/** 128 values in 32 bytes from word `o` on: byte j holds the two bits of values j, j + 32, j + 64, j + 96. */
const fours = fn((al, h, o, s) => (word(h, o + (s >> 5) * 16 + (s & 7) * 2) >> (((s >> 3) & 3) * 2)) & 0x03030303, { uses: { word } });
/** 256 values in 32 bytes at word `o`: byte j holds one bit of values j, j + 32, … j + 224. */
const eights = fn((al, h, o, s) => (word(h, o + (s & 7) * 2) >> (s >> 3)) & 0x01010101, { uses: { word } });
/** One bit of 32 values in value order, at word `o`. The product brings bits 0 … 3 to bit 0 of the four bytes. */
const mask32 = fn((al, h, o, s) => (((word(h, o) >> (s * 4)) & 15) * 0x00204081) & 0x01010101, { uses: { word } });
const LOW = 0x0f0f0f0f;
/** `halves` as fields: both nibbles of a word. */
const nibbles = fn(
  (al, h, o) => {
    const w = word(h, o);
    return [w & LOW, (w >> 4) & LOW];
  },
  { uses: { word, LOW } },
);
/** The four pairs of bits of a word. */
const crumbs = fn(
  (al, h, o) => {
    const w = word(h, o);
    return [w & 0x03030303, (w >> 2) & 0x03030303, (w >> 4) & 0x03030303, (w >> 6) & 0x03030303];
  },
  { uses: { word } },
);
/** Group g of the 12 bytes at word `o` that hold eight 6-bit scales and eight 6-bit minima. */
const sixBits = fn(
  (al, h, o, g) => {
    const x = byteAt(h, o, g);
    const y = byteAt(h, o, g + 4);
    const upper = byteAt(h, o, al.clamp(g - 4, 0, 3)) >> 6;
    const first = g < 4;
    return [al.where(first, x & 63, (y & 15) | (upper << 4)), al.where(first, y & 63, (y >> 4) | ((x >> 6) << 4))];
  },
  { uses: { byteAt } },
);

const noParts = fn((_al, _b, _h, _block, _g) => [1, 0]);

export const q8_0 = {
  // Signed bytes: flipping the top bit adds 128.
  quads: fn((al, b, h, block, s) => word(h, block * 17 + 1 + s * 2) ^ -2139062144, { uses: { word } }),
  fields: fn((al, b, h, block, set, r) => [word(h, block * 17 + 1 + (set * 2 + r) * 2) ^ -2139062144], { uses: { word } }),
  unit: fn((al, b, h, block) => [al.load(h + block * 17), 0]),
  part: noParts,
};

export const q4_0 = {
  quads: fn((al, b, h, block, s) => halves(h, block * 9 + 1, s), { uses: { halves } }),
  fields: fn((al, b, h, block, set, r) => nibbles(h, block * 9 + 1 + r * 2), { uses: { nibbles } }),
  unit: fn((al, b, h, block) => [al.load(h + block * 9), 0]),
  part: noParts,
};

export const q4_1 = {
  quads: fn((al, b, h, block, s) => halves(h, block * 10 + 2, s), { uses: { halves } }),
  fields: fn((al, b, h, block, set, r) => nibbles(h, block * 10 + 2 + r * 2), { uses: { nibbles } }),
  unit: fn((al, b, h, block) => [al.load(h + block * 10), al.load(h + block * 10 + 1)]),
  part: noParts,
};

export const q5_0 = {
  quads: fn((al, b, h, block, s) => halves(h, block * 11 + 3, s) | (mask32(h, block * 11 + 1, s) << 4), { uses: { halves, mask32 } }),
  fields: fn(
    (al, b, h, block, set, r) => {
      const [low, high] = nibbles(h, block * 11 + 3 + r * 2);
      return [low | (mask32(h, block * 11 + 1, r) << 4), high | (mask32(h, block * 11 + 1, r + 4) << 4)];
    },
    { uses: { nibbles, mask32 } },
  ),
  unit: fn((al, b, h, block) => [al.load(h + block * 11), 0]),
  part: noParts,
};

export const q5_1 = {
  quads: fn((al, b, h, block, s) => halves(h, block * 12 + 4, s) | (mask32(h, block * 12 + 2, s) << 4), { uses: { halves, mask32 } }),
  fields: fn(
    (al, b, h, block, set, r) => {
      const [low, high] = nibbles(h, block * 12 + 4 + r * 2);
      return [low | (mask32(h, block * 12 + 2, r) << 4), high | (mask32(h, block * 12 + 2, r + 4) << 4)];
    },
    { uses: { nibbles, mask32 } },
  ),
  unit: fn((al, b, h, block) => [al.load(h + block * 12), al.load(h + block * 12 + 1)]),
  part: noParts,
};

export const iq4_nl = q4_0;

export const mxfp4 = {
  // 17 bytes: the only format whose blocks are not made of 16-bit words.
  quads: fn((al, b, h, block, s) => {
    const p = b + block * 17 + 1 + (s & 3) * 4;
    return (al.pack4(al.load(p), al.load(p + 1), al.load(p + 2), al.load(p + 3)) >> ((s >> 2) * 4)) & 0x0f0f0f0f;
  }),
  fields: fn(
    (al, b, h, block, set, r) => {
      const p = b + block * 17 + 1 + r * 4;
      const w = al.pack4(al.load(p), al.load(p + 1), al.load(p + 2), al.load(p + 3));
      return [w & LOW, (w >> 4) & LOW];
    },
    { uses: { LOW } },
  ),
  unit: fn((al, b, h, block) => [al.load(b + block * 17), 0]),
  part: noParts,
};

export const q2_k = {
  quads: fn((al, b, h, block, s) => fours(h, block * 42 + 8, s), { uses: { fours } }),
  fields: fn((al, b, h, block, set, r) => crumbs(h, block * 42 + 8 + set * 16 + r * 2), { uses: { crumbs } }),
  unit: fn((al, b, h, block) => [al.load(h + block * 42 + 40), al.load(h + block * 42 + 41)]),
  part: fn(
    (al, b, h, block, g) => {
      const both = byteAt(h, block * 42, g);
      return [both & 15, both >> 4];
    },
    { uses: { byteAt } },
  ),
};

export const q3_k = {
  quads: fn((al, b, h, block, s) => fours(h, block * 55 + 16, s) | (eights(h, block * 55, s) << 2), { uses: { fours, eights } }),
  fields: fn(
    (al, b, h, block, set, r) => {
      const low = crumbs(h, block * 55 + 16 + set * 16 + r * 2);
      const high = word(h, block * 55 + r * 2) >> (set * 4);
      const bit = 0x01010101;
      return [
        low[0] | ((high & bit) << 2),
        low[1] | (((high >> 1) & bit) << 2),
        low[2] | (((high >> 2) & bit) << 2),
        low[3] | (((high >> 3) & bit) << 2),
      ];
    },
    { uses: { crumbs, word } },
  ),
  unit: fn((al, b, h, block) => [al.load(h + block * 55 + 54), 0]),
  part: fn(
    (al, b, h, block, g) => {
      const low = (byteAt(h, block * 55 + 48, g & 7) >> ((g >> 3) * 4)) & 15;
      const high = (byteAt(h, block * 55 + 52, g & 3) >> ((g >> 2) * 2)) & 3;
      return [(low | (high << 4)) - 32, 0];
    },
    { uses: { byteAt } },
  ),
};

export const q4_k = {
  quads: fn((al, b, h, block, s) => pairs(h, block * 72 + 8, s), { uses: { pairs } }),
  fields: fn((al, b, h, block, set, r) => nibbles(h, block * 72 + 8 + set * 16 + r * 2), { uses: { nibbles } }),
  unit: fn((al, b, h, block) => [al.load(h + block * 72), al.load(h + block * 72 + 1)]),
  part: fn((al, b, h, block, g) => sixBits(h, block * 72 + 2, g), { uses: { sixBits } }),
};

export const q5_k = {
  quads: fn((al, b, h, block, s) => pairs(h, block * 88 + 24, s) | (eights(h, block * 88 + 8, s) << 4), { uses: { pairs, eights } }),
  fields: fn(
    (al, b, h, block, set, r) => {
      const [low, high] = nibbles(h, block * 88 + 24 + set * 16 + r * 2);
      const bits = word(h, block * 88 + 8 + r * 2) >> (set * 2);
      return [low | ((bits & 0x01010101) << 4), high | (((bits >> 1) & 0x01010101) << 4)];
    },
    { uses: { nibbles, word } },
  ),
  unit: fn((al, b, h, block) => [al.load(h + block * 88), al.load(h + block * 88 + 1)]),
  part: fn((al, b, h, block, g) => sixBits(h, block * 88 + 2, g), { uses: { sixBits } }),
};

export const q6_k = {
  quads: fn(
    (al, b, h, block, s) => {
      // Of every 128 values the first 64 take the low nibbles of 64 bytes, the others the high ones.
      const low = (word(h, block * 105 + (s >> 5) * 32 + (s & 15) * 2) >> (((s >> 4) & 1) * 4)) & 0x0f0f0f0f;
      return low | (fours(h, block * 105 + 64, s) << 4);
    },
    { uses: { word, fours } },
  ),
  fields: fn(
    (al, b, h, block, set, r) => {
      const first = nibbles(h, block * 105 + set * 32 + r * 2);
      const second = nibbles(h, block * 105 + set * 32 + r * 2 + 16);
      const high = crumbs(h, block * 105 + 64 + set * 16 + r * 2);
      return [first[0] | (high[0] << 4), second[0] | (high[1] << 4), first[1] | (high[2] << 4), second[1] | (high[3] << 4)];
    },
    { uses: { nibbles, crumbs } },
  ),
  unit: fn((al, b, h, block) => [al.load(h + block * 105 + 104), 0]),
  part: fn((al, b, h, block, g) => [(byteAt(h, block * 105 + 96, g) ^ 128) - 128, 0], { uses: { byteAt } }),
};

export const iq4_xs = {
  quads: fn((al, b, h, block, s) => halves(h, block * 68 + 4 + (s >> 3) * 8, s), { uses: { halves } }),
  fields: fn((al, b, h, block, set, r) => nibbles(h, block * 68 + 4 + set * 8 + r * 2), { uses: { nibbles } }),
  unit: fn((al, b, h, block) => [al.load(h + block * 68), 0]),
  part: fn(
    (al, b, h, block, g) => {
      const low = (byteAt(h, block * 68 + 2, g >> 1) >> ((g & 1) * 4)) & 15;
      const high = (al.load(h + block * 68 + 1) >> (g * 2)) & 3;
      return [(low | (high << 4)) - 32, 0];
    },
    { uses: { byteAt } },
  ),
};

/** How many quads `fields` gives, and how far apart they are. */
export const FIELDS: Readonly<Record<QuantisedType, { fields: number; distance: number }>> = {
  q8_0: { fields: 1, distance: 2 },
  q4_0: { fields: 2, distance: 4 },
  q4_1: { fields: 2, distance: 4 },
  q5_0: { fields: 2, distance: 4 },
  q5_1: { fields: 2, distance: 4 },
  q2_k: { fields: 4, distance: 8 },
  q3_k: { fields: 4, distance: 8 },
  q4_k: { fields: 2, distance: 8 },
  q5_k: { fields: 2, distance: 8 },
  q6_k: { fields: 4, distance: 8 },
  iq4_nl: { fields: 2, distance: 4 },
  iq4_xs: { fields: 2, distance: 4 },
  mxfp4: { fields: 2, distance: 4 },
};

/** The helpers of every quantised type. */
export const BLOCKS = { q8_0, q4_0, q4_1, q5_0, q5_1, q2_k, q3_k, q4_k, q5_k, q6_k, iq4_nl, iq4_xs, mxfp4 } satisfies Record<
  QuantisedType,
  object
>;
