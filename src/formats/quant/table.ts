/** The one table of storage formats: add a format by writing its codec and one line here. */
import { AlloyError } from "../../support/errors.ts";
import type { TensorType } from "../weights.ts";
import { iq4_nl, iq4_xs, mxfp4 } from "./codebook.ts";
import type { QuantType } from "./codec.ts";
import { q2_k, q3_k, q4_k, q5_k, q6_k, q8_k } from "./k.ts";
import { q4_0, q4_1, q5_0, q5_1, q8_0, q8_1 } from "./legacy.ts";
import { bf16, bool, f16, f32, f64, i16, i32, i64, i8, u8 } from "./plain.ts";

export type { QuantType } from "./codec.ts";

export const QUANT_TYPES: Readonly<Record<TensorType, QuantType>> = {
  f32,
  f16,
  bf16,
  f64,
  i8,
  i16,
  i32,
  i64,
  u8,
  bool,
  q8_0,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q8_1,
  q2_k,
  q3_k,
  q4_k,
  q5_k,
  q6_k,
  q8_k,
  iq4_nl,
  iq4_xs,
  mxfp4,
};

/** Bytes that `count` values of a type take. Throws `bad_argument` when that is no whole number of blocks. */
export function typeBytes(type: TensorType, count: number): number {
  const { blockSize, blockBytes } = QUANT_TYPES[type];
  if (!Number.isSafeInteger(count) || count < 0 || count % blockSize !== 0)
    throw new AlloyError("bad_argument", `${count} values are no whole number of ${type} blocks of ${blockSize}`);
  return (count / blockSize) * blockBytes;
}

/**
 * Values of `count` stored weights, from the start of `bytes`. The reference for every kernel that reads the format.
 * Throws `bad_argument` when `bytes` is too short or `count` is no whole number of blocks.
 */
export function dequantize(type: TensorType, bytes: Uint8Array | DataView, count: number): Float32Array {
  const source = bytes instanceof Uint8Array ? bytes : new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const need = typeBytes(type, count);
  if (source.byteLength < need)
    throw new AlloyError("bad_argument", `${count} ${type} values take ${need} bytes, not ${source.byteLength}`);
  const { blockSize, blockBytes, decode } = QUANT_TYPES[type];
  const out = new Float32Array(count);
  for (let at = 0, to = 0; to < count; at += blockBytes, to += blockSize) decode(source, at, out, to);
  return out;
}

/**
 * Encode values, rounding each to the nearest that the format can hold with a scale taken from its block's extremes.
 * Simple on purpose: valid data for tests and benchmarks, a few percent worse than a quantizer that searches scales.
 * Throws `bad_argument` when the values are no whole number of blocks.
 */
export function quantize(type: TensorType, values: Float32Array): Uint8Array {
  const out = new Uint8Array(typeBytes(type, values.length));
  const { blockSize, blockBytes, encode } = QUANT_TYPES[type];
  for (let at = 0, from = 0; from < values.length; at += blockBytes, from += blockSize) encode(values, from, out, at);
  return out;
}
