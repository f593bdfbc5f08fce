/**
 * How a tile value is held in C. Broadcasts and index arithmetic stay symbolic; data lives in named locals (one per vector) or, when it
 * is large, in a local array. `eff` is the shape with every axis along which the value does not vary reduced to 1: only that much is stored.
 */
import type { DType, Value } from "../../ir/types.ts";

/** Index on one axis: compile-time, or a C expression. */
export type Ix = number | string;

/** A 64-bit integer known as constant plus C expression ("" for none). */
export interface Lin {
  c: number;
  s: string;
}

/** A part of an offset that varies over some axes (not the last) in a way known only at run time, e.g. a row number loaded from a table. */
export interface Opaque {
  at: (idx: readonly Ix[]) => string;
  /** Axes over which it varies. */
  varies: readonly boolean[];
  scale: Lin;
}

export type Rep =
  | { kind: "uniform"; expr: string; wide?: Lin }
  | { kind: "affine"; base: Lin; coef: readonly Lin[]; opaque: readonly Opaque[]; eff: readonly number[] }
  | { kind: "regs"; eff: readonly number[]; chunks: readonly Chunk[]; names: ReadonlyMap<string, string>; array?: string }
  | { kind: "array"; eff: readonly number[]; name: string }
  | View;

export interface View {
  kind: "view";
  eff: readonly number[];
  get: (idx: readonly Ix[], w: number) => string;
  /** For masks: number of leading lanes that are on (int64 expression, may be outside [0, w]). */
  valid?: (idx: readonly Ix[], w: number) => string;
}

/** One vector of a tile: position (last entry: first column) and lanes. */
export interface Chunk {
  idx: readonly number[];
  w: number;
}

export const lin = (c: number, s = ""): Lin => ({ c, s });
export const isConstLin = (a: Lin): boolean => a.s === "";
export const isZero = (a: Lin): boolean => a.s === "" && a.c === 0;

export function linText(a: Lin): string {
  if (!a.s) return literal64(a.c);
  if (a.c === 0) return a.s;
  return `(${a.s} ${a.c < 0 ? "-" : "+"} ${literal64(Math.abs(a.c))})`;
}

const literal64 = (n: number): string => (Number.isSafeInteger(n) && Math.abs(n) < 2 ** 31 ? String(n) : `${n}ll`);

export function addLin(a: Lin, b: Lin): Lin {
  const c = a.c + b.c;
  if (!Number.isSafeInteger(c)) return lin(0, `(${linText(a)} + ${linText(b)})`);
  return { c, s: a.s && b.s ? `(${a.s} + ${b.s})` : a.s || b.s };
}

/** Constants are folded while they are exact; larger products are left to C, which wraps. */
export function mulLin(a: Lin, b: Lin): Lin {
  if (isZero(a) || isZero(b)) return lin(0);
  if (isConstLin(a) && !isConstLin(b)) return mulLin(b, a);
  if (isConstLin(b) && Number.isSafeInteger(a.c * b.c)) {
    if (isConstLin(a)) return lin(a.c * b.c);
    return b.c === 1 ? a : { c: a.c * b.c, s: b.c === -1 ? `(-${a.s})` : `(${a.s} * ${literal64(b.c)})` };
  }
  return lin(0, `((int64_t)${linText(a)} * ${linText(b)})`);
}

export const negLin = (a: Lin): Lin => mulLin(a, lin(-1));

export function ixLin(i: Ix): Lin {
  return typeof i === "number" ? lin(i) : lin(0, `(int64_t)${i}`);
}

/** C type of a value in registers: half floats travel as their bits, a mask as ints. */
export function storedType(d: DType): string {
  if (d === "f16" || d === "bf16") return "u16";
  if (d === "bool") return "i32";
  return d;
}

export const vectorType = (d: DType, w: number): string => `${storedType(d)}x${w}`;

/** C type of one element in memory. */
export function memoryType(d: DType): string {
  return d === "bool" ? "u8" : storedType(d);
}

export const effOf = (rep: Rep, shape: readonly number[]): readonly number[] => (rep.kind === "uniform" ? shape.map(() => 1) : rep.eff);

export const key = (idx: readonly Ix[]): string => idx.join(",");

/** Row-major chunks of `eff`, the last axis cut into vectors of at most `width`, powers of two. */
export function chunksOf(eff: readonly number[], width: number): Chunk[] {
  if (eff.length === 0) return [{ idx: [], w: 1 }];
  const out: Chunk[] = [];
  const outer = eff.slice(0, -1);
  const index = outer.map(() => 0);
  const rows = outer.reduce((a, b) => a * b, 1);
  const cols = columns(eff[eff.length - 1], width);
  for (let r = 0; r < rows; r++) {
    for (const { at, w } of cols) out.push({ idx: [...index, at], w });
    for (let a = index.length - 1; a >= 0; a--) {
      if (++index[a] < outer[a]) break;
      index[a] = 0;
    }
  }
  return out;
}

export function columns(n: number, width: number): { at: number; w: number }[] {
  const out: { at: number; w: number }[] = [];
  for (let at = 0; at < n;) {
    let w = width;
    while (w > n - at) w >>= 1;
    out.push({ at, w });
    at += w;
  }
  return out;
}

export const countChunks = (eff: readonly number[], width: number): number =>
  eff.slice(0, -1).reduce((a, b) => a * b, 1) * (eff.length ? columns(eff[eff.length - 1], width).length : 1);

/** A value's name in C: the user's where there is one. */
export const cName = (v: Value, fallback = "v"): string => `${baseName(v.name ?? fallback)}_${v.id}`;

/** Any name as the start of a C identifier. */
export const baseName = (name: string): string => name.replace(/\W/g, "_").replace(/^(?=\d)/, "v");
