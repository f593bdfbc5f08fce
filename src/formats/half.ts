/** 16-bit floats. IEEE half (f16) and bfloat16, to and from JavaScript numbers. */

/** One word seen as each of the types: faster than a DataView. */
const word = new Uint32Array(1);
const single = new Float32Array(word.buffer);
const half = new Float16Array(word.buffer);
const halfBits = new Uint16Array(word.buffer);

/** Value of every f16 bit pattern; 256 KiB, built on first use. */
let f16Values: Float32Array | undefined;

function buildF16Values(): Float32Array {
  const patterns = new Uint16Array(65536);
  for (let i = 0; i < 65536; i++) patterns[i] = i;
  return Float32Array.from(new Float16Array(patterns.buffer));
}

/** Table from f16 bits to value, for loops that decode many. */
export function f16Table(): Float32Array {
  return (f16Values ??= buildF16Values());
}

/** Value of f16 bits. */
export function f16ToNumber(pattern: number): number {
  return f16Table()[pattern];
}

/** Bits of the f16 nearest to `value` (ties to even; too large becomes infinity). */
export function numberToF16(value: number): number {
  half[0] = value;
  return halfBits[0];
}

/** Value of float32 bits. */
export function f32ToNumber(pattern: number): number {
  word[0] = pattern;
  return single[0];
}

/** Value of bfloat16 bits. */
export function bf16ToNumber(pattern: number): number {
  word[0] = pattern << 16;
  return single[0];
}

/** Bits of the bfloat16 nearest to `value` (ties to even; NaN stays NaN). */
export function numberToBf16(value: number): number {
  single[0] = value;
  const u = word[0];
  if (value !== value) return (u >>> 16) | 0x40;
  return (u + 0x7fff + ((u >>> 16) & 1)) >>> 16;
}
