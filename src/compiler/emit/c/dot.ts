/** Matrix product of tiles: operands as float32 arrays, accumulators in registers, one broadcast multiply-add per element of A and vector of B. */
import type { Op, Value } from "../../ir/types.ts";
import { elements } from "../../ir/types.ts";
import type { Emitter } from "./emitter.ts";
import type { Ix } from "./values.ts";
import { chunksOf, cName, columns, key } from "./values.ts";
import { castExpression } from "./elementwise.ts";
import { loops } from "./reduce.ts";

/** A float32 array holding an operand row-major, as stored or with its axes swapped. */
export function f32Array(e: Emitter, v: Value, swap: boolean): string {
  const { dtype, shape } = v.type;
  const rep = e.rep(v);
  const full = rep.kind !== "uniform" && rep.eff.every((n, i) => n === shape[i]);
  if (!swap && dtype === "f32" && full) {
    if (rep.kind === "array") return rep.name;
    if (rep.kind === "regs" && rep.array) return rep.array;
  }
  const to = swap ? [shape[1], shape[0]] : [...shape];
  const name = e.array("f32", elements(to), e.unique(`${cName(v)}_f`));
  const f32 = (x: string, w: number): string => castExpression(dtype, "f32", w, x);
  if (swap) {
    loops(e, to, 1, (idx) => e.storeArray(name, to, "f32", idx, 1, f32(e.get(v, [idx[1], idx[0]], 1), 1)));
  } else {
    loops(e, to, e.isa.width, (idx, w) => e.storeArray(name, to, "f32", idx, w, f32(e.get(v, idx, w), w)));
  }
  return name;
}

export function dot(e: Emitter, op: Op): void {
  const [a, b, acc] = op.args;
  const out = op.results[0];
  const [M, N] = out.type.shape;
  const K = op.attrs.transposeA ? a.type.shape[0] : a.type.shape[1];
  const A = f32Array(e, a, false);
  const B = f32Array(e, b, op.attrs.transposeB === true);
  const aAt = (m: Ix, k: string): string => (op.attrs.transposeA ? `${A}[${k} * ${M} + ${m}]` : `${A}[${m} * ${K} + ${k}]`);
  const large = e.analysis.large(out.type.shape);
  const cols = columns(N, e.isa.width);
  // Accumulators of a block fill the registers but for the vectors of B and one broadcast.
  const vectors = Math.min(cols.length, 4);
  const rows = Math.max(1, Math.floor((e.isa.registers - vectors - 1) / vectors));
  const block = (accs: { name: string; m: Ix; col: number; w: number }[], shift = ""): void => {
    const k = e.temp("k");
    e.scope(`for (int32_t ${k} = 0; ${k} < ${K}; ${k}++)`, () => {
      const bs = new Map<string, string>();
      for (const c of accs) {
        const id = key([c.col, c.w]);
        if (!bs.has(id))
          bs.set(
            id,
            e.constant(
              `f32x${c.w}`,
              c.w === 1 ? `${B}[${k} * ${N} + ${c.col}${shift}]` : `LD(f32x${c.w}, ${B} + ${k} * ${N} + ${c.col}${shift})`,
            ),
          );
      }
      for (const c of accs) e.line(`${c.name} += ${e.splat("f32", c.w, aAt(c.m, k))} * ${bs.get(id(c))};`);
    });
  };
  const id = (c: { col: number; w: number }): string => key([c.col, c.w]);
  if (!large) {
    const chunks = chunksOf(out.type.shape, e.isa.width);
    const names = new Map<string, string>();
    for (const c of chunks) {
      const name = `${cName(out)}_${c.idx.join("_")}`;
      e.line(`f32x${c.w} ${name} = ${e.get(acc, c.idx, c.w)};`);
      names.set(key(c.idx), name);
    }
    for (let c0 = 0; c0 < cols.length; c0 += vectors) {
      const part = cols.slice(c0, c0 + vectors);
      for (let m0 = 0; m0 < M; m0 += rows) {
        const accs = Array.from({ length: Math.min(rows, M - m0) }, (_, i) => m0 + i).flatMap((m) =>
          part.map((c) => ({ name: names.get(key([m, c.at]))!, m, col: c.at, w: c.w })),
        );
        block(accs);
      }
    }
    const scalarised = e.analysis.scalarised(out);
    e.set(out, {
      kind: "regs",
      eff: out.type.shape,
      chunks,
      names,
      array: scalarised ? undefined : e.mirror(out, out.type.shape, chunks, names, op.loc),
    });
    return;
  }
  const name = e.array("f32", M * N, `${cName(out)}_a`, op.loc);
  const step = (m0: Ix, count: number, part: { at: number; w: number }[]): void => {
    const accs = Array.from({ length: count }, (_, i) => i).flatMap((i) =>
      part.map((c) => ({ name: e.temp("c"), m: typeof m0 === "number" ? m0 + i : `(${m0} + ${i})`, col: c.at, w: c.w })),
    );
    for (const c of accs) e.line(`f32x${c.w} ${c.name} = ${e.get(acc, [c.m, c.col], c.w)};`);
    block(accs);
    for (const c of accs) e.storeArray(name, [M, N], "f32", [c.m, c.col], c.w, c.name);
  };
  for (let c0 = 0; c0 < cols.length; c0 += vectors) {
    const part = cols.slice(c0, c0 + vectors);
    const full = Math.floor(M / rows) * rows;
    const m = e.temp("m");
    if (full) e.scope(`for (int32_t ${m} = 0; ${m} < ${full}; ${m} += ${rows})`, () => step(m, rows, part));
    if (M > full) e.scope("", () => step(full, M - full, part));
  }
  e.set(out, { kind: "array", eff: out.type.shape, name });
}
