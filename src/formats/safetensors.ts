/**
 * safetensors files, mapped and checked: 8 bytes of header length, a JSON header {name: {dtype, shape, data_offsets}}, data.
 * Source: the format section of the safetensors README.
 */
import { AlloyError } from "../support/errors.ts";
import { isObject } from "./json.ts";
import { mapFile, type MappedFile } from "./mmap.ts";
import { QUANT_TYPES } from "./quant/table.ts";
import type { TensorInfo, TensorType } from "./weights.ts";

/** The reference reader's limit, in bytes. */
const MAX_HEADER_BYTES = 100_000_000;
const MAX_DIMS = 8;

const DTYPES: Readonly<Record<string, TensorType>> = {
  F64: "f64",
  F32: "f32",
  F16: "f16",
  BF16: "bf16",
  I64: "i64",
  I32: "i32",
  I16: "i16",
  I8: "i8",
  U8: "u8",
  BOOL: "bool",
};

export interface SafetensorsFile {
  file: MappedFile;
  tensors: TensorInfo[];
  /** The header's `__metadata__`. */
  metadata: Record<string, unknown>;
}

/**
 * Map one safetensors file. Throws `model_not_found` (no such file), `bad_file` (damaged: names file, field and byte offset)
 * and `unsupported_model` (a dtype that Alloy does not read). The caller closes `file`.
 */
export function openSafetensors(path: string): SafetensorsFile {
  const file = mapFile(path);
  try {
    return { file, ...readHeader(file) };
  } catch (e) {
    file.close();
    throw e;
  }
}

function readHeader(file: MappedFile): { tensors: TensorInfo[]; metadata: Record<string, unknown> } {
  if (file.bytes < 8) fail(file, "header length", 0, `the file has only ${file.bytes} bytes`);
  const length = new DataView(file.window(0, 8).slice().buffer).getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER_BYTES)) fail(file, "header length", 0, `${length} is absurd: this is no safetensors file`);
  const headerBytes = Number(length);
  const dataStart = 8 + headerBytes;
  if (dataStart > file.bytes) fail(file, "header", 8, `its ${headerBytes} bytes reach beyond the end of the file (${file.bytes} bytes)`);
  const header = parseHeader(file, headerBytes);
  const metadata = isObject(header["__metadata__"]) ? header["__metadata__"] : {};
  const ranges: { tensor: TensorInfo; start: number }[] = [];
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    ranges.push(readTensor(file, name, entry, dataStart));
  }
  checkOverlaps(file, ranges);
  return { tensors: ranges.map(({ tensor }) => tensor), metadata };
}

function parseHeader(file: MappedFile, headerBytes: number): Record<string, unknown> {
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(file.window(8, headerBytes)));
  } catch (e) {
    fail(file, "header", 8, `no valid JSON: ${e instanceof Error ? e.message : String(e)}`);
  }
  return isObject(header) ? header : fail(file, "header", 8, "no JSON object");
}

function readTensor(file: MappedFile, name: string, entry: unknown, dataStart: number): { tensor: TensorInfo; start: number } {
  const at = `tensor "${name}"`;
  if (!isObject(entry)) fail(file, at, 8, "its entry is no object");
  const { dtype, shape, data_offsets: offsets } = entry;
  if (!isCounts(shape) || shape.length > MAX_DIMS) fail(file, `shape of ${at}`, 8, `${short(shape)} is no shape`);
  if (!isCounts(offsets) || offsets.length !== 2 || offsets[0] > offsets[1])
    fail(file, `data_offsets of ${at}`, 8, `${short(offsets)} is no pair of offsets`);
  const [start, end] = offsets;
  if (dataStart + end > file.bytes)
    fail(
      file,
      `data_offsets of ${at}`,
      dataStart + start,
      `its end (byte ${dataStart + end}) lies beyond the end of the file (${file.bytes} bytes)`,
    );
  const type = typeof dtype === "string" && Object.hasOwn(DTYPES, dtype) ? DTYPES[dtype] : undefined;
  if (!type)
    throw new AlloyError("unsupported_model", `${file.path}: ${at} has dtype ${short(dtype)}, which Alloy does not read`, {
      hint: `Alloy reads ${Object.keys(DTYPES).join(", ")}. Take another form of the model, such as BF16 or a GGUF file.`,
    });
  const bytes = shape.reduce((product, size) => product * size, 1) * QUANT_TYPES[type].blockBytes;
  if (bytes !== end - start)
    fail(
      file,
      `data_offsets of ${at}`,
      dataStart + start,
      `${end - start} bytes do not hold ${String(dtype)} of shape [${shape.join(", ")}] (${bytes} bytes)`,
    );
  return { tensor: { name, type, shape, bytes, address: file.address + dataStart + start }, start };
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0);
}

function short(value: unknown): string {
  return (JSON.stringify(value) ?? "nothing").slice(0, 80);
}

function checkOverlaps(file: MappedFile, ranges: { tensor: TensorInfo; start: number }[]): void {
  let end = 0;
  let last = "";
  for (const { tensor, start } of ranges.toSorted((a, b) => a.start - b.start || a.tensor.bytes - b.tensor.bytes)) {
    if (start < end)
      fail(file, `data_offsets of tensor "${tensor.name}"`, tensor.address - file.address, `it lies inside tensor "${last}"`);
    end = start + tensor.bytes;
    last = tensor.name;
  }
}

function fail(file: MappedFile, field: string, offset: number, what: string): never {
  throw new AlloyError("bad_file", `${file.path}: ${field} at byte ${offset}: ${what}`, {
    hint: "The file is damaged or was not downloaded whole: download it again.",
    data: { path: file.path, field, offset },
  });
}
