/** Random buffers with the numbers that they hold, from a seed that is printed. */
import { bf16ToNumber, numberToBf16 } from "../../src/formats/half.ts";
import { bf16, f16, f32 } from "../../src/compiler/language/index.ts";
import { buffer, type LazyBuffer } from "../../src/lazy/index.ts";
import { random, SEED } from "../kernels/runners.ts";
import type { Matrix } from "./reference.ts";

export const TYPES = { f32, f16, bf16 };
export type TypeName = keyof typeof TYPES;
/** Distance between neighbours at 1: errors of a result stored in the type are about this. */
export const STEP: Record<TypeName, number> = { f32: 2 ** -23, f16: 2 ** -10, bf16: 2 ** -7 };

export class Random {
  private readonly next = random(SEED);
  /** An integer from a to b, both possible. */
  int = (a: number, b: number): number => a + Math.floor(this.next() * (b - a + 1));
  pick = <T>(from: readonly T[]): T => from[this.int(0, from.length - 1)];

  /** A buffer of numbers in [-scale, scale), and the numbers as stored. */
  matrix(shape: readonly number[], type: TypeName = "f32", scale = 2): Matrix & { lazy: LazyBuffer } {
    const values = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => (this.next() * 2 - 1) * scale);
    return stored(values, shape, type);
  }
}

/** Numbers as a buffer of a type. */
export function stored(values: Float32Array, shape: readonly number[], type: TypeName = "f32"): Matrix & { lazy: LazyBuffer } {
  if (type === "bf16") {
    const bits = Uint16Array.from(values, numberToBf16);
    return { shape, data: Array.from(bits, bf16ToNumber), lazy: buffer(bits, { shape, dtype: bf16 }) };
  }
  const array = type === "f16" ? Float16Array.from(values) : values;
  return { shape, data: Array.from(array), lazy: buffer(array, shape) };
}

/** The numbers of a buffer. */
export async function numbers(x: LazyBuffer): Promise<number[]> {
  const data = await x.read();
  return Array.from(data as ArrayLike<number>, (v) => (x.dtype === "bf16" ? bf16ToNumber(v) : Number(v)));
}

/** The largest difference, in units of `tolerance` · (1 + |expected|): at most 1 is right. NaN must meet NaN, infinities themselves. */
export function worst(got: readonly number[], expected: ArrayLike<number>, tolerance: number): number {
  if (got.length !== expected.length) return Infinity;
  return got.reduce((most, x, i) => {
    const y = expected[i];
    if (Object.is(x, y) || x === y) return most;
    const error = Math.abs(x - y) / (Math.max(tolerance, 1e-300) * (1 + Math.abs(y)));
    return Math.max(most, Number.isNaN(error) ? Infinity : error);
  }, 0);
}
