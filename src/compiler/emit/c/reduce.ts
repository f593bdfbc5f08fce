/** Reductions of tiles held in locals, and of arrays along an axis that is not the last. */
import type { DType, Op } from "../../ir/types.ts";
import { elements } from "../../ir/types.ts";
import type { Emitter } from "./emitter.ts";
import type { Ix } from "./values.ts";
import { chunksOf, cName, columns, key, storedType, vectorType } from "./values.ts";

/** Combines two vectors (or scalars) of a reduction or scan. */
export function combine(kind: string, dtype: DType, w: number, a: string, b: string): string {
  if (kind === "sum") return dtype === "i32" && w === 1 ? `(int32_t)((uint32_t)${a} + (uint32_t)${b})` : `(${a} + ${b})`;
  if (kind === "prod") return dtype === "i32" && w === 1 ? `(int32_t)((uint32_t)${a} * (uint32_t)${b})` : `(${a} * ${b})`;
  if (kind === "any") return `(${a} | ${b})`;
  if (kind === "all") return `(${a} & ${b})`;
  return `${kind}_${vectorType(dtype, w)}(${a}, ${b})`;
}

/** All lanes of one vector into a scalar. */
export function horizontal(kind: string, dtype: DType, w: number, x: string): string {
  return w === 1 ? x : `${kind}all_${vectorType(dtype, w)}(${x})`;
}

const isArg = (kind: string): boolean => kind === "argmax" || kind === "argmin";

/** Whether `v` beats `best`: the first index wins ties and a number wins over NaN. */
const beats = (kind: string, dtype: DType, v: string, best: string): string => {
  const order = `${v} ${kind === "argmax" ? ">" : "<"} ${best}`;
  return dtype === "f32" || dtype === "f64" ? `(${order} || (${best} != ${best} && ${v} == ${v}))` : order;
};

export function smallReduce(e: Emitter, op: Op): void {
  const x = op.args[0];
  const axis = op.attrs.axis as number;
  const kind = op.attrs.kind as string;
  const { dtype, shape } = x.type;
  const n = shape[axis];
  const eff = e.eff(x);
  const out = op.results[0];
  const outEff = eff.filter((_, a) => a !== axis);
  const insert = (idx: readonly Ix[], k: Ix): Ix[] => [...idx.slice(0, axis), k, ...idx.slice(axis)];
  const last = axis === shape.length - 1;
  if (eff[axis] === 1) {
    // Every element along the axis is the same.
    const one = (idx: readonly Ix[], w: number): string => {
      if (isArg(kind)) return e.splat("i32", w, "0");
      const v = e.get(x, insert(idx, 0), w);
      return kind === "sum" ? `(${v} * ${e.splat(dtype, w, `(${storedType(dtype)}x1)${n}`)})` : v;
    };
    if (last) return defineScalars(e, op, outEff, (idx) => one(idx, 1));
    return e.define(out, outEff, ({ idx, w }) => one(idx, w), op.loc);
  }
  if (isArg(kind)) {
    return defineScalars(e, op, outEff, (idx) => {
      const best = e.temp("best");
      const at = e.temp("at");
      e.line(`${vectorType(dtype, 1)} ${best} = ${e.get(x, insert(idx, 0), 1)}; int32_t ${at} = 0;`);
      for (let k = 1; k < n; k++) {
        const v = e.get(x, insert(idx, k), 1);
        e.line(`if (${beats(kind, dtype, v, best)}) { ${best} = ${v}; ${at} = ${k}; }`);
      }
      return at;
    });
  }
  if (!last) {
    return e.define(
      out,
      outEff,
      ({ idx, w }) => {
        let acc = e.get(x, insert(idx, 0), w);
        for (let k = 1; k < n; k++) acc = e.constant(vectorType(dtype, w), combine(kind, dtype, w, acc, e.get(x, insert(idx, k), w)));
        return acc;
      },
      op.loc,
    );
  }
  defineScalars(e, op, outEff, (idx) => reduceRow(e, kind, dtype, n, (col, w) => e.get(x, insert(idx, col), w)));
}

/** One row in locals: equal vectors pairwise, then across lanes. */
function reduceRow(e: Emitter, kind: string, dtype: DType, n: number, get: (col: number, w: number) => string): string {
  let scalar: string | undefined;
  const byWidth = new Map<number, string[]>();
  for (const { at, w } of columns(n, e.isa.width)) byWidth.set(w, [...(byWidth.get(w) ?? []), get(at, w)]);
  for (const [w, vectors] of byWidth) {
    let level = vectors;
    while (level.length > 1) {
      const next: string[] = [];
      for (let i = 0; i + 1 < level.length; i += 2)
        next.push(e.constant(vectorType(dtype, w), combine(kind, dtype, w, level[i], level[i + 1])));
      if (level.length % 2) next.push(level[level.length - 1]);
      level = next;
    }
    const value = horizontal(kind, dtype, w, level[0]);
    scalar = scalar === undefined ? value : combine(kind, dtype, 1, scalar, value);
  }
  return scalar!;
}

/** Results that come one scalar at a time. */
function defineScalars(e: Emitter, op: Op, eff: readonly number[], value: (idx: readonly number[]) => string): void {
  const out = op.results[0];
  if (elements(eff) === 1 || e.analysis.scalarised(out)) {
    return e.define(out, eff, ({ idx, w }) => (w === 1 ? value(idx) : ""), op.loc);
  }
  const names = new Map<string, string>();
  for (const { idx } of chunksOf(eff, 1)) names.set(key(idx), e.constant(vectorType(out.type.dtype, 1), value(idx)));
  e.define(
    out,
    eff,
    ({ idx, w }) => {
      const lane = (i: number): string => names.get(key([...idx.slice(0, -1), idx[idx.length - 1] + i]))!;
      if (w === 1) return lane(0);
      return `(${vectorType(out.type.dtype, w)}){${Array.from({ length: w }, (_, i) => (out.type.dtype === "bool" ? `-(${lane(i)})` : lane(i))).join(", ")}}`;
    },
    op.loc,
  );
}

/** Reduction of a large tile along any axis, in loops; the result is an array. */
export function loopReduce(e: Emitter, op: Op): void {
  const x = op.args[0];
  const out = op.results[0];
  const axis = op.attrs.axis as number;
  const kind = op.attrs.kind as string;
  const { dtype, shape } = x.type;
  const n = shape[axis];
  const result = out.type.shape;
  const name = e.array(out.type.dtype, elements(result), `${cName(out)}_a`, op.loc);
  const last = axis === shape.length - 1;
  const insert = (idx: readonly Ix[], k: Ix): Ix[] => [...idx.slice(0, axis), k, ...idx.slice(axis)];
  loops(e, result, last || isArg(kind) ? 1 : e.isa.width, (idx, w) => {
    const T = vectorType(dtype, w);
    const acc = e.temp("acc");
    const k = e.temp("k");
    e.line(`${T} ${acc} = ${e.get(x, insert(idx, 0), w)};`);
    if (isArg(kind)) {
      const at = e.temp("at");
      e.line(`int32_t ${at} = 0;`);
      e.scope(`for (int32_t ${k} = 1; ${k} < ${n}; ${k}++)`, () => {
        const v = e.constant(T, e.get(x, insert(idx, k), 1));
        e.line(`if (${beats(kind, dtype, v, acc)}) { ${acc} = ${v}; ${at} = ${k}; }`);
      });
      e.storeArray(name, result, "i32", idx, 1, at);
      return;
    }
    e.scope(`for (int32_t ${k} = 1; ${k} < ${n}; ${k}++)`, () =>
      e.line(`${acc} = ${combine(kind, dtype, w, acc, e.get(x, insert(idx, k), w))};`),
    );
    e.storeArray(name, result, out.type.dtype, idx, w, acc);
  });
  e.set(out, { kind: "array", eff: result, name });
}

/** Loops over a shape: run-time loops outside, vectors of the last axis inside. */
export function loops(e: Emitter, shape: readonly number[], width: number, body: (idx: Ix[], w: number) => void): void {
  const walk = (axis: number, idx: Ix[]): void => {
    if (axis < shape.length - 1) {
      if (shape[axis] === 1) return walk(axis + 1, [...idx, 0]);
      const i = e.temp("i");
      e.scope(`for (int32_t ${i} = 0; ${i} < ${shape[axis]}; ${i}++)`, () => walk(axis + 1, [...idx, i]));
      return;
    }
    columnLoop(e, shape.length ? shape[shape.length - 1] : 1, width, (col, w) => body(shape.length ? [...idx, col] : [], w));
  };
  walk(0, []);
}

/** Full vectors in a loop, the rest one by one. */
export function columnLoop(e: Emitter, n: number, width: number, body: (col: Ix, w: number) => void): void {
  const full = Math.floor(n / width);
  if (full > 1) {
    const j = e.temp("j");
    e.scope(`for (int32_t ${j} = 0; ${j} < ${full * width}; ${j} += ${width})`, () => body(j, width));
  }
  for (const { at, w } of columns(n, width)) {
    if (full > 1 && at < full * width) continue;
    e.scope("", () => body(at, w));
  }
}
