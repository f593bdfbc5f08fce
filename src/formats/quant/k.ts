/**
 * The k-quants: super-blocks of 256 values, an f16 scale per super-block and small integer scales per 16 or 32 values.
 * q2, q4 and q5 also carry minima (value = d*scale*q - dmin*min); q3 and q6 are symmetric. Source: ggml-common.h, `block_q2_K`
 * to `block_q8_K`. Products of scale and quant are exact in float32, so doubles here give the values that C code gives.
 */
import { f16ToNumber, numberToF16 } from "../half.ts";
import { putU16, range, roundClamp, signedMax, u16, type QuantType } from "./codec.ts";

const SIZE = 256;

/** Working space of the encoders: quants of one super-block. */
const quants = new Uint8Array(SIZE);

/** Scales and minima of a super-block's parts, as small integers, with their f16 units. */
interface ScaleMin {
  d: number;
  dmin: number;
  scales: number[];
  mins: number[];
}

/**
 * Fit scale*q - min, q in [0, top], to every part of `part` values, and round scales and minima to [0, levels] times a
 * common f16 unit, which is written to bytes[at] (scale) and bytes[at + 2] (minimum). Fills `quants`.
 */
function fitScaleMin(
  values: Float32Array,
  from: number,
  part: number,
  top: number,
  levels: number,
  bytes: Uint8Array,
  at: number,
): ScaleMin {
  const parts = SIZE / part;
  const scales: number[] = [];
  const mins: number[] = [];
  for (let p = 0; p < parts; p++) {
    const [min, max] = range(values, from + p * part, part);
    // A minimum is stored as a non-negative number that is taken away, so the range must reach down to zero.
    mins.push(Math.max(0, -min));
    scales.push((max - Math.min(0, min)) / top);
  }
  const unit = numberToF16(Math.max(0, ...scales) / levels);
  const minUnit = numberToF16(Math.max(...mins) / levels);
  putU16(bytes, at, unit);
  putU16(bytes, at + 2, minUnit);
  const d = f16ToNumber(unit);
  const dmin = f16ToNumber(minUnit);
  for (let p = 0; p < parts; p++) {
    scales[p] = d === 0 ? 0 : roundClamp(scales[p] / d, 0, levels);
    mins[p] = dmin === 0 ? 0 : roundClamp(mins[p] / dmin, 0, levels);
    const step = d * scales[p];
    for (let i = p * part; i < (p + 1) * part; i++)
      quants[i] = step === 0 ? 0 : roundClamp((values[from + i] + dmin * mins[p]) / step, 0, top);
  }
  return { d, dmin, scales, mins };
}

/**
 * Fit scale*(q - zero), q in [0, 2*zero), to every 16 values; scales become signed integers in [-zeroScale, zeroScale) times a
 * common f16 unit, which is written to bytes[at]. Fills `quants`.
 */
function fitSymmetric(values: Float32Array, from: number, zero: number, zeroScale: number, bytes: Uint8Array, at: number): number[] {
  const ideal = new Float32Array(SIZE / 16);
  for (let p = 0; p < ideal.length; p++) ideal[p] = signedMax(values, from + p * 16, 16) / -zero;
  const unit = numberToF16(signedMax(ideal, 0, ideal.length) / -zeroScale);
  putU16(bytes, at, unit);
  const d = f16ToNumber(unit);
  return Array.from(ideal, (scale, p) => {
    const rounded = d === 0 ? 0 : roundClamp(scale / d, -zeroScale, zeroScale - 1);
    const step = d * rounded;
    for (let i = p * 16; i < p * 16 + 16; i++) quants[i] = step === 0 ? zero : roundClamp(values[from + i] / step + zero, 0, 2 * zero - 1);
    return rounded;
  });
}

/** The 12 bytes that hold eight 6-bit scales and eight 6-bit minima in q4_k and q5_k: scale j. */
function scaleK4(bytes: Uint8Array, at: number, j: number): number {
  if (j < 4) return bytes[at + j] & 63;
  return (bytes[at + j + 4] & 15) | ((bytes[at + j - 4] >> 6) << 4);
}

/** Minimum j of the same 12 bytes. */
function minK4(bytes: Uint8Array, at: number, j: number): number {
  if (j < 4) return bytes[at + j + 4] & 63;
  return (bytes[at + j + 4] >> 4) | ((bytes[at + j] >> 6) << 4);
}

function putScaleMinK4(bytes: Uint8Array, at: number, scales: number[], mins: number[]): void {
  for (let j = 0; j < 4; j++) {
    bytes[at + j] = scales[j] | ((scales[j + 4] >> 4) << 6);
    bytes[at + j + 4] = mins[j] | ((mins[j + 4] >> 4) << 6);
    bytes[at + j + 8] = (scales[j + 4] & 15) | ((mins[j + 4] & 15) << 4);
  }
}

/** Layout: 16 bytes of (min << 4 | scale), 64 of 2-bit quants, d, dmin. */
export const q2_k: QuantType = {
  ggml: 10,
  blockSize: SIZE,
  blockBytes: 84,
  decode(bytes, at, out, to) {
    const d = f16ToNumber(u16(bytes, at + 80));
    const dmin = f16ToNumber(u16(bytes, at + 82));
    for (let i = 0; i < SIZE; i++) {
      const packed = bytes[at + (i >> 4)];
      const q = (bytes[at + 16 + (i >> 7) * 32 + (i & 31)] >> (2 * ((i >> 5) & 3))) & 3;
      out[to + i] = d * (packed & 15) * q - dmin * (packed >> 4);
    }
  },
  encode(values, from, bytes, at) {
    const { scales, mins } = fitScaleMin(values, from, 16, 3, 15, bytes, at + 80);
    for (let p = 0; p < 16; p++) bytes[at + p] = scales[p] | (mins[p] << 4);
    bytes.fill(0, at + 16, at + 80);
    for (let i = 0; i < SIZE; i++) bytes[at + 16 + (i >> 7) * 32 + (i & 31)] |= quants[i] << (2 * ((i >> 5) & 3));
  },
};

/** Layout: 32 bytes of third bits, 64 of low 2 bits, 12 of 6-bit scales (offset 32), d. */
export const q3_k: QuantType = {
  ggml: 11,
  blockSize: SIZE,
  blockBytes: 110,
  decode(bytes, at, out, to) {
    const d = f16ToNumber(u16(bytes, at + 108));
    const scaleAt = at + 96;
    for (let p = 0; p < 16; p++) {
      const low = (bytes[scaleAt + (p & 7)] >> (4 * (p >> 3))) & 15;
      const high = (bytes[scaleAt + 8 + (p & 3)] >> (2 * (p >> 2))) & 3;
      const step = d * ((low | (high << 4)) - 32);
      for (let i = p * 16; i < p * 16 + 16; i++) {
        const q = (bytes[at + 32 + (i >> 7) * 32 + (i & 31)] >> (2 * ((i >> 5) & 3))) & 3;
        const third = (bytes[at + (i & 31)] >> (i >> 5)) & 1;
        out[to + i] = step * (q + 4 * third - 4);
      }
    }
  },
  encode(values, from, bytes, at) {
    bytes.fill(0, at, at + 110);
    const scales = fitSymmetric(values, from, 4, 32, bytes, at + 108);
    for (let p = 0; p < 16; p++) {
      const scale = scales[p] + 32;
      bytes[at + 96 + (p & 7)] |= (scale & 15) << (4 * (p >> 3));
      bytes[at + 104 + (p & 3)] |= (scale >> 4) << (2 * (p >> 2));
    }
    for (let i = 0; i < SIZE; i++) {
      bytes[at + 32 + (i >> 7) * 32 + (i & 31)] |= (quants[i] & 3) << (2 * ((i >> 5) & 3));
      bytes[at + (i & 31)] |= (quants[i] >> 2) << (i >> 5);
    }
  },
};

/** Layout: d, dmin, 12 bytes of 6-bit scales and minima, 128 of nibbles (64 values share 32 bytes: low half, high half). */
export const q4_k: QuantType = {
  ggml: 12,
  blockSize: SIZE,
  blockBytes: 144,
  decode(bytes, at, out, to) {
    const d = f16ToNumber(u16(bytes, at));
    const dmin = f16ToNumber(u16(bytes, at + 2));
    for (let p = 0; p < 8; p++) {
      const step = d * scaleK4(bytes, at + 4, p);
      const min = dmin * minK4(bytes, at + 4, p);
      const source = at + 16 + (p >> 1) * 32;
      const shift = (p & 1) * 4;
      for (let i = 0; i < 32; i++) out[to + p * 32 + i] = step * ((bytes[source + i] >> shift) & 15) - min;
    }
  },
  encode(values, from, bytes, at) {
    const { scales, mins } = fitScaleMin(values, from, 32, 15, 63, bytes, at);
    putScaleMinK4(bytes, at + 4, scales, mins);
    for (let i = 0; i < 128; i++) {
      const first = (i >> 5) * 64 + (i & 31);
      bytes[at + 16 + i] = quants[first] | (quants[first + 32] << 4);
    }
  },
};

/** Layout: as q4_k with 32 bytes of fifth bits (bit p of byte i: value i of part p) before the nibbles. */
export const q5_k: QuantType = {
  ggml: 13,
  blockSize: SIZE,
  blockBytes: 176,
  decode(bytes, at, out, to) {
    const d = f16ToNumber(u16(bytes, at));
    const dmin = f16ToNumber(u16(bytes, at + 2));
    for (let p = 0; p < 8; p++) {
      const step = d * scaleK4(bytes, at + 4, p);
      const min = dmin * minK4(bytes, at + 4, p);
      const source = at + 48 + (p >> 1) * 32;
      const shift = (p & 1) * 4;
      for (let i = 0; i < 32; i++) {
        const high = (bytes[at + 16 + i] >> p) & 1;
        out[to + p * 32 + i] = step * (((bytes[source + i] >> shift) & 15) + 16 * high) - min;
      }
    }
  },
  encode(values, from, bytes, at) {
    const { scales, mins } = fitScaleMin(values, from, 32, 31, 63, bytes, at);
    putScaleMinK4(bytes, at + 4, scales, mins);
    bytes.fill(0, at + 16, at + 48);
    for (let i = 0; i < SIZE; i++) bytes[at + 16 + (i & 31)] |= (quants[i] >> 4) << (i >> 5);
    for (let i = 0; i < 128; i++) {
      const first = (i >> 5) * 64 + (i & 31);
      bytes[at + 48 + i] = (quants[first] & 15) | ((quants[first + 32] & 15) << 4);
    }
  },
};

/** Layout: 128 bytes of low nibbles, 64 of upper 2 bits, 16 signed byte scales, d. */
export const q6_k: QuantType = {
  ggml: 14,
  blockSize: SIZE,
  blockBytes: 210,
  decode(bytes, at, out, to) {
    const d = f16ToNumber(u16(bytes, at + 208));
    for (let p = 0; p < 16; p++) {
      const step = d * ((bytes[at + 192 + p] << 24) >> 24);
      for (let i = p * 16; i < p * 16 + 16; i++) {
        // Of every 128 values the first 64 take the low nibbles of 64 bytes, the others the high ones.
        const low = (bytes[at + (i >> 7) * 64 + (i & 63)] >> (4 * ((i >> 6) & 1))) & 15;
        const high = (bytes[at + 128 + (i >> 7) * 32 + (i & 31)] >> (2 * ((i >> 5) & 3))) & 3;
        out[to + i] = step * ((low | (high << 4)) - 32);
      }
    }
  },
  encode(values, from, bytes, at) {
    bytes.fill(0, at, at + 210);
    const scales = fitSymmetric(values, from, 32, 128, bytes, at + 208);
    for (let p = 0; p < 16; p++) bytes[at + 192 + p] = scales[p];
    for (let i = 0; i < SIZE; i++) {
      bytes[at + (i >> 7) * 64 + (i & 63)] |= (quants[i] & 15) << (4 * ((i >> 6) & 1));
      bytes[at + 128 + (i >> 7) * 32 + (i & 31)] |= (quants[i] >> 4) << (2 * ((i >> 5) & 3));
    }
  },
};

/** Layout: f32 d, 256 signed bytes, 16 sums of 16 quants as i16 (for activations; the sums do not enter the values). */
export const q8_k: QuantType = {
  ggml: 15,
  blockSize: SIZE,
  blockBytes: 292,
  decode(bytes, at, out, to) {
    const d = new DataView(bytes.buffer, bytes.byteOffset + at, 4).getFloat32(0, true);
    for (let i = 0; i < SIZE; i++) out[to + i] = d * ((bytes[at + 4 + i] << 24) >> 24);
  },
  encode(values, from, bytes, at) {
    const d = Math.fround(signedMax(values, from, SIZE) / -128);
    new DataView(bytes.buffer, bytes.byteOffset + at, 4).setFloat32(0, d, true);
    for (let p = 0; p < 16; p++) {
      let sum = 0;
      for (let i = p * 16; i < p * 16 + 16; i++) {
        const q = d === 0 ? 0 : roundClamp(values[from + i] / d, -128, 127);
        bytes[at + 4 + i] = q;
        sum += q;
      }
      putU16(bytes, at + 260 + 2 * p, sum);
    }
  },
};
