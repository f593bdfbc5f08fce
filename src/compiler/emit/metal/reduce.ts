/** Reductions: over a thread's registers, then between lanes, then between simdgroups through threadgroup memory. Every thread gets the result. */
import type { DType, Op, Value } from "../../ir/types.ts";
import { elements, isFloat } from "../../ir/types.ts";
import { bare, literal, mslType } from "./expressions.ts";
import { fromScratch, shuffled, speaker, toScratch } from "./convert.ts";
import type { Emitter, Reg, Stored } from "./emitter.ts";
import { linear } from "./emitter.ts";
import type { Bit, Layout } from "./layout.ts";
import { axisOf, bit, coveredSize, dropAxis, NONE, registers, runs, runsText } from "./layout.ts";

const LOWEST: Partial<Record<DType, bigint | number>> = { i32: -2147483648, u32: 0, i64: -(2n ** 63n), u64: 0n, f32: -Infinity };
const HIGHEST: Partial<Record<DType, bigint | number>> = {
  i32: 2147483647,
  u32: 4294967295,
  i64: 2n ** 63n - 1n,
  u64: 2n ** 64n - 1n,
  f32: Infinity,
};

/**
 * What a reduction or scan of this kind starts from. For maxima and minima of floats NaN: any number is preferred to it, and what holds nothing
 * but NaN gives NaN.
 */
export function neutral(kind: string, d: DType): string {
  const wide = d === "i64" || d === "u64";
  switch (kind) {
    case "sum":
      return literal(d, wide ? 0n : 0);
    case "prod":
      return literal(d, wide ? 1n : 1);
    case "max":
    case "argmax":
      return isFloat(d) ? "NAN" : literal(d, LOWEST[d]!);
    case "min":
    case "argmin":
      return isFloat(d) ? "NAN" : literal(d, HIGHEST[d]!);
    default:
      return kind === "all" ? "true" : "false";
  }
}

/** What an exclusive scan gives where nothing comes before. */
export function identity(kind: string, d: DType): number | bigint {
  if (kind === "max") return LOWEST[d]!;
  if (kind === "min") return HIGHEST[d]!;
  const n = kind === "sum" ? 0 : 1;
  return d === "i64" || d === "u64" ? BigInt(n) : n;
}

/** a and b combined. Maxima and minima prefer numbers to NaN; integers wrap. */
export function combine(kind: string, d: DType, a: string, b: string): string {
  const unsigned = d === "i32" ? "uint" : d === "i64" ? "ulong" : undefined;
  switch (kind) {
    case "sum":
    case "prod": {
      const sign = kind === "sum" ? "+" : "*";
      return unsigned ? `${mslType(d)}(${unsigned}(${a}) ${sign} ${unsigned}(${b}))` : `${a} ${sign} ${b}`;
    }
    case "any":
      return `${a} || ${b}`;
    case "all":
      return `${a} && ${b}`;
    default:
      return `${isFloat(d) ? "f" : ""}${kind}(${a}, ${b})`;
  }
}

/** True if (value b, index j) comes before (a, i) in an argmax or argmin: numbers before NaN, equal ones by index. */
function better(kind: string, d: DType, a: string, i: string, b: string, j: string): string {
  const sign = kind === "argmax" ? ">" : "<";
  if (!isFloat(d)) return `${b} ${sign} ${a} || (${b} == ${a} && ${j} < ${i})`;
  return `${b} ${sign} ${a} || (isnan(${a}) && !isnan(${b})) || ((${b} == ${a} || (isnan(${a}) && isnan(${b}))) && ${j} < ${i})`;
}

export function reduce(e: Emitter, op: Op): void {
  const [x] = op.args;
  const [v] = op.results;
  const kind = op.attrs.kind as string;
  const axis = op.attrs.axis as number;
  const arg = kind.startsWith("arg");
  if (e.a.kind(x) === "unit") return e.a.kind(v) === "unit" ? e.setUnit(v, arg ? "0" : e.unit(x)) : undefined;
  const source = e.layouts.sourceLayout(x);
  const layout = dropAxis(source, axis);
  const { dtype } = x.type;
  const T = mslType(dtype);
  const unit = e.a.kind(v) === "unit";
  const count = registers(layout);
  const name = e.nameOf(v, kind);
  const out: Stored = { layout, name, count };
  const size = count > 1 ? `[${count}]` : "";
  // Of an arg* the best values are needed along the way too.
  const best: Stored = arg ? { layout, name: e.names.make(`${name}_value`), count } : out;
  e.comment(op.loc);
  if (arg) e.before(`${T} ${best.name}${size};`);
  e.before(`${mslType(v.type.dtype)} ${name}${size};`);
  e.emit([], () =>
    e.each(
      count,
      1,
      (q) => {
        inThread(e, op, x, source, q, count, e.element(best, layout, q), e.element(out, layout, q));
        betweenLanes(e, kind, dtype, source, axis, e.element(best, layout, q), arg ? e.element(out, layout, q) : undefined);
      },
      "q",
    ),
  );
  if (!e.own) betweenGroups(e, kind, v, dtype, source, axis, best, arg ? out : undefined);
  if (unit) e.setUnit(v, name);
  else e.addStored(v, out);
}

/** Register bits on the axis, and the others: which registers a result comes from. */
function splitRegisters(l: Layout, axis: number): { inner: Bit[]; outer: Bit[] } {
  const inner: Bit[] = l.regs.map(() => NONE);
  const outer: Bit[] = l.regs.map(() => NONE);
  let [i, o] = [0, 0];
  l.regs.forEach((b, n) => {
    if (axisOf(b) === axis) inner[i++] = bit(0, n);
    else outer[o++] = bit(0, n);
  });
  return { inner: inner.slice(0, i), outer: outer.slice(0, o) };
}

/** Register number of the k-th element that goes into the q-th result, as text. */
export function registerText(l: Layout, axis: number, q: Reg, k: Reg): Reg {
  const { inner, outer } = splitRegisters(l, axis);
  const part = (bits: Bit[], n: Reg): [number, string] =>
    typeof n === "number" ? [bits.reduce((sum, b, i) => sum + ((n >> i) & 1) * 2 ** (b & 31), 0), ""] : [0, runsText(runs(bits, 0), n)];
  const [a, b] = [part(outer, q), part(inner, k)];
  const text = [a[1], b[1]].filter(Boolean).join(" + ");
  const constant = a[0] + b[0];
  return text === "" ? constant : constant ? `${text} + ${constant}` : text;
}

function inThread(e: Emitter, op: Op, x: Value, l: Layout, q: Reg, results: number, value: string, index: string): void {
  const { dtype, shape } = x.type;
  const kind = op.attrs.kind as string;
  const axis = op.attrs.axis as number;
  const arg = kind.startsWith("arg");
  const n = registers(l) / results;
  const start = neutral(kind, dtype);
  const covered = coveredSize(l, axis) > shape[axis];
  const element = (r: Reg): string => {
    const text = e.get(x, l, r);
    return covered ? `(${e.coordinate(l, axis, r)} < ${shape[axis]} ? ${text} : ${start})` : text;
  };
  if (n === 1) {
    const r = asVariable(e, registerText(l, axis, q, 0));
    e.line(`${value} = ${bare(element(r))};`);
    if (arg) e.line(`${index} = ${bare(e.coordinate(l, axis, r))};`);
    return;
  }
  e.line(`${value} = ${start};`);
  if (arg) e.line(`${index} = 2147483647;`);
  e.each(
    n,
    1,
    (k) => {
      const r = asVariable(e, registerText(l, axis, q, k));
      if (!arg) return e.line(`${value} = ${combine(kind, dtype, value, element(r))};`);
      const j = e.coordinate(l, axis, r);
      const b = e.names.make("next");
      e.line(`const ${mslType(dtype)} ${b} = ${bare(element(r))};`);
      e.nested(`if (${better(kind, dtype, value, index, b, j)})`, () => {
        e.line(`${value} = ${b};`);
        e.line(`${index} = ${bare(j)};`);
      });
    },
    "k",
  );
}

/** A register number that is more than a name becomes a variable, so that what reads it stays short. */
export function asVariable(e: Emitter, r: Reg): Reg {
  if (typeof r === "number" || /^\w+$/.test(r)) return r;
  const name = e.names.make("r");
  e.line(`const int ${name} = ${r};`);
  return name;
}

/** What a whole simdgroup reduces at once. Float maxima go by shuffles, which keep the rule for NaN. */
function whole(kind: string, d: DType, x: string): string | undefined {
  const simple = d === "i32" || d === "u32" || d === "f32";
  if (kind === "sum" && simple) return `simd_sum(${x})`;
  if ((kind === "max" || kind === "min") && simple && d !== "f32") return `simd_${kind}(${x})`;
  if (kind === "any" || kind === "all") return `simd_${kind}(${x})`;
  return undefined;
}

function betweenLanes(e: Emitter, kind: string, d: DType, l: Layout, axis: number, value: string, index: string | undefined): void {
  const lanes = l.lanes.flatMap((b, i) => (b !== NONE && axisOf(b) === axis ? [1 << i] : []));
  if (lanes.length === 5) {
    const text = whole(kind, d, value);
    if (text) return e.line(`${value} = ${text};`);
  }
  for (const mask of lanes) {
    if (index === undefined) {
      e.line(`${value} = ${combine(kind, d, value, shuffled(d, value, String(mask), "_xor"))};`);
      continue;
    }
    const [b, j] = [e.names.make("next"), e.names.make("next_at")];
    e.line(`const ${mslType(d)} ${b} = ${shuffled(d, value, String(mask), "_xor")};`);
    e.line(`const int ${j} = ${shuffled("i32", index, String(mask), "_xor")};`);
    take(e, kind, d, value, index, b, j);
  }
}

function take(e: Emitter, kind: string, d: DType, value: string, index: string, b: string, j: string): void {
  e.nested(`if (${better(kind, d, value, index, b, j)})`, () => {
    e.line(`${value} = ${b};`);
    e.line(`${index} = ${j};`);
  });
}

function betweenGroups(
  e: Emitter,
  kind: string,
  v: Value,
  d: DType,
  source: Layout,
  axis: number,
  best: Stored,
  at: Stored | undefined,
): void {
  const bits = source.groups.flatMap((b, i) => (b !== NONE && axisOf(b) === axis ? [i] : []));
  if (!bits.length) return;
  const l = best.layout;
  const groups = 2 ** bits.length;
  const sizes = v.type.shape.map((_, i) => coveredSize(l, i));
  const values = e.scratch(`${best.name}_parts`, d, elements(sizes) * groups);
  const indices = at && e.scratch(`${best.name}_at`, "i32", elements(sizes) * groups);
  const place = (r: Reg): string => {
    const p = linear(
      sizes.map((_, i) => e.coordinate(l, i, r)),
      sizes,
    );
    return p === "0" ? "" : `${p} * ${groups} + `;
  };
  // Which of the parts this simdgroup has: its bits on the axis.
  const moved = source.groups.map(() => NONE);
  bits.forEach((b, i) => (moved[b] = bit(0, i)));
  const mine = runsText(runs(moved, 0), e.builtin("simdgroup"));
  const laneOnly = speaker(e, { ...l, groups: l.groups.map((b, i) => (bits.includes(i) ? bit(0, i) : b)) });
  e.emit([{ memory: values, kind: "write" }, ...(indices ? [{ memory: indices, kind: "write" as const }] : [])], () => {
    const body = (): void =>
      e.each(
        best.count,
        1,
        (q) => {
          e.line(`${values.name}[${place(q)}${mine}] = ${toScratch(d, e.element(best, l, q))};`);
          if (indices) e.line(`${indices.name}[${place(q)}${mine}] = ${e.element(at!, l, q)};`);
        },
        "q",
      );
    if (laneOnly) e.nested(`if (${laneOnly})`, body);
    else body();
  });
  e.emit([{ memory: values, kind: "read" }, ...(indices ? [{ memory: indices, kind: "read" as const }] : [])], () =>
    e.each(
      best.count,
      1,
      (q) => {
        const value = e.element(best, l, q);
        const read = (g: Reg): string => fromScratch(d, `${values.name}[${place(q)}${g}]`);
        e.line(`${value} = ${read(0)};`);
        if (indices) e.line(`${e.element(at!, l, q)} = ${indices.name}[${place(q)}0];`);
        for (let g = 1; g < groups; g++) {
          if (!indices) e.line(`${value} = ${combine(kind, d, value, read(g))};`);
          else take(e, kind, d, value, e.element(at!, l, q), read(g), `${indices.name}[${place(q)}${g}]`);
        }
      },
      "q",
    ),
  );
}
