/** What a storage format of tensor data is: block layout, and how one block is read and written. */

/** One storage format. Blocks are little-endian and lie one after another; a row holds a whole number of them. */
export interface QuantType {
  /** Type number in GGUF files (ggml.h, `enum ggml_type`); undefined for types that GGUF has not. */
  ggml?: number;
  /** Values per block. */
  blockSize: number;
  /** Bytes per block. */
  blockBytes: number;
  /** Decode the block at `bytes[at...]` to `out[to ... to + blockSize)`. */
  decode(bytes: Uint8Array, at: number, out: Float32Array, to: number): void;
  /** Encode `values[from ... from + blockSize)` to `bytes[at...]`: round to nearest, no importance weights. */
  encode(values: Float32Array, from: number, bytes: Uint8Array, at: number): void;
}

/** Little-endian 16-bit read. */
export function u16(bytes: Uint8Array, at: number): number {
  return bytes[at] | (bytes[at + 1] << 8);
}

/** Little-endian 16-bit write. */
export function putU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >> 8;
}

/** Integer nearest to `x` (halves to even, as C's nearbyint), clamped to [low, high]; NaN gives `low`. */
export function roundClamp(x: number, low: number, high: number): number {
  // Adding and taking away 1.5 * 2^52 rounds a double to an integer, halves to even.
  const r = x + 6755399441055744 - 6755399441055744;
  if (r >= high) return high;
  return r > low ? r : low;
}

/** The value of largest magnitude among `count`, with its sign. */
export function signedMax(values: Float32Array, from: number, count: number): number {
  let max = 0;
  for (let i = from; i < from + count; i++) if (Math.abs(values[i]) > Math.abs(max)) max = values[i];
  return max;
}

/** Smallest and largest of `count` values. */
export function range(values: Float32Array, from: number, count: number): [min: number, max: number] {
  let min = Infinity;
  let max = -Infinity;
  for (let i = from; i < from + count; i++) {
    if (values[i] < min) min = values[i];
    if (values[i] > max) max = values[i];
  }
  return [min, max];
}

/** Index of the entry of the ascending `table` nearest to `x`. */
export function nearest(table: readonly number[], x: number): number {
  let best = 0;
  for (let i = 1; i < table.length; i++) if (Math.abs(table[i] - x) < Math.abs(table[best] - x)) best = i;
  return best;
}
