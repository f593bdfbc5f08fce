/** Symbolic tensors: what a model's graph is made of. No data, no device. */
import type { KernelSet } from "../../kernels/api.ts";

/** T: tokens in the step, R: rows that produce logits. Both are run-time sizes bounded by the plan's class. */
export type Dim = number | "T" | "R";

export interface Tensor {
  readonly id: number;
  /** Row-major; float32 unless dtype says otherwise. */
  readonly shape: readonly Dim[];
  readonly dtype: "f32" | "i32" | "bytes";
  /** Bytes per leading row for opaque tensors ("bytes"), such as quantised activations, whose size no shape tells. */
  readonly bytes?: (sizes: Sizes, kernels: KernelSet) => number;
}

/** Concrete values (or upper bounds) of the symbolic dimensions. */
export interface Sizes {
  T: number;
  R: number;
}

export const dimSize = (d: Dim, sizes: Sizes): number => (typeof d === "number" ? d : sizes[d]);

/** Bytes that a tensor takes at these sizes, for these kernels. */
export function tensorBytes(t: Tensor, sizes: Sizes, kernels: KernelSet): number {
  if (t.bytes) return t.bytes(sizes, kernels);
  return t.shape.reduce<number>((n, d) => n * dimSize(d, sizes), 4);
}
