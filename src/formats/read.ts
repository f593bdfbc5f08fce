/** Tensors of an open model file as float32 values, for oracles, tests and small weights. Kernels read the stored form. */
import { AlloyError } from "../support/errors.ts";
import { bytesAt } from "./mmap.ts";
import { dequantize, typeBytes } from "./quant/table.ts";
import type { TensorInfo } from "./weights.ts";

/** Number of values in a tensor. */
export function elementCount(tensor: { shape: readonly number[] }): number {
  return tensor.shape.reduce((product, size) => product * size, 1);
}

/** The stored bytes of a tensor, not copied; at most 4 GiB. Read-only: writing kills the process. */
export function tensorBytes(tensor: TensorInfo): Uint8Array {
  return bytesAt(tensor.address, tensor.bytes);
}

/** All values of a tensor, row-major: a copy of 4 bytes a value. */
export function readTensor(tensor: TensorInfo): Float32Array {
  return dequantize(tensor.type, tensorBytes(tensor), elementCount(tensor));
}

/** Values of `rows` rows (runs of the last dimension) from row `first` on; works anywhere in a tensor of any size. Throws `bad_argument` outside the tensor. */
export function readRows(tensor: TensorInfo, first: number, rows: number): Float32Array {
  const width = tensor.shape.at(-1) ?? 1;
  const height = elementCount(tensor) / width;
  if (!Number.isInteger(first) || !Number.isInteger(rows) || first < 0 || rows < 0 || first + rows > height)
    throw new AlloyError("bad_argument", `rows ${first} to ${first + rows} are not in ${tensor.name}, which has ${height}`);
  const rowBytes = typeBytes(tensor.type, width);
  return dequantize(tensor.type, bytesAt(tensor.address + first * rowBytes, rows * rowBytes), rows * width);
}
