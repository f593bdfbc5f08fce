/** Loads, stores and atomics: vectors where consecutive registers are consecutive in memory, masks as conditions or counts of valid elements. */
import type { DType, Op, Value } from "../../ir/types.ts";
import { elements } from "../../ir/types.ts";
import { bare, literal, mslType, operand } from "./expressions.ts";
import { conditions, fromScratch, shuffled, speaker, toScratch } from "./convert.ts";
import type { Emitter, Reg, Stored } from "./emitter.ts";
import { linear, sum } from "./emitter.ts";
import type { Layout } from "./layout.ts";
import { axisOf, bit, coveredSize, layoutKey, NONE, registers, replicas, vectorOf, viewLayout } from "./layout.ts";

/** Types that have packed vectors of up to four elements. */
const WIDE: ReadonlySet<DType> = new Set(["i8", "u8", "i16", "u16", "i32", "u32", "f16", "bf16", "f32"]);

const nameOfParam = (e: Emitter, op: Op): string => e.names.params.get(e.ir.params[op.attrs.param as number].name)!;

/** The mask of a vector of registers: conditions that hold for all of it or not at all, and how many leading elements are on. */
interface VectorMask {
  conditions: string[];
  counts: string[];
}

/** Elements that one access may move at `op`: 1, 2 or 4. `mask`: what tells which of them are on, undefined where that is per element. */
function vectorize(e: Emitter, op: Op, l: Layout): number {
  const offset = op.args[0];
  const p = e.ir.params[op.attrs.param as number];
  if (p.kind !== "ptr" || !WIDE.has(p.dtype) || elements(offset.type.shape) === 1) return 1;
  const axis = e.a.stepsOf(offset).findIndex((s, i) => s === 1 && offset.type.shape[i] > 1);
  if (axis < 0) return 1;
  const size = offset.type.shape[axis];
  let n = Math.min(4, vectorOf(l, axis), size & -size);
  const mask = op.op === "load" ? op.args[1] : op.args[2];
  while (n > 1 && mask && !vectorMask(e, mask, l, 0, n)) n >>= 1;
  if (op.op === "load" && op.args[2] && !constantAlong(e, op.args[2], l, n)) return 1;
  return n;
}

/** Which registers of a vector a view's bits still tell apart: the axis that its elements follow, or none. */
function vectorAxis(l: Layout, n: number): number | undefined | "mixed" {
  const low = l.regs.slice(0, Math.log2(n));
  if (low.every((b) => b === NONE)) return undefined;
  const axis = axisOf(low[0]);
  return low[0] !== NONE && low.every((b, i) => b === bit(axis, i)) ? axis : "mixed";
}

/** True if a value is the same for all elements of a vector. */
function constantAlong(e: Emitter, v: Value, l: Layout, n: number): boolean {
  if (e.a.kind(v) === "unit") return true;
  const axis = vectorAxis(l, n);
  if (axis === undefined) return true;
  if (axis === "mixed") return false;
  if (e.a.stepsOf(v)[axis] === 0) return true;
  const op = e.a.def(v);
  if (!op || e.a.kind(v) === "regs") return false;
  if (op.op === "const") return true;
  const views = ["broadcast", "reshape", "transpose", "slice"].includes(op.op);
  return (
    op.args.length > 0 &&
    op.args.every((x) => {
      const inner = views ? viewLayout(op, l) : l;
      return inner !== undefined && constantAlong(e, x, inner, n);
    })
  );
}

function vectorMask(e: Emitter, v: Value, l: Layout, reg: Reg, n: number): VectorMask | undefined {
  if (constantAlong(e, v, l, n)) return { conditions: [e.get(v, l, reg)], counts: [] };
  const op = e.a.def(v);
  if (!op || e.a.kind(v) === "regs") return undefined;
  if (op.op === "broadcast" || op.op === "reshape" || op.op === "transpose" || op.op === "slice") {
    const inner = viewLayout(op, l);
    return inner && vectorMask(e, op.args[0], inner, reg, n);
  }
  if (op.op === "and") {
    const [a, b] = op.args.map((x) => vectorMask(e, x, l, reg, n));
    return a && b && { conditions: [...a.conditions, ...b.conditions], counts: [...a.counts, ...b.counts] };
  }
  const axis = vectorAxis(l, n);
  if (typeof axis !== "number" || !["lt", "le", "gt", "ge"].includes(op.op) || op.args[0].type.dtype === "f32") return undefined;
  const [low, high] = op.op === "lt" || op.op === "le" ? op.args : [op.args[1], op.args[0]];
  if (low.type.dtype !== "i32" || e.a.stepsOf(low)[axis] !== 1 || !constantAlong(e, high, l, n)) return undefined;
  const more = op.op === "le" || op.op === "ge" ? " + 1" : "";
  return { conditions: [], counts: [`${operand(e.get(high, l, reg), "-", true)} - ${operand(e.get(low, l, reg), "-", false)}${more}`] };
}

/** Conditions under which the vector at `reg` lies inside of the tile, where a layout covers more than that. */
const insideTile = (e: Emitter, l: Layout, shape: readonly number[], reg: Reg): string => e.inside(l, shape, reg);

export function load(e: Emitter, op: Op): void {
  const [offset, mask, other] = op.args;
  const [v] = op.results;
  const { dtype, shape } = v.type;
  const name = nameOfParam(e, op);
  const fallback = `${name}_value`;
  if (e.a.kind(v) === "unit") {
    const x = fromMemory(dtype, `${name}[${bare(e.unit(offset))}]`);
    const text = mask ? `${e.unit(mask)} ? ${x} : ${other ? e.unit(other) : literal(dtype, zero(dtype))}` : x;
    const out = e.nameOf(v, fallback);
    e.emit([e.effect(op, "read", undefined)], () => e.line(`const ${mslType(dtype)} ${out} = ${text};`));
    return e.setUnit(v, out);
  }
  const l = e.layouts.of(v);
  const out = e.declare(v, l, fallback);
  const n = vectorize(e, op, l);
  e.emit([e.effect(op, "read", l)], () =>
    e.each(out.count, n, (r) => {
      const at = e.get(offset, l, r);
      const inside = insideTile(e, l, shape, r);
      const rest = other ? e.get(other, l, r) : literal(dtype, zero(dtype));
      if (n > 1) {
        const m = mask && vectorMask(e, mask, l, r, n)!;
        const valid = validText(m, inside, n);
        const to = out.count === n ? out.name : `${out.name} + ${r}`;
        e.line(
          `${e.helper(`load_${mslType(dtype)}${n}`)}(${to}, ${name} + ${operand(at, "+", false)}${valid ? `, ${valid}, ${rest}` : ""});`,
        );
      } else {
        const on = conditions(inside, mask ? e.get(mask, l, r) : "");
        const x = fromMemory(dtype, `${name}[${bare(at)}]`);
        e.line(`${e.element(out, l, r)} = ${on ? `${on} ? ${x} : ${rest}` : x};`);
      }
    }),
  );
}

/** How many elements of a vector are on, as an int expression; "" for all. */
function validText(m: VectorMask | undefined, inside: string, n: number): string {
  const on = conditions(...(m?.conditions ?? []), inside);
  const counts = m?.counts ?? [];
  if (!on && !counts.length) return "";
  const count = counts.length ? counts.reduce((a, b) => `min(${a}, ${b})`) : String(n);
  return on ? `${on} ? ${count} : 0` : count;
}

const zero = (d: DType): number | bigint | boolean => (d === "bool" ? false : d === "i64" || d === "u64" ? 0n : 0);
const fromMemory = (d: DType, x: string): string => (d === "bool" ? `(${x} != 0)` : x);
const toMemory = (d: DType, x: string): string => (d === "bool" ? `uchar(${x})` : bare(x));

export function store(e: Emitter, op: Op): void {
  const [offset, value, mask] = op.args;
  const { dtype, shape } = value.type;
  const name = nameOfParam(e, op);
  if (elements(shape) === 1) {
    const on = conditions(e.own ? "" : `${e.builtin("thread")} == 0`, mask ? e.unit(mask) : "");
    const text = `${name}[${bare(e.unit(offset))}] = ${toMemory(dtype, e.unit(value))};`;
    return e.emit([e.effect(op, "write", undefined)], () => e.line(on ? `if (${on}) ${text}` : text));
  }
  const l = e.layouts.workLayout(op);
  const stored = e.storedOf(value).find((s) => layoutKey(s.layout) === layoutKey(l));
  const n = stored ? vectorize(e, op, l) : 1;
  e.emit([e.effect(op, "write", l)], () => {
    const body = (): void => e.each(registers(l), n, (r) => storeElements(e, op, l, r, n, stored));
    const who = speaker(e, l);
    if (who) e.nested(`if (${who})`, body);
    else body();
  });

  function storeElements(em: Emitter, o: Op, layout: Layout, r: Reg, count: number, from: Stored | undefined): void {
    const at = em.get(offset, layout, r);
    const inside = insideTile(em, layout, shape, r);
    if (count > 1) {
      const m = mask && vectorMask(em, mask, layout, r, count)!;
      const valid = validText(m, inside, count);
      const what = from!.count === count ? from!.name : `${from!.name} + ${r}`;
      em.line(
        `${em.helper(`store_${mslType(dtype)}${count}`)}(${name} + ${operand(at, "+", false)}, ${what}${valid ? `, ${valid}` : ""});`,
      );
      return;
    }
    const on = conditions(inside, mask ? em.get(mask, layout, r) : "");
    const text = `${name}[${bare(at)}] = ${toMemory(o.args[1].type.dtype, em.get(value, layout, r))};`;
    em.line(on ? `if (${on}) ${text}` : text);
  }
}

const FETCH: Readonly<Record<string, string>> = {
  add: "fetch_add",
  min: "fetch_min",
  max: "fetch_max",
  and: "fetch_and",
  or: "fetch_or",
  xor: "fetch_xor",
  xchg: "exchange",
};

export function atomic(e: Emitter, op: Op): void {
  const { kind, masked } = op.attrs as { kind: string; masked?: boolean };
  const [v] = op.results;
  const { dtype, shape } = v.type;
  const p = e.ir.params[op.attrs.param as number];
  if (dtype === "i64" || dtype === "u64") {
    throw e.error(`Metal has no ${kind} on ${dtype} in memory that threads share`, op, "Use i32, u32 or f32, or two 32-bit counters.");
  }
  const space = p.kind === "shared" ? "threadgroup" : "device";
  const operands = op.args.slice(1, masked ? -1 : undefined);
  const mask = masked ? op.args.at(-1)! : undefined;
  const needed = e.a.usersOf(v).length > 0;
  const call = (at: string, values: readonly string[]): string =>
    atomicText(e, space, kind, dtype, `${nameOfParam(e, op)} + ${operand(at, "+", false)}`, values);
  if (elements(shape) === 1) {
    const on = conditions(e.own ? "" : `${e.builtin("thread")} == 0`, mask ? e.unit(mask) : "");
    const text = call(
      e.unit(op.args[0]),
      operands.map((x) => e.unit(x)),
    );
    const out = e.nameOf(v, "old");
    e.emit([e.effect(op, "atomic", undefined)], () => {
      if (!needed) e.line(on ? `if (${on}) ${text};` : `${text};`);
      else if (!on) e.line(`const ${mslType(dtype)} ${out} = ${text};`);
      else {
        e.line(`${mslType(dtype)} ${out} = ${mslType(dtype)}(0);`);
        e.line(`if (${on}) ${out} = ${text};`);
      }
    });
    if (needed && !e.own) spreadUnit(e, dtype, out);
    return e.setUnit(v, out);
  }
  const l = e.layouts.workLayout(op);
  const out = needed ? e.declare(v, l, "old") : undefined;
  e.emit([e.effect(op, "atomic", l)], () =>
    e.each(registers(l), 1, (r) => {
      const on = conditions(speaker(e, l), e.inside(l, shape, r), mask ? e.get(mask, l, r) : "");
      const text = call(
        e.get(op.args[0], l, r),
        operands.map((x) => e.get(x, l, r)),
      );
      if (!out) e.line(on ? `if (${on}) ${text};` : `${text};`);
      else {
        const to = e.element(out, l, r);
        if (!on) e.line(`${to} = ${text};`);
        else {
          e.line(`${to} = ${mslType(dtype)}(0);`);
          e.line(`if (${on}) ${to} = ${text};`);
        }
      }
    }),
  );
  if (out && !e.own) spreadTile(e, v, out);
}

function atomicText(e: Emitter, space: string, kind: string, d: DType, pointer: string, values: readonly string[]): string {
  const native = d !== "f32" || (kind === "add" && space === "device");
  if (kind !== "cas" && kind !== "xchg" && native) {
    return `atomic_${FETCH[kind]}_explicit((${space} atomic_${mslType(d)} *)(${pointer}), ${values[0]}, memory_order_relaxed)`;
  }
  if (kind === "xchg") {
    const value = d === "u32" ? values[0] : `as_type<uint>(${values[0]})`;
    const text = `atomic_exchange_explicit((${space} atomic_uint *)(${pointer}), ${value}, memory_order_relaxed)`;
    return d === "u32" ? text : `as_type<${mslType(d)}>(${text})`;
  }
  return `${e.helper(`atomic_${space}_${kind}_${d}`)}(${pointer}, ${values.join(", ")})`;
}

/** The old value that one thread got, for all of them. */
function spreadUnit(e: Emitter, dtype: DType, name: string): void {
  if (e.threads.groupBits === 0) return e.line(`${name} = ${shuffled(dtype, name, "0")};`);
  const s = e.scratch(`${name}_all`, dtype, 1);
  e.emit([{ memory: s, kind: "write" }], () => e.line(`if (${e.builtin("thread")} == 0) ${s.name}[0] = ${toScratch(dtype, name)};`));
  e.emit([{ memory: s, kind: "read" }], () => e.line(`${name} = ${fromScratch(dtype, `${s.name}[0]`)};`));
}

/** The old values that those threads got that speak for others, for the others. */
function spreadTile(e: Emitter, v: Value, out: Stored): void {
  const l = out.layout;
  const { lane, group } = replicas(l);
  const groups = group & (e.groupCount - 1);
  if (lane) {
    e.emit([], () =>
      e.each(out.count, 1, (r) => {
        const x = e.element(out, l, r);
        e.line(`${x} = ${shuffled(v.type.dtype, x, `(${e.builtin("lane")} & ${31 & ~lane})`)};`);
      }),
    );
  }
  if (!groups) return;
  const sizes = v.type.shape.map((_, axis) => coveredSize(l, axis));
  const s = e.scratch(`${out.name}_all`, v.type.dtype, elements(sizes));
  const at = (r: Reg): string =>
    sum([
      linear(
        sizes.map((_, axis) => e.coordinate(l, axis, r)),
        sizes,
      ),
    ]);
  e.emit([{ memory: s, kind: "write" }], () =>
    e.nested(`if (${speaker(e, l)})`, () => e.each(out.count, 1, (r) => e.line(`${s.name}[${at(r)}] = ${e.element(out, l, r)};`))),
  );
  e.emit([{ memory: s, kind: "read" }], () => e.each(out.count, 1, (r) => e.line(`${e.element(out, l, r)} = ${s.name}[${at(r)}];`)));
}
