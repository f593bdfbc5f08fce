/** Ops that only rearrange: nothing is computed, reads of the result become reads of the operand. */
import type { Op, Value } from "../../ir/types.ts";
import { elements } from "../../ir/types.ts";
import type { Emitter } from "./emitter.ts";
import { arrayIndex } from "./emitter.ts";
import type { Ix, Opaque, Rep } from "./values.ts";
import { addLin, chunksOf, key, lin, linText, mulLin, vectorType } from "./values.ts";

type MapIndex = (idx: readonly Ix[]) => Ix[];

/** Same lanes at a mapped position; `axes[i]` is the source axis of result axis i, -1 for a new one. */
function axisView(e: Emitter, op: Op, axes: readonly number[], start?: { axis: number; at: number }): Rep {
  const x = op.args[0];
  const { shape } = op.results[0].type;
  const rank = x.type.shape.length;
  const map: MapIndex = (idx) => {
    const out: Ix[] = Array.from({ length: rank }, () => 0);
    axes.forEach((a, i) => {
      if (a >= 0) out[a] = x.type.shape[a] === 1 ? 0 : idx[i];
    });
    if (start) out[start.axis] = shiftIndex(out[start.axis], start.at);
    return out;
  };
  const rep = e.rep(x);
  if (rep.kind === "uniform") return rep;
  if (rep.kind === "affine") {
    const base = start ? e.named(addLin(rep.base, mulLin(rep.coef[start.axis], lin(start.at)))) : rep.base;
    // The start is in the base already, so opaque parts map with it and coefficients without.
    const opaque: Opaque[] = rep.opaque.map((o) => ({ ...o, at: (idx) => o.at(map(idx)), varies: axes.map((a) => a >= 0 && o.varies[a]) }));
    const coef = axes.map((a, i) => (a >= 0 && shape[i] > 1 && x.type.shape[a] > 1 ? rep.coef[a] : lin(0)));
    const eff = axes.map((a, i) => (a >= 0 ? Math.min(rep.eff[a] === 1 ? 1 : shape[i], shape[i]) : 1));
    return { kind: "affine", base, coef, opaque, eff };
  }
  const eff = axes.map((a, i) => (a >= 0 && rep.eff[a] > 1 ? shape[i] : 1));
  const lastAxis = axes[axes.length - 1] ?? -1;
  const steady = eff.length === 0 || eff[eff.length - 1] === 1;
  const along = lastAxis === rank - 1;
  const get = (idx: readonly Ix[], w: number): string => {
    if (w === 1) return e.get(x, map(idx), 1);
    if (steady) return e.splat(x.type.dtype, w, e.get(x, map(withLast(idx, 0)), 1));
    if (along) return e.get(x, map(idx), w);
    return fromLanes(e, x, w, (i) => map(withLast(idx, shiftIndex(idx[idx.length - 1], i))));
  };
  const valid =
    rep.kind === "view" && rep.valid && (along || steady) ? (idx: readonly Ix[], w: number): string => rep.valid!(map(idx), w) : undefined;
  if (valid && steady) return { kind: "view", eff, get, valid: (idx, w) => `(${e.get(x, map(withLast(idx, 0)), 1)} ? ${w} : 0)` };
  return { kind: "view", eff, get, valid };
}

const withLast = (idx: readonly Ix[], last: Ix): Ix[] => (idx.length ? [...idx.slice(0, -1), last] : []);

export function shiftIndex(i: Ix, by: number): Ix {
  if (by === 0) return i;
  return typeof i === "number" ? i + by : `(${i} + ${by})`;
}

/** A vector put together from single elements. */
export function fromLanes(e: Emitter, x: Value, w: number, at: (lane: number) => Ix[]): string {
  const bool = x.type.dtype === "bool";
  const lanes = Array.from({ length: w }, (_, i) => e.get(x, at(i), 1));
  return `(${vectorType(x.type.dtype, w)}){${lanes.map((l) => (bool ? `-(${l})` : l)).join(", ")}}`;
}

export function broadcast(e: Emitter, op: Op): void {
  const grow = op.results[0].type.shape.length - op.args[0].type.shape.length;
  e.set(
    op.results[0],
    axisView(
      e,
      op,
      op.results[0].type.shape.map((_, i) => i - grow),
    ),
  );
}

export function transpose(e: Emitter, op: Op): void {
  if (inRegisters(e, op)) return;
  e.set(op.results[0], axisView(e, op, (op.attrs.axes as readonly number[] | undefined) ?? [1, 0]));
}

/**
 * A tile of 32-bit elements in registers whose sides are multiples of the vector width: square blocks are transposed by shuffles, in place of
 * reads element by element. The result's vectors are then in registers too.
 */
function inRegisters(e: Emitter, op: Op): boolean {
  const [x] = op.args;
  const out = op.results[0];
  const { dtype, shape } = x.type;
  const W = e.isa.width;
  if (W < 4 || shape.length !== 2 || shape.some((n) => n % W !== 0)) return false;
  if (dtype !== "f32" && dtype !== "i32" && dtype !== "u32") return false;
  const rep = e.rep(x);
  if (rep.kind !== "regs" || rep.eff.some((n, i) => n !== shape[i]) || e.analysis.needsArray(out) || e.analysis.scalarised(out))
    return false;
  const T = vectorType(dtype, W);
  const names = new Map<string, string>();
  for (let i = 0; i < shape[0]; i += W)
    for (let j = 0; j < shape[1]; j += W) {
      const rows = transposed(
        Array.from({ length: W }, (_, r) => e.get(x, [i + r, j], W)),
        (a, b, picks) => e.constant(T, `SHUFFLE(i32x${W}, ${a}, ${b}, ${picks.join(", ")})`),
      );
      rows.forEach((name, r) => names.set(key([j + r, i]), name));
    }
  const [R, C] = shape;
  e.set(out, { kind: "regs", eff: [C, R], chunks: chunksOf([C, R], W), names });
  return true;
}

/** W vectors of W lanes as their columns; `shuffle` picks lanes of two vectors. Every step is one instruction where vectors are 128-bit lanes. */
function transposed(rows: readonly string[], shuffle: (a: string, b: string, picks: number[]) => string): string[] {
  const W = rows.length;
  const picks = (f: (lane: number) => number): number[] => Array.from({ length: W }, (_, c) => f(c));
  const each4 = (inLane: readonly number[]): number[] => picks((c) => (c & ~3) + (inLane[c & 3] & 3) + (inLane[c & 3] >= 4 ? W : 0));
  // Of every four rows: vector q then has column 4g + q of them in its g-th four lanes.
  const fours: string[][] = [];
  for (let r = 0; r < W; r += 4) {
    const [a, b, c, d] = rows.slice(r, r + 4);
    const [low, high] = [each4([0, 4, 1, 5]), each4([2, 6, 3, 7])];
    const [ab, AB, cd, CD] = [shuffle(a, b, low), shuffle(a, b, high), shuffle(c, d, low), shuffle(c, d, high)];
    const [first, second] = [each4([0, 1, 4, 5]), each4([2, 3, 6, 7])];
    fours.push([shuffle(ab, cd, first), shuffle(ab, cd, second), shuffle(AB, CD, first), shuffle(AB, CD, second)]);
  }
  // Then fours change places: even ones of pairs of vectors come together, and odd ones, until a vector has one g of all.
  const spread = (list: readonly string[]): string[] => {
    if (list.length === 1) return [...list];
    const halves = [0, 1].map((odd) => {
      const pairs: string[] = [];
      for (let i = 0; i < list.length; i += 2)
        pairs.push(
          shuffle(
            list[i],
            list[i + 1],
            picks((c) => (2 * (c >> 2) + odd) * 4 + (c & 3)),
          ),
        );
      return spread(pairs);
    });
    return halves[0].flatMap((v, i) => [v, halves[1][i]]);
  };
  const columns: string[] = [];
  for (let q = 0; q < 4; q++) spread(fours.map((f) => f[q])).forEach((v, g) => (columns[4 * g + q] = v));
  return columns;
}

export function slice(e: Emitter, op: Op): void {
  const { shape } = op.results[0].type;
  const axis = op.attrs.axis as number;
  const rep = e.rep(op.args[0]);
  const steady = rep.kind === "uniform" || rep.eff[axis] === 1;
  e.set(
    op.results[0],
    axisView(
      e,
      op,
      shape.map((_, i) => i),
      steady ? undefined : { axis, at: op.attrs.start as number },
    ),
  );
}

export function reshape(e: Emitter, op: Op): void {
  const x = op.args[0];
  const from = x.type.shape;
  const to = op.results[0].type.shape;
  const rep = e.rep(x);
  if (rep.kind === "uniform") return e.set(op.results[0], rep);
  const real = (s: readonly number[]): number[] => s.map((n, i) => (n > 1 ? i : -1)).filter((i) => i >= 0);
  const [a, b] = [real(from), real(to)];
  if (a.length === b.length && a.every((axis, k) => from[axis] === to[b[k]])) {
    const axes = to.map((n, i) => (n > 1 ? a[b.indexOf(i)] : -1));
    return e.set(op.results[0], axisView(e, op, axes));
  }
  // General case: through the linear position. Rows of the result that lie in one row of the source stay vectors.
  const n = elements(from);
  const source = (position: Ix): Ix[] => {
    const out: Ix[] = [];
    let rest = n;
    for (const size of from) {
      rest /= size;
      out.push(typeof position === "number" ? Math.floor(position / rest) % size : `(${position} / ${rest} % ${size})`);
    }
    return out;
  };
  const cols = to[to.length - 1] ?? 1;
  const fromCols = from[from.length - 1] ?? 1;
  const get = (idx: readonly Ix[], w: number): string => {
    const at = arrayIndex(to, idx);
    const position = (shift: number): Ix => (at.s ? linText(addLin(at, lin(shift))) : at.c + shift);
    const inRow =
      typeof position(0) === "number"
        ? ((position(0) as number) % fromCols) + w <= fromCols
        : fromCols % cols === 0 || (cols % fromCols === 0 && fromCols % e.isa.width === 0);
    if (w === 1 || inRow) return e.get(x, source(position(0)), w);
    return fromLanes(e, x, w, (i) => source(position(i)));
  };
  e.set(op.results[0], { kind: "view", eff: to, get });
}

export function cat(e: Emitter, op: Op): void {
  const [a, b] = op.args;
  const { shape, dtype } = op.results[0].type;
  const last = shape.length - 1;
  const split = a.type.shape[last];
  const get = (idx: readonly Ix[], w: number): string => {
    const col = idx[last];
    if (typeof col === "string") {
      // Run-time position: choose element by element; the index is brought into range on the side that is not taken.
      const lane = (i: number): string => {
        const c = shiftIndex(col, i);
        const left = e.get(a, withLast(idx, `MINI(${c}, ${split - 1})`), 1);
        const right = e.get(b, withLast(idx, `(${c} < ${split} ? 0 : ${c} - ${split})`), 1);
        return `(${c} < ${split} ? ${left} : ${right})`;
      };
      if (w === 1) return lane(0);
      return `(${vectorType(dtype, w)}){${Array.from({ length: w }, (_, i) => (dtype === "bool" ? `-${lane(i)}` : lane(i))).join(", ")}}`;
    }
    if (col + w <= split) return e.get(a, idx, w);
    if (col >= split) return e.get(b, withLast(idx, col - split), w);
    const lane = (i: number): string =>
      col + i < split ? e.get(a, withLast(idx, col + i), 1) : e.get(b, withLast(idx, col + i - split), 1);
    return `(${vectorType(dtype, w)}){${Array.from({ length: w }, (_, i) => (dtype === "bool" ? `-(${lane(i)})` : lane(i))).join(", ")}}`;
  };
  e.set(op.results[0], { kind: "view", eff: shape, get });
}

export function extract(e: Emitter, op: Op): void {
  e.define(op.results[0], [], () => e.get(op.args[0], op.attrs.index as readonly number[], 1), op.loc);
}
