/**
 * GGUF v2 and v3, one file or split, mapped and checked: every count, length and offset is compared with the file before it is
 * used. Source: ggml docs/gguf.md.
 */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { AlloyError } from "../support/errors.ts";
import { GgufMetadata, GgufReader, ggufError, type LazyStrings } from "./gguf-reader.ts";
import { mapFile, type MappedFile } from "./mmap.ts";
import { QUANT_TYPES } from "./quant/table.ts";
import type { MetaValue, ModelFile, TensorInfo, TensorType } from "./weights.ts";

const MAX_DIMS = 4;
const DEFAULT_ALIGNMENT = 32;
const MAX_ALIGNMENT = 2 ** 20;
const MAX_SHARDS = 65535;

const TYPE_BY_NUMBER = new Map(
  Object.entries(QUANT_TYPES).flatMap(([name, { ggml }]) => (ggml === undefined ? [] : [[ggml, name as TensorType]])),
);

/** Types that ggml has and Alloy does not read, so that the error can name them. */
const FOREIGN_TYPES: Readonly<Record<number, string>> = {
  16: "IQ2_XXS",
  17: "IQ2_XS",
  18: "IQ3_XXS",
  19: "IQ1_S",
  21: "IQ3_S",
  22: "IQ2_S",
  29: "IQ1_M",
  34: "TQ1_0",
  35: "TQ2_0",
  40: "NVFP4",
};

/** One shard, parsed. */
interface Shard {
  file: MappedFile;
  metadata: GgufMetadata;
  tensors: TensorInfo[];
}

/**
 * Open a GGUF model. Any shard of a split model (`NAME-00001-of-00003.gguf`) opens the whole; metadata is the first shard's.
 *
 * Throws `model_not_found` (no such file or shard), `bad_file` (not GGUF, damaged: names file, field and byte offset) and
 * `unsupported_model` (a version or tensor type that Alloy does not read).
 */
export function openGguf(path: string): ModelFile {
  const shards: Shard[] = [];
  try {
    shards.push(readShard(path));
    const count = splitCount(shards[0]);
    if (count > 1) {
      const name = splitName(path);
      if (!name || name.count !== count)
        throw new AlloyError(
          "bad_file",
          `${path} is part of a model split into ${count} files, but its name does not end in -0000N-of-${pad(count)}.gguf`,
          { hint: "Give the files back the names that they were published under." },
        );
      readOtherShards(shards, name);
    }
    return toModelFile(shards);
  } catch (e) {
    for (const { file } of shards) file.close();
    throw e;
  }
}

interface SplitName {
  prefix: string;
  index: number;
  count: number;
}

/** Parts of the file name of a shard, or undefined when the name is not one. Counted from 1. */
export function splitName(path: string): SplitName | undefined {
  const match = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/.exec(path);
  return match ? { prefix: match[1], index: Number(match[2]), count: Number(match[3]) } : undefined;
}

/** Path of shard `index` (from 1). */
export function splitPath(prefix: string, index: number, count: number): string {
  return `${prefix}-${pad(index)}-of-${pad(count)}.gguf`;
}

function pad(n: number): string {
  return String(n).padStart(5, "0");
}

function splitCount({ file, metadata }: Shard): number {
  const count = metadata.get("split.count") ?? 1;
  if (typeof count !== "number" || count < 0 || count > MAX_SHARDS)
    throw new AlloyError("bad_file", `${file.path}: split.count is ${String(count)}`);
  return count;
}

/** Complete `shards`, which holds the one that was asked for, to all in order. */
function readOtherShards(shards: Shard[], { prefix, index, count }: SplitName): void {
  for (let i = 1; i <= count; i++) {
    const path = splitPath(prefix, i, count);
    if (i !== index && !existsSync(path))
      throw new AlloyError("model_not_found", `shard ${i} of ${count} is missing: there is no file ${path}`, {
        hint: `Put all ${count} files of the model into one folder.`,
      });
  }
  for (let i = 1; i <= count; i++) {
    // The given shard is in the list already, so that it is closed on any error; those before it are put in front of it.
    if (i !== index) shards.splice(i - 1, 0, readShard(splitPath(prefix, i, count)));
    const shard = shards[i - 1];
    const [no, of] = [shard.metadata.get("split.no"), shard.metadata.get("split.count")];
    if (no !== i - 1 || of !== count)
      throw new AlloyError(
        "bad_file",
        `${shard.file.path}: split.no is ${String(no)} and split.count ${String(of)}, but the name says file ${i} of ${count} (split.no ${i - 1})`,
        { hint: "The files were renamed or belong to different models." },
      );
  }
  const declared = shards[0].metadata.get("split.tensors.count");
  const found = shards.reduce((sum, shard) => sum + shard.tensors.length, 0);
  if (typeof declared === "number" && declared !== found)
    throw new AlloyError(
      "bad_file",
      `${shards[0].file.path}: split.tensors.count is ${declared}, but the ${count} files hold ${found} tensors`,
    );
}

function toModelFile(shards: Shard[]): ModelFile {
  const tensors = new Map<string, TensorInfo>();
  for (const shard of shards)
    for (const tensor of shard.tensors) {
      if (tensors.has(tensor.name)) throw new AlloyError("bad_file", `${shard.file.path}: tensor "${tensor.name}" is in another shard too`);
      tensors.set(tensor.name, tensor);
    }
  return {
    format: "gguf",
    path: shards[0].file.path,
    metadata: shards[0].metadata,
    tensors,
    fileBytes: shards.reduce((sum, { file }) => sum + file.bytes, 0),
    fingerprint: () => ({
      hash: shards.map(({ file }) => file.fingerprint()).join(),
      files: shards.map(({ file }) => ({ path: resolve(file.path), identity: file.identity })),
    }),
    close() {
      for (const { file } of shards) file.close();
    },
  };
}

function readShard(path: string): Shard {
  const file = mapFile(path);
  try {
    const reader = new GgufReader(file);
    const { tensorCount, valueCount } = readPreamble(reader);
    const metadata = readMetadata(reader, valueCount);
    const tensors = readTensors(reader, tensorCount, readAlignment(reader, metadata));
    return { file, metadata, tensors };
  } catch (e) {
    file.close();
    throw e;
  }
}

/** Magic, version and the two counts. */
function readPreamble(reader: GgufReader): { tensorCount: number; valueCount: number } {
  const magic = reader.u32("magic");
  if (magic !== 0x46554747)
    reader.fail("magic", `0x${magic.toString(16).padStart(8, "0")} is not GGUF's 0x46554747`, 0, "This is no GGUF file.");
  const version = reader.u32("version");
  if (version !== 2 && version !== 3) {
    const swapped = (version >>> 24) | ((version >>> 8) & 0xff00);
    const bigEndian = swapped === 2 || swapped === 3;
    throw new AlloyError(
      bigEndian || version === 1 ? "unsupported_model" : "bad_file",
      bigEndian
        ? `${reader.path} is a big-endian GGUF file (version field at byte 4)`
        : `${reader.path}: GGUF version ${version} (at byte 4) is not supported; Alloy reads 2 and 3`,
      { hint: bigEndian ? "Download or convert the little-endian form." : "Download or convert a newer form of the model." },
    );
  }
  const tensorCount = count(reader, "tensor count", 24);
  const valueCount = count(reader, "metadata count", 13);
  return { tensorCount, valueCount };
}

/** A count whose items take at least `least` bytes each in the rest of the file. */
function count(reader: GgufReader, field: string, least: number): number {
  const at = reader.at;
  const value = reader.u64(field);
  if (value * least > reader.left) reader.fail(field, `${value} entries do not fit into a file of ${reader.file.bytes} bytes`, at);
  return value;
}

function readMetadata(reader: GgufReader, valueCount: number): GgufMetadata {
  const values = new Map<string, MetaValue | LazyStrings>();
  for (let i = 0; i < valueCount; i++) {
    const at = reader.at;
    const key = reader.name(`metadata key ${i}`);
    if (values.has(key)) reader.fail(`metadata key ${i}`, `"${key}" is there twice`, at);
    values.set(key, reader.value(reader.valueType(key), key));
  }
  return new GgufMetadata(values);
}

function readAlignment(reader: GgufReader, metadata: GgufMetadata): number {
  const value = metadata.get("general.alignment") ?? DEFAULT_ALIGNMENT;
  const good = typeof value === "number" && value >= 1 && value <= MAX_ALIGNMENT && Number.isInteger(Math.log2(value));
  return good ? value : reader.fail("general.alignment", `${String(value)} is no power of two up to ${MAX_ALIGNMENT}`);
}

/** A tensor's entry, before the start of the data is known. */
interface Entry {
  name: string;
  type: TensorType;
  shape: number[];
  bytes: number;
  offset: number;
  /** Where the entry's offset field lies in the file. */
  offsetAt: number;
}

function readTensors(reader: GgufReader, tensorCount: number, alignment: number): TensorInfo[] {
  const entries: Entry[] = [];
  const names = new Set<string>();
  for (let i = 0; i < tensorCount; i++) {
    const at = reader.at;
    const entry = readEntry(reader, i, alignment);
    if (names.has(entry.name)) reader.fail(`tensor name ${i}`, `"${entry.name}" is there twice`, at);
    names.add(entry.name);
    entries.push(entry);
  }
  const dataStart = Math.ceil(reader.at / alignment) * alignment;
  checkRanges(reader, entries, dataStart);
  return entries.map(({ name, type, shape, bytes, offset }) => ({
    name,
    type,
    shape,
    bytes,
    address: reader.file.address + dataStart + offset,
  }));
}

function readEntry(reader: GgufReader, i: number, alignment: number): Entry {
  const name = reader.name(`tensor name ${i}`);
  const tensor = `tensor "${name}"`;
  const dimsAt = reader.at;
  const dims = reader.u32(`dimension count of ${tensor}`);
  if (dims > MAX_DIMS) reader.fail(`dimension count of ${tensor}`, `${dims} is more than ${MAX_DIMS}`, dimsAt);
  const shape: number[] = [];
  let elements = 1;
  for (let d = 0; d < dims; d++) {
    const at = reader.at;
    const size = reader.u64(`dimension ${d} of ${tensor}`);
    elements *= size;
    if (size === 0 || !Number.isSafeInteger(elements))
      reader.fail(`dimension ${d} of ${tensor}`, size === 0 ? "is 0" : `${size} makes the tensor absurdly large`, at);
    // ggml writes the innermost dimension first.
    shape.unshift(size);
  }
  const type = readType(reader, tensor);
  const { blockSize, blockBytes } = QUANT_TYPES[type];
  const row = shape.at(-1) ?? 1;
  if (row % blockSize !== 0)
    reader.fail(`dimension 0 of ${tensor}`, `${row} is no multiple of the ${blockSize} values in a ${type} block`, dimsAt + 4);
  const bytes = (elements / blockSize) * blockBytes;
  const offsetAt = reader.at;
  const offset = reader.u64(`offset of ${tensor}`);
  if (offset % alignment !== 0) reader.fail(`offset of ${tensor}`, `${offset} is no multiple of the alignment ${alignment}`, offsetAt);
  return { name, type, shape, bytes, offset, offsetAt };
}

function readType(reader: GgufReader, tensor: string): TensorType {
  const at = reader.at;
  const number = reader.u32(`type of ${tensor}`);
  const type = TYPE_BY_NUMBER.get(number);
  if (type) return type;
  const foreign = FOREIGN_TYPES[number];
  if (!foreign) reader.fail(`type of ${tensor}`, `${number} is no tensor type that Alloy knows`, at);
  throw new AlloyError(
    "unsupported_model",
    `${reader.path}: ${tensor} is stored as ${foreign} (type ${number} at byte ${at}), which Alloy does not read`,
    { hint: "Take another quantization of the model, such as Q4_K_M or Q8_0." },
  );
}

/** Every tensor lies inside the file and on no other. */
function checkRanges(reader: GgufReader, entries: Entry[], dataStart: number): void {
  const { path, file } = reader;
  const sorted = entries.toSorted((a, b) => a.offset - b.offset);
  let end = 0;
  let last = "";
  for (const { name, offset, bytes, offsetAt } of sorted) {
    const field = `offset of tensor "${name}"`;
    if (dataStart + offset + bytes > file.bytes)
      throw ggufError(
        path,
        field,
        offsetAt,
        `its ${bytes} bytes from byte ${dataStart + offset} on reach beyond the end of the file (${file.bytes} bytes)`,
      );
    if (offset < end) throw ggufError(path, field, offsetAt, `${offset} lies inside tensor "${last}", which ends at ${end}`);
    end = offset + bytes;
    last = name;
  }
}
