/** Which dtype operands of different dtypes meet in (docs/kernel-language.md, Values). */
import type { DType } from "../ir/types.ts";
import { isFloat } from "../ir/types.ts";

const RANK: Record<DType, number> = {
  bool: 0,
  i8: 1,
  u8: 1,
  i16: 2,
  u16: 2,
  i32: 3,
  u32: 4,
  i64: 5,
  u64: 6,
  f16: 7,
  bf16: 7,
  f32: 8,
  f64: 9,
};
const MIXED: Record<number, DType> = { 1: "i16", 2: "i32", 7: "f32" };

export function promote(a: DType, b: DType): DType {
  if (a === b) return a;
  if (RANK[a] === RANK[b]) return MIXED[RANK[a]];
  return RANK[a] > RANK[b] ? a : b;
}

/** Type in which arithmetic on `d` happens: narrow integers widen to i32, half floats to f32. */
export function computeType(d: DType): DType {
  if (RANK[d] < 3) return "i32";
  return d === "f16" || d === "bf16" ? "f32" : d;
}

/** Integers beyond this are not exact in a JavaScript number and can only be meant as floats. */
const isIntegral = (v: number): boolean => Number.isSafeInteger(v);

/** Type of a literal with nothing to adapt to. */
export function literalType(v: unknown): DType {
  if (typeof v === "boolean") return "bool";
  const n = v as number;
  if (!isIntegral(n)) return "f32";
  if (n >= -(2 ** 31) && n < 2 ** 31) return "i32";
  return n >= 0 && n < 2 ** 32 ? "u32" : "i64";
}

const LIMITS: Partial<Record<DType, readonly [number, number]>> = { i8: [-128, 127], u8: [0, 255], i16: [-32768, 32767], u16: [0, 65535] };

/** Type of an operation between a literal and a value of type `other`: the literal adapts where it can. */
export function adapt(v: number | boolean, other: DType): DType {
  if (typeof v === "boolean") return other;
  if (isFloat(other)) return other;
  if (!isIntegral(v)) return "f32";
  if (other === "bool") return "i32";
  const limits = LIMITS[other];
  return limits && (v < limits[0] || v > limits[1]) ? "i32" : other;
}
