/** Element storage of the interpreter: tiles as typed arrays, and bounds-checked views of the memory behind pointer parameters. */
import { toArrayBuffer } from "bun:ffi";
import type { Pointer } from "bun:ffi";
import { bf16ToNumber, numberToBf16 } from "../../formats/half.ts";
import { AlloyError } from "../../support/errors.ts";
import type { DType, Param } from "./types.ts";
import { DTYPE_BYTES } from "./types.ts";
import type { Num } from "./scalar.ts";

/** Elements of a tile. bf16 elements are held as f32 numbers that bf16 can represent. */
export interface Elements {
  readonly length: number;
  [index: number]: Num;
}

type TypedArray =
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array
  | Float16Array
  | Float32Array
  | Float64Array;

/** What a pointer parameter may be given as. */
export type HostMemory = TypedArray | { address: number; bytes: number };

const ARRAYS = {
  bool: Uint8Array,
  i8: Int8Array,
  u8: Uint8Array,
  i16: Int16Array,
  u16: Uint16Array,
  i32: Int32Array,
  u32: Uint32Array,
  i64: BigInt64Array,
  u64: BigUint64Array,
  f16: Float16Array,
  bf16: Uint16Array,
  f32: Float32Array,
  f64: Float64Array,
} as const;

export function allocate(dtype: DType, n: number): Elements {
  return dtype === "bf16" ? new Float32Array(n) : new ARRAYS[dtype](n);
}

/** Memory of one pointer parameter; elements are read and written as the numbers they stand for. */
export class MemoryView {
  readonly length: number;
  private readonly data: Elements;

  constructor(
    name: string,
    readonly dtype: DType,
    memory: HostMemory,
  ) {
    const size = DTYPE_BYTES[dtype];
    const view = "address" in memory ? addressView(memory) : { buffer: memory.buffer, offset: memory.byteOffset, bytes: memory.byteLength };
    if (view.offset % size !== 0) {
      throw new AlloyError("bad_argument", `${name}: byte offset ${view.offset} is not a multiple of ${size}, the size of ${dtype}`);
    }
    this.length = Math.floor(view.bytes / size);
    this.data = new ARRAYS[dtype](view.buffer as ArrayBuffer, view.offset, this.length);
  }

  get(i: number): Num {
    return this.dtype === "bf16" ? bf16ToNumber(this.data[i] as number) : this.data[i];
  }

  set(i: number, x: Num): void {
    this.data[i] = this.dtype === "bf16" ? numberToBf16(x as number) : x;
  }
}

function addressView(m: { address: number; bytes: number }): { buffer: ArrayBuffer; offset: number; bytes: number } {
  if (m.bytes === 0) return { buffer: new ArrayBuffer(0), offset: 0, bytes: 0 };
  return { buffer: toArrayBuffer(m.address as Pointer, 0, m.bytes), offset: 0, bytes: m.bytes };
}

/** Shared or local memory with what was written to it. */
export interface OwnMemory {
  view: MemoryView;
  written: Uint8Array;
}

export function ownMemory(p: Param): OwnMemory {
  const n = p.elements!;
  return { view: new MemoryView(p.name, p.dtype, new Uint8Array(n * DTYPE_BYTES[p.dtype])), written: new Uint8Array(n) };
}
