/**
 * Elementwise work that is compiled into another kernel. A kernel that takes part calls `source(p, row, col, inside)` where it would load its input
 * and `epilogue(p, value, row, col, inside)` before it stores a result; `p` holds the parameters that the two read their operands from.
 *
 * A result is seen as rows × columns: `row` counts all axes but the last together (scalar or [R, 1]; never beyond the last row), `col` is the
 * last axis (an integer, [C] or [1, C]), and `inside` is true where `col` is a column (the shape of `col`).
 */
import type { Helper, Signature } from "../src/compiler/language/index.ts";

export interface Fusion {
  /** Of the kernel: an identifier, different for different work. */
  readonly name: string;
  /** Parameters of the operands. */
  readonly params: Signature;
  readonly source: Helper;
  readonly epilogue: Helper;
}

/** Parameters that a kernel's type need not list: only `source` and `epilogue` read them. */
export const operands = (f: Pick<Fusion, "params">): Record<never, never> => f.params;
