/** Entries of the vocabulary, and the arguments that several of them read alike: tiles, types, axes, options objects, pointers, masks. */
import type { DType, Value } from "../ir/types.ts";
import type { Compiler } from "./compiler.ts";
import { toBool } from "./operators.ts";
import type { CallInfo, CT, Numeric, PointerValue } from "./values.ts";
import { describe, isUndefined } from "./values.ts";

export type Handler = (c: Compiler, args: CT[], info: CallInfo) => CT;

export interface Entry {
  /** Fewest and most arguments. */
  args: readonly [number, number];
  build: Handler;
}

export const entry = (min: number, max: number, build: Handler): Entry => ({ args: [min, max], build });

/** The i-th argument as a number or tile. */
export const arg = (c: Compiler, args: CT[], i: number, info: CallInfo): Numeric =>
  c.numeric(args[i], `argument ${i + 1} of ${info.name}`, info.node.arguments[i]);
/** The i-th argument as a value that exists at run time. */
export const tile = (c: Compiler, args: CT[], i: number, info: CallInfo): Value => c.toValue(arg(c, args, i, info));

export function dtypeOf(c: Compiler, v: CT | undefined, what: string): DType | undefined {
  if (v === undefined || isUndefined(v)) return undefined;
  if (v.kind === "dtype") return v.dtype;
  return c.fail(`${what} must be a type such as al.f32, got ${describe(v)}`, "Types are al.f32, al.f16, al.i32 and so on, without quotes.");
}

/** Axis argument, counted from the end when negative. */
export function axisOf(c: Compiler, v: CT, rank: number, info: CallInfo): number {
  const axis = c.integer(v, `the axis of ${info.name}`);
  if (axis < -rank || axis >= rank)
    c.fail(`${info.name}: axis ${axis} of a tile with ${rank} axes`, `Axes count from 0, or from the end with -1.`);
  return axis < 0 ? axis + rank : axis;
}

/** The named options of a call; an unknown one is an error. */
export function options<N extends string>(c: Compiler, v: CT | undefined, names: readonly N[], info: CallInfo): Partial<Record<N, CT>> {
  if (v === undefined || isUndefined(v)) return {};
  if (v.kind !== "object") return c.fail(`the last argument of ${info.name} must be options { ${names.join(", ")} }, got ${describe(v)}`);
  const found: Partial<Record<N, CT>> = {};
  for (const [key, cell] of v.cells) {
    if (!names.includes(key as N)) c.fail(`${info.name} has no option ${key}`, `Its options are ${names.join(", ")}.`);
    if (!isUndefined(cell.value)) found[key as N] = cell.value;
  }
  return found;
}

/** A compile-time boolean option; false when left out. */
export function flag(c: Compiler, v: CT | undefined, what: string): boolean {
  if (v === undefined) return false;
  if (v.kind === "literal" && typeof v.value === "boolean") return v.value;
  return c.fail(`${what} must be true or false, known at compile time, got ${describe(v)}`);
}

/** The i-th argument as a pointer. */
export function pointer(c: Compiler, args: readonly CT[], i: number, info: CallInfo): PointerValue {
  const v = args[i];
  if (v.kind === "pointer") return v;
  return c.fail(
    `argument ${i + 1} of ${info.name} must be a pointer, got ${describe(v)}`,
    "Pass pointer + offset.",
    info.node.arguments[i],
  );
}

/** A pointer's offset as i32 or i64. */
export function offsetOf(c: Compiler, p: PointerValue): Value {
  const offset = c.toValue(p.offset, p.offset.kind === "value" ? undefined : "i32");
  const { dtype } = offset.type;
  return c.convert(offset, dtype === "i64" || dtype === "u64" || dtype === "u32" ? "i64" : "i32");
}

export function maskOf(c: Compiler, v: CT | undefined, info: CallInfo): Value | undefined {
  if (v === undefined || (v.kind === "literal" && v.value === true)) return undefined;
  return toBool(c, c.numeric(v, `the mask of ${info.name}`));
}
