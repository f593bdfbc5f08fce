/** Loads and stores: contiguous vectors where the offset grows by one along the last axis, single elements otherwise; masks never touch memory that is off. */
import type { Op } from "../../ir/types.ts";
import { DTYPE_BYTES, elements } from "../../ir/types.ts";
import type { Emitter } from "./emitter.ts";
import type { Ix } from "./values.ts";
import { chunksOf, isConstLin, isZero, lin, linText, memoryType, vectorType } from "./values.ts";
import { fromMemory, toMemory, validLanes } from "./elementwise.ts";

export const paramName = (e: Emitter, op: Op): string => `p_${e.ir.params[op.attrs.param as number].name}`;

interface Address {
  /** First element, as C expression. */
  first: (idx: readonly Ix[]) => string;
  kind: "contiguous" | "strided" | "same";
  stride: string;
}

/** How the elements of one vector lie in memory; undefined when offsets are data. */
function address(e: Emitter, op: Op): Address | undefined {
  const offset = op.args[0];
  const form = e.affine(offset, false) ?? (e.eff(offset).at(-1) === 1 || offset.type.shape.length === 0 ? e.affine(offset) : undefined);
  if (!form) return undefined;
  const step = form.coef.at(-1) ?? lin(0);
  const kind = isZero(step) ? "same" : isConstLin(step) && step.c === 1 ? "contiguous" : "strided";
  return { first: (idx) => linText(e.affineAt(form, idx)), kind, stride: linText(step) };
}

/** One vector of a load. `out` is the width and position of the result. */
export function loadLanes(e: Emitter, op: Op, idx: readonly Ix[], w: number): string {
  const [offset, mask, other] = op.args;
  const { dtype } = op.results[0].type;
  const p = paramName(e, op);
  const memory = memoryType(dtype);
  const at = address(e, op);
  const otherwise = (): string => (other ? e.get(other, idx, 1) : "0");
  if (w === 1) {
    const index = at ? at.first(idx) : `${e.get(offset, idx, 1)}`;
    const value = fromMemory(dtype, 1, `${p}[${index}]`);
    return mask ? `(${e.get(mask, idx, 1)} ? ${value} : ${otherwise()})` : value;
  }
  const T = `${memory}x${w}`;
  let value: string;
  if (at?.kind === "same" && !mask) return e.splat(dtype, w, fromMemory(dtype, 1, `${p}[${at.first(idx)}]`));
  if (at?.kind === "contiguous") {
    const where = `${p} + ${at.first(idx)}`;
    const valid = mask && validLanes(e, mask);
    value = !mask ? `LD(${T}, ${where})` : valid ? `ldn_${T}(${where}, ${valid(idx, w)})` : `ldm_${T}(${where}, ${e.get(mask, idx, w)})`;
  } else {
    const where = scattered(e, op, idx, w, at);
    value = `${where.load}${mask ? "m" : ""}_${T}(${where.args}${mask ? `, ${e.get(mask, idx, w)}` : ""})`;
  }
  value = fromMemory(dtype, w, value);
  if (!mask || !other || isZeroConstant(e, op)) return value;
  return `sel_${vectorType(dtype, w)}(${e.get(mask, idx, w)}, ${value}, ${e.get(other, idx, w)})`;
}

function isZeroConstant(e: Emitter, op: Op): boolean {
  let d = e.analysis.definition(op.args[2]);
  while (d?.op === "broadcast") d = e.analysis.definition(d.args[0]);
  return d?.op === "const" && Object.is(Number(d.attrs.value), 0);
}

/** Helper functions (prelude) and first arguments for elements that do not lie side by side. */
function scattered(
  e: Emitter,
  op: Op,
  idx: readonly Ix[],
  w: number,
  at: Address | undefined,
): { load: string; store: string; args: string } {
  const p = paramName(e, op);
  if (at) return { load: "stride", store: "spread", args: `${p} + ${at.first(idx)}, ${at.kind === "same" ? "0" : at.stride}` };
  const wide = op.args[0].type.dtype === "i64" ? "64" : "";
  return { load: `gather${wide}`, store: `scatter${wide}`, args: `${p}, ${e.get(op.args[0], idx, w)}` };
}

/** Writes the statements that store one vector. */
export function storeLanes(e: Emitter, op: Op, idx: readonly Ix[], w: number): void {
  const [offset, value, mask] = op.args;
  const { dtype } = value.type;
  const p = paramName(e, op);
  const memory = memoryType(dtype);
  const at = address(e, op);
  const x = toMemory(dtype, w, e.get(value, idx, w));
  if (w === 1) {
    const index = at ? at.first(idx) : e.get(offset, idx, 1);
    e.line(`${mask ? `if (${e.get(mask, idx, 1)}) ` : ""}${p}[${index}] = ${x};`);
    return;
  }
  const T = `${memory}x${w}`;
  if (at?.kind === "contiguous") {
    const where = `${p} + ${at.first(idx)}`;
    const valid = mask && validLanes(e, mask);
    if (!mask) e.line(`ST(${T}, ${where}, ${x});`);
    else if (valid) e.line(`stn_${T}(${where}, ${x}, ${valid(idx, w)});`);
    else e.line(`stm_${T}(${where}, ${x}, ${e.get(mask, idx, w)});`);
    return;
  }
  const where = scattered(e, op, idx, w, at);
  e.line(`${where.store}${mask ? "m" : ""}_${T}(${where.args}, ${x}${mask ? `, ${e.get(mask, idx, w)}` : ""});`);
}

/** Shape over which a load's result varies. */
export function loadEff(e: Emitter, op: Op): number[] {
  const effs = op.args.map((a) => e.eff(a));
  return op.results[0].type.shape.map((n, i) => (effs.every((f) => f[i] === 1) ? 1 : n));
}

export function smallLoad(e: Emitter, op: Op): void {
  const [v] = op.results;
  const eff = loadEff(e, op);
  const column = (eff.at(-1) === 1 || e.analysis.scalarised(v)) && elements(eff) > 1 && op.args.length === 1;
  if (column && e.defineLate(v, eff, ({ idx, w }) => loadLanes(e, op, idx, w))) return;
  e.define(v, eff, ({ idx, w }) => loadLanes(e, op, idx, w), op.loc);
}

export function smallStore(e: Emitter, op: Op): void {
  const { shape } = op.args[0].type;
  const scalar = e.analysis.scalarised(op.args[0]) && e.analysis.scalarised(op.args[1]);
  for (const { idx, w } of e.inWindow(shape, chunksOf(shape, scalar ? 1 : e.isa.width))) storeLanes(e, op, idx, w);
}

export function prefetch(e: Emitter, op: Op): void {
  // One hint per 64-byte line of a contiguous row is enough. A tile too large to be worth hinting is left to the hardware.
  const { shape } = op.args[0].type;
  const at = address(e, op);
  const p = paramName(e, op);
  const step = at?.kind === "contiguous" ? 64 / DTYPE_BYTES[e.ir.params[op.attrs.param as number].dtype] : 1;
  if (elements(shape) > 4096) return;
  // Of a loop that is run for some columns at a time the first part hints for all.
  if (e.window && e.window.from > 0) return;
  for (const { idx } of chunksOf(shape, step)) e.line(`__builtin_prefetch(${p} + ${at ? at.first(idx) : e.get(op.args[0], idx, 1)});`);
}
