/** Formats whose nibbles index a table of 16 values: iq4_nl, iq4_xs (both with ggml's non-linear table) and mxfp4 (the OCP FP4 values). */
import { f16ToNumber, numberToF16 } from "../half.ts";
import { nearest, putU16, roundClamp, signedMax, u16, type QuantType } from "./codec.ts";

/** ggml's `kvalues_iq4nl`: denser around zero, where weights are. */
const IQ4_VALUES = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/** E2M1, twice its value so that all are integers (the block scale is halved); index is sign, then magnitude. */
const FP4_VALUES = [0, 1, 2, 3, 4, 6, 8, 12, -0, -1, -2, -3, -4, -6, -8, -12];

/** Decode 32 nibbles (value j low, value j + 16 high in byte j). */
function decodeNibbles(table: readonly number[], d: number, bytes: Uint8Array, at: number, out: Float32Array, to: number): void {
  for (let j = 0; j < 16; j++) {
    out[to + j] = d * table[bytes[at + j] & 15];
    out[to + j + 16] = d * table[bytes[at + j] >> 4];
  }
}

function encodeNibbles(table: readonly number[], d: number, values: Float32Array, from: number, bytes: Uint8Array, at: number): void {
  const inverse = d === 0 ? 0 : 1 / d;
  for (let j = 0; j < 16; j++)
    bytes[at + j] = nearest(table, values[from + j] * inverse) | (nearest(table, values[from + j + 16] * inverse) << 4);
}

/** Layout: f16 d, 16 bytes of nibbles. Source: ggml-common.h, `block_iq4_nl`. */
export const iq4_nl: QuantType = {
  ggml: 20,
  blockSize: 32,
  blockBytes: 18,
  decode(bytes, at, out, to) {
    decodeNibbles(IQ4_VALUES, f16ToNumber(u16(bytes, at)), bytes, at + 2, out, to);
  },
  encode(values, from, bytes, at) {
    const scale = numberToF16(signedMax(values, from, 32) / IQ4_VALUES[0]);
    putU16(bytes, at, scale);
    encodeNibbles(IQ4_VALUES, f16ToNumber(scale), values, from, bytes, at + 2);
  },
};

/**
 * Layout: f16 d, 16 bits of upper scale bits, 4 bytes of lower scale nibbles (8 scales of 6 bits, offset 32), 128 bytes of
 * nibbles. Source: ggml-common.h, `block_iq4_xs`.
 */
export const iq4_xs: QuantType = {
  ggml: 23,
  blockSize: 256,
  blockBytes: 136,
  decode(bytes, at, out, to) {
    const d = f16ToNumber(u16(bytes, at));
    const high = u16(bytes, at + 2);
    for (let p = 0; p < 8; p++) {
      const low = (bytes[at + 4 + (p >> 1)] >> (4 * (p & 1))) & 15;
      const scale = (low | (((high >> (2 * p)) & 3) << 4)) - 32;
      decodeNibbles(IQ4_VALUES, d * scale, bytes, at + 8 + 16 * p, out, to + 32 * p);
    }
  },
  encode(values, from, bytes, at) {
    const ideal = new Float32Array(8);
    for (let p = 0; p < 8; p++) ideal[p] = signedMax(values, from + 32 * p, 32) / IQ4_VALUES[0];
    const unit = numberToF16(signedMax(ideal, 0, 8) / -32);
    const d = f16ToNumber(unit);
    putU16(bytes, at, unit);
    bytes.fill(0, at + 2, at + 8);
    let high = 0;
    for (let p = 0; p < 8; p++) {
      const scale = d === 0 ? 0 : roundClamp(ideal[p] / d, -32, 31);
      bytes[at + 4 + (p >> 1)] |= ((scale + 32) & 15) << (4 * (p & 1));
      high |= ((scale + 32) >> 4) << (2 * p);
      encodeNibbles(IQ4_VALUES, d * scale, values, from + 32 * p, bytes, at + 8 + 16 * p);
    }
    putU16(bytes, at + 2, high);
  },
};

/** Layout: one byte e (scale 2^(e - 127), halved for the doubled table), 16 bytes of nibbles. Source: OCP Microscaling spec 1.0; ggml `block_mxfp4`. */
export const mxfp4: QuantType = {
  ggml: 39,
  blockSize: 32,
  blockBytes: 17,
  decode(bytes, at, out, to) {
    decodeNibbles(FP4_VALUES, 2 ** (bytes[at] - 128), bytes, at + 1, out, to);
  },
  encode(values, from, bytes, at) {
    const max = Math.abs(signedMax(values, from, 32));
    // The largest FP4 value is 6 = 1.5 * 2^2: the scale puts the block's maximum into that binade.
    const e = max === 0 ? 0 : roundClamp(Math.floor(Math.log2(max)) - 2 + 127, 0, 254);
    bytes[at] = e;
    encodeNibbles(FP4_VALUES, 2 ** (e - 128), values, from, bytes, at + 1);
  },
};
