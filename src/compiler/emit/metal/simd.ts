/** What threads of a thread-level kernel do among themselves. Tiles belong to one thread, so each op runs on every register. */
import type { DType, Op } from "../../ir/types.ts";
import { mslType } from "./expressions.ts";
import { shuffled } from "./convert.ts";
import type { Emitter, Reg } from "./emitter.ts";

export function simdOp(e: Emitter, op: Op): void {
  const [v] = op.results;
  switch (op.op) {
    case "threadId":
      e.builtins.add("local");
      return e.setUnit(v, `int(local_id.${"xyz"[op.attrs.axis as number]})`);
    case "laneId":
      return e.setUnit(v, e.builtin("lane"));
    case "simdgroupId":
      return e.setUnit(v, e.builtin("simdgroup"));
    case "barrier": {
      const { scope } = op.attrs;
      return e.push({ kind: "barrier", device: scope !== "shared", threadgroup: scope !== "device" });
    }
    case "simdBarrier":
      return e.line("simdgroup_barrier(mem_flags::mem_device | mem_flags::mem_threadgroup);");
    case "simdMma":
      return mma(e, op);
    default:
      return each(e, op);
  }
}

/** Applies a simd function to every element. */
function each(e: Emitter, op: Op): void {
  const [x, by] = op.args;
  const [v] = op.results;
  const text = (element: string, lane: string): string => simdText(e, op, x.type.dtype, element, lane);
  if (e.a.kind(v) === "unit") {
    const name = e.nameOf(v, op.op);
    e.line(`const ${mslType(v.type.dtype)} ${name} = ${text(e.unit(x), by ? e.unit(by) : "")};`);
    return e.setUnit(v, name);
  }
  const l = e.layouts.of(v);
  const out = e.declare(v, l, op.op);
  e.emit([], () =>
    e.each(out.count, 1, (r: Reg) => e.line(`${e.element(out, l, r)} = ${text(e.get(x, l, r), by ? e.get(by, l, r) : "")};`)),
  );
}

function simdText(e: Emitter, op: Op, d: DType, x: string, lane: string): string {
  const { kind, mode, exclusive } = op.attrs as { kind: string; mode: string; exclusive: boolean };
  switch (op.op) {
    case "simdShuffle":
      return shuffleText(e, d, mode, x, lane);
    case "simdReduce":
      if ((kind === "min" || kind === "max") && d === "f32") return `${e.helper(`simd_${kind}`)}(${x})`;
      return `simd_${kind === "prod" ? "product" : kind}(${x})`;
    case "simdScan":
      return `simd_prefix_${exclusive ? "exclusive" : "inclusive"}_${kind === "prod" ? "product" : "sum"}(${x})`;
    default:
      return `uint(ulong(simd_ballot(${x})))`;
  }
}

/** A lane that would read outside of the simdgroup keeps its own value. */
function shuffleText(e: Emitter, d: DType, mode: string, x: string, lane: string): string {
  const own = e.builtin("lane");
  const source = mode === "index" ? lane : mode === "up" ? `${own} - ${lane}` : mode === "down" ? `${own} + ${lane}` : `(${own} ^ ${lane})`;
  if (/^\d+$/.test(lane)) {
    if (mode === "xor" && Number(lane) < 32) return shuffled(d, x, lane, "_xor");
    if (mode === "index" && Number(lane) < 32) return shuffled(d, x, lane);
    if (mode === "up" || mode === "down") {
      const test = mode === "up" ? `${own} >= ${lane}` : `${own} + ${lane} < 32`;
      const fallback = mode === "up" ? `max(${own} - ${lane}, 0)` : `min(${own} + ${lane}, 31)`;
      return Number(lane) === 0 ? x : shuffled(d, x, `(${test} ? ${fallback} : ${own})`);
    }
  }
  return shuffled(d, x, `${e.helper("simd_source")}(${source}, ${own})`);
}

function mma(e: Emitter, op: Op): void {
  const [a, b, c] = op.args;
  const [v] = op.results;
  const l = e.layouts.of(v);
  const T = mslType(a.type.dtype);
  const out = e.declare(v, l, "acc");
  const pair = (x: typeof a): string => `${T}2(${e.get(x, l, 0)}, ${e.get(x, l, 1)})`;
  e.emit([], () => {
    const start = (r: Reg): string => e.get(c, l, r);
    if (start(0) !== e.element(out, l, 0)) e.each(out.count, 1, (r) => e.line(`${e.element(out, l, r)} = ${start(r)};`));
    e.line(`${e.helper(`mma_${T}`)}(${out.name}, ${pair(a)}, ${pair(b)});`);
  });
}
