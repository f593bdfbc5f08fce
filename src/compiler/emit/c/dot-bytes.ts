/**
 * Four-byte dots. x86 without an instruction for them multiplies bytes to pairs of 16-bit sums, which a second multiplication adds to 32
 * bits. Where the promised sizes of the bytes allow it, sums of several dots stay in 16 bits, so that the second comes once for all of them.
 */
import type { IsaName } from "../../../runtime/cpu/isa.ts";
import type { Op, Value } from "../../ir/types.ts";
import { elements } from "../../ir/types.ts";
import { smallElementwise } from "./elementwise.ts";
import type { Emitter } from "./emitter.ts";
import { chunksOf, cName, key } from "./values.ts";

const PAIRS: ReadonlySet<IsaName> = new Set(["avx2", "avx512"]);

/** A result that so far is an accumulator and, beside it, the sums of the last dots in 16 bits: a local for each vector. */
export interface ShortSum {
  acc: Value;
  dots: number;
  names: ReadonlyMap<string, string>;
}

/** Name of the prelude's function for one dot, without its width. */
export function dotFunction(op: Op, isa: IsaName): string {
  const { signedA, maxA = 255, maxB = 128 } = op.attrs as { signedA?: boolean; maxA?: number; maxB?: number };
  if (signedA) return maxB < 128 ? "dot4m_i32" : "dot4s_i32";
  return (isa === "neon-dotprod" ? maxA < 128 : maxA * maxB * 2 < 32768) ? "dot4u7_i32" : "dot4_i32";
}

/** Dots whose sums of pairs fit 16 bits. */
function dotsIn16Bits(e: Emitter, op: Op): number {
  const { signedA, maxA = 255, maxB = 128 } = op.attrs as { signedA?: boolean; maxA?: number; maxB?: number };
  const { shape } = op.results[0].type;
  if (signedA || !PAIRS.has(e.isa.name) || e.analysis.large(shape) || e.analysis.scalarised(op.results[0])) return 0;
  // Narrower vectors than four lanes have no such instruction.
  if (elements(shape) < 4 || chunksOf(shape, e.isa.width).some((c) => c.w < 4)) return 0;
  return Math.floor(32767 / (2 * maxA * maxB));
}

/** The dot that alone goes on adding to this one's result, in the same way. */
function continues(e: Emitter, op: Op, most: number): boolean {
  const users = e.analysis.users.get(op.results[0]) ?? [];
  return users.length === 1 && users[0].op === "dot4" && users[0].args.indexOf(op.results[0]) === 2 && dotsIn16Bits(e, users[0]) === most;
}

export function dot4(e: Emitter, op: Op): void {
  const [a, b, acc] = op.args;
  const [out] = op.results;
  const most = dotsIn16Bits(e, op);
  const before = e.shortSums.get(acc);
  if (!before && (most < 2 || !continues(e, op, most))) return smallElementwise(e, op);
  const dots = (before?.dots ?? 0) + 1;
  const names = new Map<string, string>();
  for (const { idx, w } of e.chunks(out, out.type.shape)) {
    const product = `pairs_i32x${w}(${e.get(a, idx, w)}, ${e.get(b, idx, w)})`;
    const sum = before ? `addpairs_i32x${w}(${before.names.get(key(idx))!}, ${product})` : product;
    names.set(key(idx), e.constant(`i32x${w}`, sum, `${cName(out, "pairs")}_p${idx.join("_")}`));
  }
  const first = before?.acc ?? acc;
  if (dots < most && continues(e, op, most)) {
    e.shortSums.set(out, { acc: first, dots, names });
    return;
  }
  e.define(out, out.type.shape, ({ idx, w }) => `sumpairs_i32x${w}(${e.get(first, idx, w)}, ${names.get(key(idx))!})`, op.loc);
}
