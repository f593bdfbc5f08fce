/** Moving values between threads: other layouts, views that are no relabelling, single elements. */
import type { DType, Op, Value } from "../../ir/types.ts";
import { elements } from "../../ir/types.ts";
import { bare, mslType } from "./expressions.ts";
import type { Emitter, Reg, Stored } from "./emitter.ts";
import { linear, sum } from "./emitter.ts";
import type { Layout } from "./layout.ts";
import { NONE, bit, placeOf, registers, replicas, runs, runsText, satisfies, shufflable } from "./layout.ts";
import type { Scratch } from "./text.ts";

/** Makes every layout in which `v` is asked for, its class's included, from the one that it was computed in. */
export function ensureLayouts(e: Emitter, v: Value): void {
  for (const l of [e.layouts.of(v), ...e.layouts.more(v)]) {
    if (e.storedOf(v).some((s) => satisfies(s.layout, l))) continue;
    const from = e.storedOf(v).find((s) => shufflable(s.layout, l));
    if (from) shuffle(e, v, from, l);
    else throughMemory(e, v, e.storedOf(v)[0], l);
  }
}

/** An expression that has the value `x` of another lane. `mode`: "" with a lane, `_xor` with a mask, `_up`/`_down` with a distance. */
export function shuffled(dtype: DType, x: string, by: string, mode = ""): string {
  const f = `simd_shuffle${mode}`;
  switch (dtype) {
    case "bool":
      return `(${f}(${x} ? 1u : 0u, ushort(${by})) != 0u)`;
    case "bf16":
      return `as_type<bfloat>(${f}(as_type<ushort>(${x}), ushort(${by})))`;
    case "i64":
    case "u64":
      return `as_type<${mslType(dtype)}>(${f}(as_type<uint2>(${x}), ushort(${by})))`;
    default:
      return `${f}(${x}, ushort(${by}))`;
  }
}

function shuffle(e: Emitter, v: Value, from: Stored, to: Layout): void {
  const out = e.storage(v, to);
  e.emit([], () =>
    e.each(out.count, 1, (r) => {
      e.line(`${e.element(out, to, r)} = ${shuffled(v.type.dtype, e.element(from, to, r), sourceLane(e, from.layout, to, r))};`);
    }),
  );
  e.addStored(v, out);
}

/** Lane that holds in `from` what this thread wants in register `reg` of `to`. */
function sourceLane(e: Emitter, from: Layout, to: Layout, reg: Reg): string {
  const byLane = to.lanes.map(() => NONE);
  const byReg = to.regs.map(() => NONE);
  let constant = 0;
  from.lanes.forEach((b, j) => {
    if (b === NONE) return;
    const place = placeOf(to, b);
    if (place?.at === "lane") byLane[place.n] = bit(0, j);
    else if (place?.at === "reg") byReg[place.n] = bit(0, j);
    else if (to.fixed?.includes(b)) constant += 2 ** j;
  });
  const lane = runs(byLane, 0);
  const regRuns = runs(byReg, 0);
  let regText = "";
  if (typeof reg === "number") for (const r of regRuns) constant += ((reg >> r.from) & (2 ** r.count - 1)) * 2 ** r.to;
  else regText = runsText(regRuns, reg);
  return sum([lane.length ? runsText(lane, e.builtin("lane")) : "", regText, String(constant)]);
}

/** Condition under which this thread is the one of those that hold the same elements which speaks for them; "" when there is only one. */
export function speaker(e: Emitter, l: Layout): string {
  if (e.own) return "";
  const { lane, group } = replicas(l);
  const all = e.groupCount - 1;
  const parts: string[] = [];
  if (lane) parts.push(lane === 31 ? `${e.builtin("lane")} == 0` : `(${e.builtin("lane")} & ${lane}) == 0`);
  if (group && all) parts.push(group === all ? `${e.builtin("simdgroup")} == 0` : `(${e.builtin("simdgroup")} & ${group}) == 0`);
  return parts.join(" && ");
}

export const conditions = (...parts: readonly string[]): string => parts.filter(Boolean).join(" && ");

/** Text of an element for scratch memory, where a bool is a byte. */
export const toScratch = (d: DType, x: string): string => (d === "bool" ? `uchar(${x})` : x);
export const fromScratch = (d: DType, x: string): string => (d === "bool" ? `(${x} != 0)` : x);

/** Writes a tile to scratch memory, row-major with the given strides. */
export function writeScratch(e: Emitter, v: Value, l: Layout, s: Scratch, strides: readonly number[], offset = ""): void {
  const { dtype, shape } = v.type;
  e.emit([{ memory: s, kind: "write" }], () => {
    const body = (): void =>
      e.each(registers(l), 1, (r) => {
        const at = sum([
          offset,
          linear(
            shape.map((_, axis) => e.coordinate(l, axis, r)),
            shape,
            strides,
          ),
        ]);
        const text = `${s.name}[${bare(at)}] = ${toScratch(dtype, e.get(v, l, r))};`;
        const inside = e.inside(l, shape, r);
        e.line(inside ? `if (${inside}) ${text}` : text);
      });
    const who = speaker(e, l);
    if (who) e.nested(`if (${who})`, body);
    else body();
  });
}

function throughMemory(e: Emitter, v: Value, from: Stored, to: Layout): void {
  const { shape, dtype } = v.type;
  const s = e.scratch(`${from.name}_moved`, dtype, elements(shape));
  writeScratch(e, v, from.layout, s, rowMajorStrides(shape));
  const out = e.storage(v, to);
  readScratch(e, v, s, out, (position) => linear(position, shape));
  e.addStored(v, out);
}

const rowMajorStrides = (shape: readonly number[]): number[] => shape.map((_, i) => elements(shape.slice(i + 1)));

function readScratch(e: Emitter, v: Value, s: Scratch, out: Stored, index: (position: readonly string[]) => string): void {
  const { shape, dtype } = v.type;
  e.emit([{ memory: s, kind: "read" }], () =>
    e.each(out.count, 1, (r) => {
      const position = shape.map((_, axis) => e.coordinate(out.layout, axis, r));
      const inside = e.inside(out.layout, shape, r);
      const x = fromScratch(dtype, `${s.name}[${bare(index(position))}]`);
      e.line(`${e.element(out, out.layout, r)} = ${inside ? `${inside} ? ${x} : ${mslType(dtype)}(0)` : x};`);
    }),
  );
}

/** A view whose elements cannot be read in place, and cat: operands go to scratch memory, the result is read from there. */
export function moveView(e: Emitter, op: Op): void {
  const [v] = op.results;
  const { shape, dtype } = v.type;
  const total = op.args.reduce((n, x) => n + elements(x.type.shape), 0);
  if (e.own) return moveOwn(e, op);
  const s = e.scratch(`${op.op}_moved`, dtype, total);
  let base = 0;
  for (const x of op.args) {
    const own = x.type.shape;
    if (op.op === "cat") {
      // Rows of the two operands lie side by side.
      const row = shape.at(-1)!;
      const strides = rowMajorStrides([...own.slice(0, -1), row]);
      writeAny(e, x, s, strides, base ? String(base) : "");
      base += own.at(-1)!;
    } else writeAny(e, x, s, rowMajorStrides(own), "");
  }
  const from = op.args[0].type.shape;
  const out = e.declare(v, e.layouts.of(v));
  readScratch(e, v, s, out, (p) => {
    switch (op.op) {
      case "slice":
        return linear(
          p.map((x, i) => (i === op.attrs.axis ? sum([x, String(op.attrs.start as number)]) : x)),
          from,
        );
      default:
        return linear(p, shape);
    }
  });
}

/** Writes any tile operand, one that a unit stands for too. */
function writeAny(e: Emitter, x: Value, s: Scratch, strides: readonly number[], offset: string): void {
  if (e.a.kind(x) !== "unit") return writeScratch(e, x, e.layouts.sourceLayout(x), s, strides, offset);
  e.emit([{ memory: s, kind: "write" }], () =>
    e.line(`if (${e.builtin("thread")} == 0) ${s.name}[${offset || "0"}] = ${toScratch(x.type.dtype, e.unit(x))};`),
  );
}

/** The same for tiles that belong to one thread: positions are known, so it is a list of moves. */
function moveOwn(e: Emitter, op: Op): void {
  const [v] = op.results;
  const { shape } = v.type;
  const out = e.declare(v, e.layouts.of(v));
  e.emit([], () => {
    for (let n = 0; n < elements(shape); n++) {
      const position = unravel(n, shape);
      const [x, from] = sourceOf(op, position);
      const unit = e.a.kind(x) === "unit";
      const l = e.layouts.sourceLayout(x);
      e.line(`${e.element(out, out.layout, registerAt(out.layout, position))} = ${unit ? e.unit(x) : e.get(x, l, registerAt(l, from))};`);
    }
  });
}

export const unravel = (n: number, shape: readonly number[]): number[] =>
  rowMajorStrides(shape).map((s, i) => Math.floor(n / s) % shape[i]);

/** Register of a layout without lanes that holds a position. */
export const registerAt = (l: Layout, position: readonly number[]): number =>
  l.regs.reduce((r, b, i) => r + (((position[b >> 5] >> (b & 31)) & 1) << i), 0);

function sourceOf(op: Op, position: readonly number[]): [Value, number[]] {
  const [x] = op.args;
  const { shape } = op.results[0].type;
  if (op.op === "cat") {
    const first = x.type.shape.at(-1)!;
    const at = position.at(-1)!;
    return at < first ? [x, [...position]] : [op.args[1], [...position.slice(0, -1), at - first]];
  }
  if (op.op === "slice") return [x, position.map((p, i) => (i === op.attrs.axis ? p + (op.attrs.start as number) : p))];
  const n = position.reduce((sum, p, i) => sum + p * rowMajorStrides(shape)[i], 0);
  return [x, unravel(n, x.type.shape)];
}

/** One element of a tile for every thread. */
export function extractElement(e: Emitter, op: Op): void {
  const [x] = op.args;
  const [v] = op.results;
  const { dtype } = v.type;
  const at = op.op === "extract" ? (op.attrs.index as readonly number[]) : unravel(op.op === "slice" ? sliceStart(op) : 0, x.type.shape);
  const l = e.layouts.sourceLayout(x);
  const holds = (bits: readonly number[]): number =>
    bits.reduce((n, b, i) => n + (b !== NONE && (at[b >> 5] >> (b & 31)) & 1 ? 2 ** i : 0), 0);
  const element = e.get(x, l, holds(l.regs));
  const name = e.nameOf(v);
  e.comment(op.loc);
  if (l.groups.every((b) => b === NONE)) {
    const anywhere = l.lanes.every((b) => b === NONE);
    e.line(`const ${mslType(dtype)} ${name} = ${anywhere ? element : shuffled(dtype, element, String(holds(l.lanes)))};`);
  } else {
    const s = e.scratch(`${name}_moved`, dtype, 1);
    const thread = holds(l.groups) * 32 + holds(l.lanes);
    e.emit([{ memory: s, kind: "write" }], () =>
      e.line(`if (${e.builtin("thread")} == ${thread}) ${s.name}[0] = ${toScratch(dtype, element)};`),
    );
    e.emit([{ memory: s, kind: "read" }], () => e.line(`const ${mslType(dtype)} ${name} = ${fromScratch(dtype, `${s.name}[0]`)};`));
  }
  e.setUnit(v, name);
}

const sliceStart = (op: Op): number => {
  const strides = rowMajorStrides(op.args[0].type.shape);
  return strides[op.attrs.axis as number] * (op.attrs.start as number);
};
