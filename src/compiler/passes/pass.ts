/** What a pass is, and what several of them ask about ops. */
import { OPS } from "../ir/ops.ts";
import type { KernelIR, Op, Value } from "../ir/types.ts";
import { elements } from "../ir/types.ts";

export interface Pass {
  /** Short name: the stage of `alloy inspect` and ALLOY_DEBUG=passes. */
  name: string;
  /** Changes the IR in place. What the kernel computes stays the same to the last bit. */
  run(ir: KernelIR): void;
}

/** True if the op depends on its operands and attributes only and has no regions. */
export const isPure = (op: Op): boolean => OPS[op.op].pure;

/** Ops that targets keep symbolic: their results take no room, however large the tile is. */
const FREE = new Set(["const", "arange", "broadcast", "reshape", "transpose", "slice"]);

/** Results up to this many elements may be kept from one place to another; a larger tile is cheaper computed again than stored. */
const KEPT_ELEMENTS = 16384;

/** True if a result may be held over a longer stretch of code: scalars, tiles of modest size, and forms that take no room. */
export const canBeKept = (op: Op): boolean => FREE.has(op.op) || op.results.every((r) => elements(r.type.shape) <= KEPT_ELEMENTS);

/** Keeps the user's name of a value that goes, if the one in its place has none. */
export function keepName(of: Value, on: Value): void {
  if (of.name !== undefined && on.name === undefined) on.name = of.name;
}
