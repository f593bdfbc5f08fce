/** Vocabulary operations on memory, and the dot products. */
import { broadcastShapes } from "../ir/ops.ts";
import type { Value } from "../ir/types.ts";
import { isInt } from "../ir/types.ts";
import type { Compiler } from "./compiler.ts";
import type { Handler } from "./arguments.ts";
import { arg, maskOf, offsetOf, options, pointer, tile } from "./arguments.ts";
import type { CallInfo, CT, Numeric, PointerValue } from "./values.ts";
import { describe, isUndefined, literal, runTime, UNDEFINED } from "./values.ts";

export const load: Handler = (c, args, info) => {
  return loadFrom(c, pointer(c, args, 0, info), args[1], info);
};

/** Elements at a pointer's addresses, with the options of al.load. */
export function loadFrom(c: Compiler, p: PointerValue, optionsArg: CT | undefined, info: CallInfo): CT {
  const { mask, other } = options(c, optionsArg, ["mask", "other"], info);
  const { dtype } = c.builder.params[p.param];
  const m = maskOf(c, mask, info);
  if (!m) return runTime(c.emit("load", [offsetOf(c, p)], { param: p.param }, info.name));
  const parts = [offsetOf(c, p), m];
  if (other !== undefined) parts.push(c.toValue(c.numeric(other, `option other of ${info.name}`), dtype));
  return runTime(c.emit("load", c.broadcast(parts, info.name), { param: p.param }, info.name));
}

/** The value as one element per address: it may be smaller than the tile of addresses, not larger. */
export function fitted(c: Compiler, x: Value, offset: Value, what: string): Value {
  const { shape } = offset.type;
  const to = broadcastShapes(x.type.shape, shape);
  if (to?.length === shape.length && to.every((n, i) => n === shape[i])) return c.builder.broadcast(x, shape);
  return c.fail(
    `${what} has shape [${x.type.shape.join(",")}], the addresses [${shape.join(",")}]`,
    "Add a tile of offsets to the pointer: one address per element.",
  );
}

export const store: Handler = (c, args, info) => {
  return storeTo(c, pointer(c, args, 0, info), arg(c, args, 1, info), args[2], info);
};

/** Writes a value to a pointer's addresses, with the options of al.store. */
export function storeTo(c: Compiler, p: PointerValue, x: Numeric, optionsArg: CT | undefined, info: CallInfo): CT {
  const { mask } = options(c, optionsArg, ["mask"], info);
  const { dtype } = c.builder.params[p.param];
  const offset = offsetOf(c, p);
  const value = fitted(c, c.toValue(x, dtype), offset, `the value of ${info.name}`);
  if (mask?.kind === "literal" && !mask.value) return UNDEFINED;
  const m = maskOf(c, mask, info);
  const parts = m ? [offset, value, fitted(c, m, offset, `the mask of ${info.name}`)] : [offset, value];
  c.effect("store", parts, { param: p.param }, info.name);
  return UNDEFINED;
}

export const prefetch: Handler = (c, args, info) => {
  const p = pointer(c, args, 0, info);
  c.effect("prefetch", [offsetOf(c, p)], { param: p.param }, info.name);
  return UNDEFINED;
};

const isTrue = (v: CT | undefined): boolean => v !== undefined && v.kind === "literal" && Boolean(v.value);

export const dot: Handler = (c, args, info) => {
  // The accumulator may be left out: dot(a, b, { transposeB }).
  const [accArg, optArg] = args[2]?.kind === "object" ? [undefined, args[2]] : [args[2], args[3]];
  const opts = options(c, optArg, ["transposeA", "transposeB"], info);
  const [transposeA, transposeB] = [isTrue(opts.transposeA), isTrue(opts.transposeB)];
  const type = c.commonType([arg(c, args, 0, info), arg(c, args, 1, info)], false);
  if (isInt(type) || type === "bool")
    c.fail(`${info.name} multiplies float tiles, got ${type}`, "Cast them, or use al.dot4 for four-byte dot products.");
  const [a, b] = [c.convert(tile(c, args, 0, info), type), c.convert(tile(c, args, 1, info), type)];
  if (a.type.shape.length !== 2 || b.type.shape.length !== 2) {
    c.fail(
      `${info.name} needs 2-D tiles, got ${describe(runTime(a))} and ${describe(runTime(b))}`,
      "Use al.row or al.col to make a vector 2-D.",
    );
  }
  const inner = [a.type.shape[transposeA ? 0 : 1], b.type.shape[transposeB ? 1 : 0]];
  if (inner[0] !== inner[1]) {
    c.fail(
      `${info.name}: inner sizes differ, ${inner[0]} of ${describe(runTime(a))} and ${inner[1]} of ${describe(runTime(b))}`,
      "a is [M, K] and b [K, N]; { transposeA: true } and { transposeB: true } take them as [K, M] and [N, K].",
    );
  }
  const shape = [a.type.shape[transposeA ? 1 : 0], b.type.shape[transposeB ? 0 : 1]];
  const start = accArg === undefined || isUndefined(accArg) ? literal(0) : c.numeric(accArg, `the accumulator of ${info.name}`);
  const acc =
    start.kind === "literal"
      ? c.constant({ dtype: "f32", shape }, Number(start.value))
      : c.broadcastTo(c.toValue(start, "f32"), shape, `the accumulator of ${info.name}`);
  return runTime(c.emit("dot", [a, b, acc], { transposeA, transposeB }, info.name));
};

/** Integer tiles as i32 of one shape; u32 keeps its bits. */
function words(c: Compiler, args: CT[], n: number, info: CallInfo): Value[] {
  const values = Array.from({ length: n }, (_, i) => {
    const x = arg(c, args, i, info);
    const v = x.kind === "literal" ? c.constant({ dtype: "i32", shape: [] }, Number(x.value) | 0) : x.value;
    if (!isInt(v.type.dtype) && v.type.dtype !== "bool")
      c.fail(`argument ${i + 1} of ${info.name} must be an integer, got ${describe(runTime(v))}`, undefined, info.node.arguments[i]);
    return v.type.dtype === "u32" ? c.emit("bitcast", [v], { to: "i32" }) : c.convert(v, "i32");
  });
  return c.broadcast(values, info.name);
}

export const dot4: Handler = (c, args, info) => {
  const given = options(c, args[3], ["signedA", "maxA", "maxB"], info);
  const attrs: Record<string, boolean | number> = { signedA: isTrue(given.signedA) };
  for (const name of ["maxA", "maxB"] as const) {
    const value = given[name];
    if (value === undefined) continue;
    const size = c.integer(value, `option ${name} of ${info.name}`);
    const most = name === "maxA" && !attrs.signedA ? 255 : 128;
    if (size < 1 || size > most) c.fail(`option ${name} of ${info.name} must be 1 to ${most}, got ${size}`);
    if (size < most) attrs[name] = size;
  }
  return runTime(c.emit("dot4", words(c, args, 3, info), attrs, info.name));
};

export const dot2: Handler = (c, args, info) => runTime(c.emit("dot2", words(c, args, 3, info), {}, info.name));

export const dotPairs: Handler = (c, args, info) => runTime(c.emit("dotPairs", words(c, args, 3, info), {}, info.name));

export const byteSign: Handler = (c, args, info) => runTime(c.emit("byteSign", words(c, args, 2, info), {}, info.name));

export const byteLookup: Handler = (c, args, info) => {
  const [table] = args;
  if (table.kind !== "array" || table.cells.length !== 16)
    return c.fail(`argument 1 of ${info.name} must be an array of 16 integers, got ${describe(table)}`);
  const entries = table.cells.map((cell) => c.integer(cell.value, `an entry of the table of ${info.name}`));
  const bad = entries.find((n) => n < -128 || n > 255);
  if (bad !== undefined) c.fail(`${info.name}: the table's entry ${bad} does not fit into a byte`);
  return runTime(c.emit("byteLookup", words(c, args.slice(1), 1, info), { table: entries }, info.name));
};

export const pack4: Handler = (c, args, info) => runTime(c.emit("pack4", words(c, args, 4, info), {}, info.name));
