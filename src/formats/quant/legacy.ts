/**
 * ggml's first block formats: 32 values, one f16 scale (and, in the `_1` forms, an f16 minimum), 4, 5 or 8 bits a value.
 * In the 4- and 5-bit forms byte j holds value j in its low and value j + 16 in its high nibble; the fifth bits lie apart in
 * a 32-bit mask. Source: ggml-common.h, `block_q4_0` to `block_q8_1`.
 */
import { f16ToNumber, numberToF16 } from "../half.ts";
import { putU16, range, roundClamp, signedMax, u16, type QuantType } from "./codec.ts";

const SIZE = 32;
const HALF = 16;

/** d * (q - zero): `zero` is half the range. */
function symmetric(ggml: number, fiveBits: boolean): QuantType {
  const zero = fiveBits ? 16 : 8;
  const quants = fiveBits ? 6 : 2;
  return {
    ggml,
    blockSize: SIZE,
    blockBytes: quants + HALF,
    decode(bytes, at, out, to) {
      const d = f16ToNumber(u16(bytes, at));
      const high = fiveBits ? highBits(bytes, at + 2) : 0;
      for (let j = 0; j < HALF; j++) {
        const byte = bytes[at + quants + j];
        out[to + j] = d * ((byte & 15) + (((high >>> j) & 1) << 4) - zero);
        out[to + j + HALF] = d * ((byte >> 4) + (((high >>> (j + HALF)) & 1) << 4) - zero);
      }
    },
    encode(values, from, bytes, at) {
      // The value of largest magnitude goes to the end of the range that has one step more: -zero.
      const scale = numberToF16(signedMax(values, from, SIZE) / -zero);
      const d = f16ToNumber(scale);
      putU16(bytes, at, scale);
      packNibbles(bytes, at + quants, fiveBits ? at + 2 : -1, (j) =>
        d === 0 ? zero : roundClamp(values[from + j] / d + zero, 0, 2 * zero - 1),
      );
    },
  };
}

/** d * q + m. */
function withMinimum(ggml: number, fiveBits: boolean): QuantType {
  const top = fiveBits ? 31 : 15;
  const quants = fiveBits ? 8 : 4;
  return {
    ggml,
    blockSize: SIZE,
    blockBytes: quants + HALF,
    decode(bytes, at, out, to) {
      const d = f16ToNumber(u16(bytes, at));
      const m = f16ToNumber(u16(bytes, at + 2));
      const high = fiveBits ? highBits(bytes, at + 4) : 0;
      for (let j = 0; j < HALF; j++) {
        const byte = bytes[at + quants + j];
        out[to + j] = d * ((byte & 15) + (((high >>> j) & 1) << 4)) + m;
        out[to + j + HALF] = d * ((byte >> 4) + (((high >>> (j + HALF)) & 1) << 4)) + m;
      }
    },
    encode(values, from, bytes, at) {
      const [min, max] = range(values, from, SIZE);
      const scale = numberToF16((max - min) / top);
      const minimum = numberToF16(min);
      const [d, m] = [f16ToNumber(scale), f16ToNumber(minimum)];
      putU16(bytes, at, scale);
      putU16(bytes, at + 2, minimum);
      packNibbles(bytes, at + quants, fiveBits ? at + 4 : -1, (j) => (d === 0 ? 0 : roundClamp((values[from + j] - m) / d, 0, top)));
    },
  };
}

function highBits(bytes: Uint8Array, at: number): number {
  return (u16(bytes, at) | (u16(bytes, at + 2) << 16)) >>> 0;
}

/** Write 32 quants: nibbles at `at`, and fifth bits at `highAt` (none when negative). */
function packNibbles(bytes: Uint8Array, at: number, highAt: number, quant: (j: number) => number): void {
  let high = 0;
  for (let j = 0; j < HALF; j++) {
    const low = quant(j);
    const upper = quant(j + HALF);
    bytes[at + j] = (low & 15) | ((upper & 15) << 4);
    high |= ((low >> 4) << j) | ((upper >> 4) << (j + HALF));
  }
  if (highAt < 0) return;
  putU16(bytes, highAt, high & 0xffff);
  putU16(bytes, highAt + 2, high >>> 16);
}

/** d * q, q a signed byte; `sum` adds d times the sum of the quants as an f16 (used for activations only). */
function eightBits(ggml: number, sum: boolean): QuantType {
  const quants = sum ? 4 : 2;
  return {
    ggml,
    blockSize: SIZE,
    blockBytes: quants + SIZE,
    decode(bytes, at, out, to) {
      const d = f16ToNumber(u16(bytes, at));
      for (let j = 0; j < SIZE; j++) out[to + j] = d * ((bytes[at + quants + j] << 24) >> 24);
    },
    encode(values, from, bytes, at) {
      const scale = numberToF16(Math.abs(signedMax(values, from, SIZE)) / 127);
      const d = f16ToNumber(scale);
      putU16(bytes, at, scale);
      let total = 0;
      for (let j = 0; j < SIZE; j++) {
        const q = d === 0 ? 0 : roundClamp(values[from + j] / d, -127, 127);
        bytes[at + quants + j] = q;
        total += q;
      }
      if (sum) putU16(bytes, at + 2, numberToF16(d * total));
    },
  };
}

export const q4_0 = symmetric(2, false);
export const q4_1 = withMinimum(3, false);
export const q5_0 = symmetric(6, true);
export const q5_1 = withMinimum(7, true);
export const q8_0 = eightBits(8, false);
export const q8_1 = eightBits(9, true);
