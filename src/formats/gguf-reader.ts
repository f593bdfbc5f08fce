/** A checked little-endian reader over the header of a GGUF file, and the metadata values in it. */
import { AlloyError } from "../support/errors.ts";
import type { MappedFile } from "./mmap.ts";
import type { MetaArray, MetaValue } from "./weights.ts";

/** Headers hold names and vocabularies: the largest known are some 20 MB. What lies beyond this is not looked at. */
const MAX_HEADER_BYTES = 2 ** 30;
/** The specification's limit for keys; tensor names are kept to the same. */
const MAX_NAME_BYTES = 65535;
/** Arrays that become JavaScript values one by one; vocabularies end below 2^19. */
const MAX_BOXED_ITEMS = 2 ** 24;
const MAX_ARRAY_DEPTH = 4;

/** Value types of GGUF metadata by number (gguf.md, `enum gguf_metadata_value_type`). */
export const VALUE_TYPES = ["u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"] as const;
export type ValueType = (typeof VALUE_TYPES)[number];

/** Number arrays become the typed array of the same type. */
const TYPED_ARRAYS = {
  u8: Uint8Array,
  i8: Int8Array,
  u16: Uint16Array,
  i16: Int16Array,
  u32: Uint32Array,
  i32: Int32Array,
  f32: Float32Array,
  u64: BigUint64Array,
  i64: BigInt64Array,
  f64: Float64Array,
} as const;

/** `bad_file` naming file, field and byte offset. */
export function ggufError(path: string, field: string, offset: number, what: string, hint?: string): AlloyError {
  return new AlloyError("bad_file", `${path}: ${field} at byte ${offset}: ${what}`, {
    hint: hint ?? "The file is damaged or was not downloaded whole: download it again.",
    data: { path, field, offset },
  });
}

export class GgufReader {
  readonly path: string;
  readonly file: MappedFile;
  /** Offset of the next byte. */
  at = 0;
  readonly #bytes: Buffer;
  readonly #view: DataView;

  constructor(file: MappedFile) {
    const header = file.window(0, Math.min(file.bytes, MAX_HEADER_BYTES));
    this.path = file.path;
    this.file = file;
    this.#bytes = Buffer.from(header.buffer, header.byteOffset, header.byteLength);
    this.#view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  }

  /** Bytes that are left of the header's window. */
  get left(): number {
    return this.#bytes.length - this.at;
  }

  fail(field: string, what: string, at = this.at, hint?: string): never {
    throw ggufError(this.path, field, at, what, hint);
  }

  /** Offset of the next `count` bytes, moving past them. */
  take(count: number, field: string): number {
    if (count > this.left) {
      if (this.#bytes.length < this.file.bytes) this.fail(field, `the header is longer than ${MAX_HEADER_BYTES} bytes`);
      this.fail(field, `the file ends after ${this.left} of the ${count} bytes that belong here (file of ${this.file.bytes} bytes)`);
    }
    const at = this.at;
    this.at += count;
    return at;
  }

  u32(field: string): number {
    return this.#view.getUint32(this.take(4, field), true);
  }

  /** An unsigned 64-bit count or size; anything from 2^53 on is absurd in a file and an error. */
  u64(field: string): number {
    const at = this.take(8, field);
    const value = this.#view.getBigUint64(at, true);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) this.fail(field, `${value} is absurd`, at);
    return Number(value);
  }

  /** A key or tensor name. */
  name(field: string): string {
    const start = this.at;
    const length = this.u64(`length of ${field}`);
    if (length === 0 || length > MAX_NAME_BYTES) this.fail(`length of ${field}`, `${length} is not 1 to ${MAX_NAME_BYTES}`, start);
    const at = this.take(length, field);
    return this.#bytes.toString("utf8", at, at + length);
  }

  string(field: string): string {
    const length = this.u64(`length of ${field}`);
    const at = this.take(length, field);
    return this.#bytes.toString("utf8", at, at + length);
  }

  valueType(field: string): ValueType {
    const at = this.at;
    const type = VALUE_TYPES[this.u32(`type of ${field}`)];
    return type ?? this.fail(`type of ${field}`, `${this.#view.getUint32(at, true)} is no GGUF value type`, at);
  }

  /** A value of the given type. Arrays of strings are only walked and checked here; they are decoded when asked for. */
  value(type: ValueType, field: string, depth = 0): MetaValue | LazyStrings {
    switch (type) {
      case "string":
        return this.string(field);
      case "bool":
        return this.#bytes[this.take(1, field)] !== 0;
      case "array":
        return this.#array(field, depth);
      case "u8":
        return this.#bytes[this.take(1, field)];
      case "i8":
        return this.#view.getInt8(this.take(1, field));
      case "u16":
        return this.#view.getUint16(this.take(2, field), true);
      case "i16":
        return this.#view.getInt16(this.take(2, field), true);
      case "u32":
        return this.u32(field);
      case "i32":
        return this.#view.getInt32(this.take(4, field), true);
      case "f32":
        return this.#view.getFloat32(this.take(4, field), true);
      case "f64":
        return this.#view.getFloat64(this.take(8, field), true);
      case "u64":
        return narrow(this.#view.getBigUint64(this.take(8, field), true));
      case "i64":
        return narrow(this.#view.getBigInt64(this.take(8, field), true));
    }
  }

  #array(field: string, depth: number): MetaArray | LazyStrings {
    if (depth >= MAX_ARRAY_DEPTH) this.fail(field, `arrays are nested deeper than ${MAX_ARRAY_DEPTH}`);
    const type = this.valueType(`items of ${field}`);
    const lengthAt = this.at;
    const length = this.u64(`length of ${field}`);
    if (type === "string") return this.#strings(field, length, lengthAt);
    if (type === "array" || type === "bool") {
      // Each item takes at least this much of the file, so an absurd length cannot make an absurd allocation.
      const least = type === "bool" ? 1 : 12;
      if (length > MAX_BOXED_ITEMS || length * least > this.left) this.fail(`length of ${field}`, `${length} is absurd`, lengthAt);
      const items: unknown[] = [];
      for (let i = 0; i < length; i++) {
        const item = this.value(type, `item ${i} of ${field}`, depth + 1);
        items.push(item instanceof LazyStrings ? item.decode() : item);
      }
      return items as boolean[] | MetaArray[];
    }
    const Typed = TYPED_ARRAYS[type];
    const size = length * Typed.BYTES_PER_ELEMENT;
    if (size > this.left) this.fail(`length of ${field}`, `${length} items of ${type} do not fit into the rest of the file`, lengthAt);
    const at = this.take(size, field);
    // Copied, because values in the file are not aligned.
    return new Typed(this.#bytes.buffer.slice(this.#bytes.byteOffset + at, this.#bytes.byteOffset + at + size) as ArrayBuffer);
  }

  #strings(field: string, length: number, lengthAt: number): LazyStrings {
    if (length > MAX_BOXED_ITEMS || length * 8 > this.left) this.fail(`length of ${field}`, `${length} is absurd`, lengthAt);
    const start = this.at;
    const view = this.#view;
    const end = this.#bytes.length;
    let at = start;
    for (let i = 0; i < length; i++) {
      // The two halves as 32-bit numbers: a BigInt per string would take most of the time.
      const next = at + 8 > end ? Infinity : at + 8 + view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
      if (next > end) {
        this.at = at;
        this.fail(`item ${i} of ${field}`, `the string reaches beyond the end of the file (${this.file.bytes} bytes)`);
      }
      at = next;
    }
    this.at = at;
    return new LazyStrings(this.file, start, at, length);
  }
}

function narrow(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

/** An array of strings in the file that was checked but not decoded: listing models does not pay for vocabularies. */
export class LazyStrings {
  readonly #file: MappedFile;
  readonly #start: number;
  readonly #end: number;
  readonly #length: number;

  constructor(file: MappedFile, start: number, end: number, length: number) {
    this.#file = file;
    this.#start = start;
    this.#end = end;
    this.#length = length;
  }

  decode(): string[] {
    const window = this.#file.window(this.#start, this.#end - this.#start);
    const bytes = Buffer.from(window.buffer, window.byteOffset, window.byteLength);
    const view = new DataView(window.buffer, window.byteOffset, window.byteLength);
    const strings: string[] = [];
    let at = 0;
    for (let i = 0; i < this.#length; i++) {
      const length = view.getUint32(at, true);
      at += 8;
      strings.push(bytes.toString("utf8", at, at + length));
      at += length;
    }
    return strings;
  }
}

/** Metadata by key; arrays of strings are decoded on first access and kept. Reading one after the file was closed throws `internal`. */
export class GgufMetadata implements ReadonlyMap<string, MetaValue> {
  readonly #values: Map<string, MetaValue | LazyStrings>;

  constructor(values: Map<string, MetaValue | LazyStrings>) {
    this.#values = values;
  }

  get size(): number {
    return this.#values.size;
  }

  has(key: string): boolean {
    return this.#values.has(key);
  }

  get(key: string): MetaValue | undefined {
    const value = this.#values.get(key);
    if (!(value instanceof LazyStrings)) return value;
    const strings = value.decode();
    this.#values.set(key, strings);
    return strings;
  }

  keys(): MapIterator<string> {
    return this.#values.keys();
  }

  *entries(): Generator<[string, MetaValue], undefined> {
    for (const key of this.#values.keys()) yield [key, this.get(key)!];
  }

  *values(): Generator<MetaValue, undefined> {
    for (const key of this.#values.keys()) yield this.get(key)!;
  }

  [Symbol.iterator](): Generator<[string, MetaValue], undefined> {
    return this.entries();
  }

  forEach(callback: (value: MetaValue, key: string, map: ReadonlyMap<string, MetaValue>) => void): void {
    for (const [key, value] of this.entries()) callback(value, key, this);
  }
}
