/** Sets of characters, and the bytes that they are written in. */

/** Inclusive ranges of code points, in order. */
export type Ranges = readonly (readonly [number, number])[];

const LAST = 0x10ffff;
/** All characters that are not in the set; surrogates are none. */
export function complement(ranges: Ranges): Ranges {
  const out: [number, number][] = [];
  let from = 0;
  for (const [a, b] of normalised([...ranges, [0xd800, 0xdfff]])) {
    if (a > from) out.push([from, a - 1]);
    from = b + 1;
  }
  if (from <= LAST) out.push([from, LAST]);
  return out;
}

export const intersection = (a: Ranges, b: Ranges): Ranges => complement([...complement(a), ...complement(b)]);

/** In order and without overlaps. */
export function normalised(ranges: Ranges): Ranges {
  const out: [number, number][] = [];
  for (const [a, b] of [...ranges].sort((x, y) => x[0] - y[0])) {
    const last = out.at(-1);
    if (last && a <= last[1] + 1) last[1] = Math.max(last[1], b);
    else out.push([a, b]);
  }
  return out;
}

/** Last character of one, two, three and four bytes. */
const LENGTHS = [0x7f, 0x7ff, 0xffff, LAST];

/** The UTF-8 of the characters in `ranges`, none of them a surrogate: sequences of bytes, each byte in a range of its own. */
export function utf8Sequences(ranges: Ranges): [number, number][][] {
  const out: [number, number][][] = [];
  const split = (a: number, b: number): void => {
    const last = LENGTHS.find((l) => a <= l)!;
    if (b > last) {
      split(a, last);
      split(last + 1, b);
      return;
    }
    // Where the last n bytes do not run through all their values, the range has an end of its own.
    for (let bits = 6; bits < 6 * (utf8(b).length - 1) + 1; bits += 6) {
      const mask = 2 ** bits - 1;
      if (a >> bits === b >> bits) break;
      if ((a & mask) !== 0) {
        split(a, a | mask);
        split((a | mask) + 1, b);
        return;
      }
      if ((b & mask) !== mask) {
        split(a, (b & ~mask) - 1);
        split(b & ~mask, b);
        return;
      }
    }
    const [from, to] = [utf8(a), utf8(b)];
    out.push(from.map((byte, i) => [byte, to[i]]));
  };
  for (const [a, b] of ranges) split(a, b);
  return out;
}

const utf8 = (code: number): number[] => [...new TextEncoder().encode(String.fromCodePoint(code))];
