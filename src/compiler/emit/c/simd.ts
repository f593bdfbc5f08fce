/** What lanes of a simdgroup exchange, in lockstep form: 32 lanes lie on the last axis. */
import type { Op, Value } from "../../ir/types.ts";
import { elements, SIMD_WIDTH } from "../../ir/types.ts";
import { f32Array } from "./dot.ts";
import type { Emitter } from "./emitter.ts";
import { loops } from "./reduce.ts";
import type { Ix } from "./values.ts";
import { cName } from "./values.ts";
import { fromLanes } from "./views.ts";

/** Lane that is read; the own one where there is no such lane. */
function source(mode: string, lane: number, by: number): number {
  const from = mode === "index" ? by : mode === "up" ? lane - by : mode === "down" ? lane + by : lane ^ by;
  return from >= 0 && from < SIMD_WIDTH ? from : lane;
}

const OPERATOR: Readonly<Record<string, string>> = { up: "-", down: "+", xor: "^" };

/** The number of a constant operand, repeated or not. */
function constant(e: Emitter, v: Value): number | undefined {
  let op = e.analysis.definition(v);
  while (op?.op === "broadcast") op = e.analysis.definition(op.args[0]);
  return op?.op === "const" ? Number(op.attrs.value) : undefined;
}

export function simdShuffle(e: Emitter, op: Op): void {
  const [x, by] = op.args;
  const out = op.results[0];
  const { dtype, shape } = out.type;
  const mode = op.attrs.mode as string;
  const fixed = constant(e, by);
  const eff = e.eff(x).map((n, a) => (a === shape.length - 1 ? shape[a] : Math.max(n, e.eff(by)[a] ?? 1)));
  const last = (idx: readonly Ix[], lane: Ix): Ix[] => [...idx.slice(0, -1), lane];
  if (fixed !== undefined && !e.analysis.large(eff)) {
    const lanes = (idx: readonly number[], w: number): string => {
      const first = idx[idx.length - 1];
      const from = (i: number): number[] => last(idx, source(mode, first + i, fixed)) as number[];
      return w === 1 ? e.get(x, from(0), 1) : fromLanes(e, x, w, from);
    };
    return e.define(out, eff, ({ idx, w }) => lanes(idx, w), op.loc);
  }
  const name = e.array(dtype, elements(shape), `${cName(out)}_a`, op.loc);
  loops(e, shape, 1, (idx) => {
    const own = idx[idx.length - 1];
    const lane = by.type.shape.length ? e.get(by, idx, 1) : e.scalar(by);
    const from = e.constant("int32_t", mode === "index" ? lane : `(int32_t)((uint32_t)${own} ${OPERATOR[mode]} (uint32_t)${lane})`);
    const there = e.constant("int32_t", `(uint32_t)${from} < ${SIMD_WIDTH}u ? ${from} : ${own}`);
    e.storeArray(name, shape, dtype, idx, 1, e.get(x, last(idx, there), 1));
  });
  e.set(out, { kind: "array", eff: shape, name });
}

/** Products of 8x8 matrices, one per simdgroup: operands [2, threads]. */
export function simdMma(e: Emitter, op: Op): void {
  const [a, b, c] = op.args.map((v) => f32Array(e, v, false));
  const out = op.results[0];
  const { shape } = out.type;
  const name = e.array("f32", elements(shape), `${cName(out)}_a`, op.loc);
  const g = e.temp("g");
  e.line(
    `for (int32_t ${g} = 0; ${g} < ${shape[1]}; ${g} += ${SIMD_WIDTH}) simd_mma(${name} + ${g}, ${a} + ${g}, ${b} + ${g}, ${c} + ${g}, ${shape[1]});`,
  );
  e.set(out, { kind: "array", eff: shape, name });
}
