/** Write GGUF v3 files: header first, then each tensor's data as it is produced, so that a large model never lies in memory whole. */
import { closeSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { AlloyError } from "../support/errors.ts";
import { VALUE_TYPES, type ValueType } from "./gguf-reader.ts";
import { QUANT_TYPES, typeBytes } from "./quant/table.ts";
import type { TensorType } from "./weights.ts";

const MAGIC = 0x46554747;
const VERSION = 3;
const DEFAULT_ALIGNMENT = 32;

type NumberType = Exclude<ValueType, "string" | "array" | "bool">;

/** A number with its GGUF type. */
export interface GgufNumber {
  type: NumberType;
  value: number | bigint;
}

/**
 * A metadata value. Plain integers become u32 (i32 when negative), plain fractions f32, bigints u64; say the type with
 * `ggufNumber` where readers expect another one (`ggufNumber("f32", 10000)`). Typed arrays keep their type.
 */
export type GgufValue =
  | string
  | boolean
  | number
  | bigint
  | GgufNumber
  | readonly string[]
  | readonly boolean[]
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | Float64Array
  | BigUint64Array
  | BigInt64Array;

export interface GgufTensor {
  name: string;
  type: TensorType;
  /** Row-major, outermost first, as everywhere in Alloy. */
  shape: readonly number[];
  /** The stored bytes, whole or in pieces; a function is called when the tensor's turn comes. */
  data: Uint8Array | (() => Uint8Array | Iterable<Uint8Array>);
}

export interface GgufModel {
  /** In the order in which they are written. `general.alignment` sets the alignment of tensors. */
  metadata: Readonly<Record<string, GgufValue>>;
  tensors: readonly GgufTensor[];
}

export function ggufNumber(type: NumberType, value: number | bigint): GgufNumber {
  return { type, value };
}

/**
 * Write a model to `path`; an existing file is replaced only when everything is written.
 * Throws `bad_argument` (shape, type or data that do not fit each other) and `io_error` (disk full, no permission).
 */
export function writeGguf(path: string, model: GgufModel): void {
  const alignment = alignmentOf(model.metadata);
  const partial = `${path}.partial`;
  const header = encodeHeader(model, alignment);
  try {
    const fd = openSync(partial, "w");
    try {
      writeAll(fd, header);
      for (const tensor of model.tensors) writeTensor(fd, tensor, alignment);
    } finally {
      closeSync(fd);
    }
    renameSync(partial, path);
  } catch (e) {
    rmSync(partial, { force: true });
    if (e instanceof AlloyError || !(e instanceof Error) || !("code" in e)) throw e;
    throw new AlloyError("io_error", `cannot write ${path}: ${e.message}`, {
      hint: "Check free space and permissions.",
      cause: e,
    });
  }
}

function alignmentOf(metadata: GgufModel["metadata"]): number {
  const value = metadata["general.alignment"] ?? DEFAULT_ALIGNMENT;
  const number = typeof value === "object" && "value" in value ? Number(value.value) : value;
  if (typeof number === "number" && number >= 8 && Number.isInteger(Math.log2(number))) return number;
  throw new AlloyError("bad_argument", `general.alignment is ${String(number)}, which is no power of two from 8 on`);
}

function encodeHeader({ metadata, tensors }: GgufModel, alignment: number): Uint8Array {
  const out = new ByteSink();
  out.number("u32", MAGIC);
  out.number("u32", VERSION);
  out.number("u64", tensors.length);
  const entries = Object.entries(metadata);
  out.number("u64", entries.length);
  for (const [key, value] of entries) {
    out.string(key);
    encodeValue(out, value);
  }
  let offset = 0;
  for (const { name, type, shape } of tensors) {
    const { ggml } = QUANT_TYPES[type];
    if (ggml === undefined) throw new AlloyError("bad_argument", `tensor "${name}": GGUF has no type ${type}`);
    out.string(name);
    out.number("u32", shape.length);
    for (const size of shape.toReversed()) out.number("u64", size);
    out.number("u32", ggml);
    out.number("u64", offset);
    offset += roundUp(tensorBytes(name, type, shape), alignment);
  }
  out.pad(alignment);
  return out.bytes();
}

/** Stored size of a tensor, after checking that its rows are whole blocks. */
function tensorBytes(name: string, type: TensorType, shape: readonly number[]): number {
  const row = shape.at(-1) ?? 1;
  const { blockSize } = QUANT_TYPES[type];
  if (row % blockSize !== 0)
    throw new AlloyError("bad_argument", `tensor "${name}": rows of ${row} are no whole ${type} blocks of ${blockSize}`);
  return typeBytes(
    type,
    shape.reduce((product, size) => product * size, 1),
  );
}

function roundUp(n: number, multiple: number): number {
  return Math.ceil(n / multiple) * multiple;
}

function writeTensor(fd: number, { name, type, shape, data }: GgufTensor, alignment: number): void {
  const need = tensorBytes(name, type, shape);
  const source = typeof data === "function" ? data() : data;
  let written = 0;
  for (const piece of source instanceof Uint8Array ? [source] : source) {
    writeAll(fd, piece);
    written += piece.byteLength;
  }
  if (written !== need)
    throw new AlloyError("bad_argument", `tensor "${name}": ${type} of shape [${shape.join(", ")}] takes ${need} bytes, not ${written}`);
  writeAll(fd, new Uint8Array(roundUp(need, alignment) - need));
}

function writeAll(fd: number, bytes: Uint8Array): void {
  let at = 0;
  while (at < bytes.byteLength) at += writeSync(fd, bytes, at, bytes.byteLength - at);
}

const TYPED: readonly [new (n: number) => ArrayLike<number | bigint>, NumberType][] = [
  [Uint8Array, "u8"],
  [Int8Array, "i8"],
  [Uint16Array, "u16"],
  [Int16Array, "i16"],
  [Uint32Array, "u32"],
  [Int32Array, "i32"],
  [Float32Array, "f32"],
  [Float64Array, "f64"],
  [BigUint64Array, "u64"],
  [BigInt64Array, "i64"],
];

function encodeValue(out: ByteSink, value: GgufValue): void {
  if (typeof value === "string") {
    out.type("string");
    out.string(value);
  } else if (typeof value === "boolean") {
    out.type("bool");
    out.number("u8", Number(value));
  } else if (typeof value === "number" || typeof value === "bigint") {
    const type = plainType(value);
    out.type(type);
    out.number(type, value);
  } else if (ArrayBuffer.isView(value) || Array.isArray(value)) {
    encodeArray(out, value);
  } else {
    const { type, value: number } = value as GgufNumber;
    out.type(type);
    out.number(type, number);
  }
}

function plainType(value: number | bigint): NumberType {
  if (typeof value === "bigint") return value < 0n ? "i64" : "u64";
  if (!Number.isInteger(value)) return "f32";
  return value < 0 ? "i32" : "u32";
}

function encodeArray(out: ByteSink, value: ArrayLike<string | boolean | number | bigint>): void {
  out.type("array");
  const typed = TYPED.find(([constructor]) => value instanceof constructor)?.[1];
  if (typed) {
    out.type(typed);
    out.number("u64", value.length);
    for (let i = 0; i < value.length; i++) out.number(typed, value[i] as number | bigint);
    return;
  }
  const booleans = typeof value[0] === "boolean";
  out.type(booleans ? "bool" : "string");
  out.number("u64", value.length);
  for (let i = 0; i < value.length; i++)
    if (booleans) out.number("u8", Number(value[i]));
    else out.string(value[i] as string);
}

const NUMBER_BYTES: Readonly<Record<NumberType, number>> = { u8: 1, i8: 1, u16: 2, i16: 2, u32: 4, i32: 4, f32: 4, f64: 8, u64: 8, i64: 8 };

/** A buffer that grows as little-endian values are appended. */
class ByteSink {
  #data = new DataView(new ArrayBuffer(65536));
  #length = 0;

  bytes(): Uint8Array {
    return new Uint8Array(this.#data.buffer, 0, this.#length);
  }

  type(type: ValueType): void {
    this.number("u32", VALUE_TYPES.indexOf(type));
  }

  string(text: string): void {
    const bytes = Buffer.from(text, "utf8");
    this.number("u64", bytes.length);
    const at = this.#reserve(bytes.length);
    new Uint8Array(this.#data.buffer).set(bytes, at);
  }

  number(type: NumberType, value: number | bigint): void {
    const n = Number(value);
    const at = this.#reserve(NUMBER_BYTES[type]);
    const data = this.#data;
    switch (type) {
      case "u8":
        return data.setUint8(at, n);
      case "i8":
        return data.setInt8(at, n);
      case "u16":
        return data.setUint16(at, n, true);
      case "i16":
        return data.setInt16(at, n, true);
      case "u32":
        return data.setUint32(at, n, true);
      case "i32":
        return data.setInt32(at, n, true);
      case "f32":
        return data.setFloat32(at, n, true);
      case "f64":
        return data.setFloat64(at, n, true);
      case "u64":
        return data.setBigUint64(at, BigInt(value), true);
      case "i64":
        return data.setBigInt64(at, BigInt(value), true);
    }
  }

  pad(alignment: number): void {
    this.#reserve(roundUp(this.#length, alignment) - this.#length);
  }

  /** Offset of `count` fresh zero bytes. */
  #reserve(count: number): number {
    const at = this.#length;
    this.#length += count;
    if (this.#length > this.#data.byteLength) {
      const grown = new Uint8Array(Math.max(2 * this.#data.byteLength, this.#length));
      grown.set(new Uint8Array(this.#data.buffer));
      this.#data = new DataView(grown.buffer);
    }
    return at;
  }
}
