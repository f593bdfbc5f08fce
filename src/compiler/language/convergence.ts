/** Barriers and simdgroup operations that not all threads would reach: found before anything runs. */
import type * as ES from "estree";
import { divergentOp } from "../ir/divergence.ts";
import type { KernelIR, Loc, Op } from "../ir/types.ts";
import type { Source } from "./source.ts";
import { sourceError } from "./source.ts";

const capital = (s: unknown): string => String(s).replace(/^./, (ch) => ch.toUpperCase());

/** The operation as its author wrote it, or nearly so. */
function nameOf(op: Op): string {
  if (op.op === "simdReduce") return `al.simd${capital(op.attrs.kind)}`;
  if (op.op === "simdScan") return `al.simdPrefix${capital(op.attrs.kind)}`;
  if (op.op === "simdShuffle") return `al.simdShuffle${op.attrs.mode === "index" ? "" : capital(op.attrs.mode)}`;
  return `al.${op.op}`;
}

/** Throws `kernel_error` at the user's line for an operation that threads must reach together but stands under a condition they may disagree on. */
export function checkConvergence(ir: KernelIR, source: Source): void {
  const found = divergentOp(ir);
  if (!found) return;
  const { op, inside } = found;
  const what = op.op === "barrier" ? "all threads of the threadgroup" : "all threads of the simdgroup";
  const where = inside.op === "if" ? "a condition that differs between threads" : "a loop that threads leave at different turns";
  throw sourceError(source, at(op.loc), `${nameOf(op)} must be reached by ${what}, but stands in ${where}`, hint(inside));
}

const hint = (inside: Op): string =>
  inside.op === "if"
    ? "Put only the memory accesses under the condition (or give them a mask) and this operation after it. A return before it counts as a condition too."
    : "Let the loop run equally often in all threads and mask the work of those that are done.";

/** A syntax node that stands at a place, for messages. */
const at = (loc: Loc | undefined): ES.Node | undefined =>
  loc && ({ type: "EmptyStatement", loc: { start: loc, end: loc } } as ES.EmptyStatement);
