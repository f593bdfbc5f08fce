/** Lazy buffers and the host's arrays. */
import { bf16ToNumber } from "../formats/half.ts";
import { allocate } from "../compiler/ir/memory.ts";
import type { DType } from "../compiler/ir/types.ts";
import type { HostArrays } from "../compiler/language/signature.ts";
import { AlloyError } from "../support/errors.ts";
import type { Shape } from "./shapes.ts";

export type HostArray = HostArrays[DType];

/** What a typed array holds when nobody says. A Uint16Array may be bf16 by name. */
const BY_ARRAY: Readonly<Record<string, DType>> = {
  Float32Array: "f32",
  Float16Array: "f16",
  Float64Array: "f64",
  Int8Array: "i8",
  Uint8Array: "u8",
  Int16Array: "i16",
  Uint16Array: "u16",
  Int32Array: "i32",
  Uint32Array: "u32",
  BigInt64Array: "i64",
  BigUint64Array: "u64",
};

/** The dtype of a typed array's elements. Throws `bad_argument` for anything else. */
export function dtypeOfArray(array: unknown): DType {
  const name = ArrayBuffer.isView(array) ? array.constructor.name : typeof array;
  const dtype = BY_ARRAY[name];
  if (dtype) return dtype;
  throw new AlloyError("bad_argument", `A lazy buffer is made of a typed array, got ${name}`, {
    hint: "Give a Float32Array, Float16Array, Int32Array or another typed array; bf16 is a Uint16Array with { dtype: bf16 }.",
  });
}

/** An array for `elements` elements; bf16 as its bits. */
export const hostArray = (dtype: DType, elements: number): HostArray =>
  (dtype === "bf16" ? new Uint16Array(elements) : allocate(dtype, elements)) as HostArray;

export type Nested = number | bigint | readonly Nested[];

/** Elements as arrays within arrays, an array for each axis; bf16 as the numbers that it stands for. */
export function nested(data: HostArray, dtype: DType, shape: Shape): Nested {
  const number = (i: number): number | bigint => (dtype === "bf16" ? bf16ToNumber(Number(data[i])) : data[i]);
  const build = (axis: number, at: number): Nested => {
    if (axis === shape.length) return number(at);
    const step = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
    return Array.from({ length: shape[axis] }, (_, i) => build(axis + 1, at + i * step));
  };
  return build(0, 0);
}
