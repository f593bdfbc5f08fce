/**
 * Large tiles: consecutive elementwise ops, loads, stores and row reductions over one shape run in one loop, so that a value needed only
 * inside the loop never leaves its register and an array is written only for what later code reads.
 */
import type { Op, Value } from "../../ir/types.ts";
import { elements } from "../../ir/types.ts";
import { sameShape } from "../../ir/ops.ts";
import type { Emitter } from "./emitter.ts";
import type { Ix } from "./values.ts";
import { baseName, cName, columns, storedType, vectorType } from "./values.ts";
import { ELEMENTWISE, expression } from "./elementwise.ts";
import { loadLanes, storeLanes } from "./memory.ts";
import { columnLoop, combine, horizontal } from "./reduce.ts";

export class Group {
  private ops: Op[] = [];
  private readonly defined = new Set<Value>();
  private readonly reduced = new Set<Value>();
  private shape: readonly number[] = [];

  constructor(private readonly e: Emitter) {}

  /** True if an operand of the op (or of a region inside it) is waiting to be computed. */
  pending(op: Op): boolean {
    if (!this.ops.length) return false;
    const waits = (o: Op): boolean =>
      o.args.some((a) => this.defined.has(a) || this.reduced.has(a)) || o.regions.some((r) => r.ops.some(waits));
    return waits(op);
  }

  get hasMemory(): boolean {
    return this.ops.some((o) => o.op === "load" || o.op === "store");
  }

  /**
   * True if a load must wait for what the group stores. In lockstep form loads of one address go in front of the loops that use them, unless the
   * group stores to the same memory; buffers may be the same under two names.
   */
  delays(load: Op): boolean {
    const { ir } = this.e;
    if (ir.lanes === undefined) return true;
    const kind = (op: Op): string => ir.params[op.attrs.param as number].kind;
    return this.ops.some((o) => o.op === "store" && (o.attrs.param === load.attrs.param || (kind(o) === "ptr" && kind(load) === "ptr")));
  }

  /** Adds an op, writing out what is waiting first when the two cannot share a loop. */
  add(op: Op): void {
    const shape = op.op === "store" || op.op === "reduce" ? op.args[0].type.shape : op.results[0].type.shape;
    if (this.ops.length && (!sameShape(shape, this.shape) || op.args.some((a) => this.reduced.has(a)) || this.conflicts(op))) this.flush();
    this.shape = shape;
    this.ops.push(op);
    for (const r of op.results) (op.op === "reduce" ? this.reduced : this.defined).add(r);
  }

  /** A store and another access of the same parameter share a loop only if they name the same elements. */
  private conflicts(op: Op): boolean {
    if (op.op !== "load" && op.op !== "store") return false;
    return this.ops.some((o) => {
      if (o.op !== "load" && o.op !== "store") return false;
      if (o.op === "load" && op.op === "load") return false;
      return o.attrs.param === op.attrs.param && o.args[0] !== op.args[0];
    });
  }

  flush(): void {
    const { ops, e, shape } = this;
    if (!ops.length) return;
    this.ops = [];
    const outside = new Set([...this.defined].filter((v) => (e.analysis.users.get(v) ?? []).some((u) => !ops.includes(u))));
    const arrays = new Map<Value, string>();
    for (const v of outside) arrays.set(v, this.inPlace(v, ops) ?? e.array(v.type.dtype, elements(shape), `${cName(v)}_a`));
    const sums = ops.filter((o) => o.op === "reduce");
    for (const r of sums) {
      const out = r.results[0];
      const outShape = out.type.shape;
      if (elements(outShape) === 1) e.line(`${storedType(out.type.dtype)}x1 ${cName(out)};`);
      else arrays.set(out, e.array(out.type.dtype, elements(outShape), `${cName(out)}_a`));
    }
    this.rows(0, [], ops, arrays);
    for (const v of outside) e.set(v, { kind: "array", eff: shape, name: arrays.get(v)! });
    for (const r of sums) {
      const out = r.results[0];
      const name = arrays.get(out);
      e.set(out, name ? { kind: "array", eff: out.type.shape, name } : { kind: "uniform", expr: cName(out) });
    }
    this.defined.clear();
    this.reduced.clear();
  }

  /** The array of the loop variable that a value becomes at the end of the turn, if the variable's old contents are not needed any more. */
  private inPlace(v: Value, ops: readonly Op[]): string | undefined {
    const target = this.e.next.get(v);
    if (!target) return undefined;
    const position = (op: Op): number => target.body.ops.indexOf(op);
    const own = position(this.e.analysis.definition(v)!);
    const done = (user: Op): boolean => {
      const at = position(user);
      const here = ops.includes(user);
      return at >= 0 && at <= own && groupable(user) && (here || at < position(ops[0]));
    };
    return own >= 0 && (this.e.analysis.users.get(target.variable) ?? []).every(done) ? target.array : undefined;
  }

  private rows(axis: number, idx: Ix[], ops: readonly Op[], arrays: ReadonlyMap<Value, string>): void {
    const { e, shape } = this;
    if (axis === shape.length - 1) return this.row(idx, ops, arrays);
    if (shape[axis] === 1) return this.rows(axis + 1, [...idx, 0], ops, arrays);
    const i = e.temp("i");
    e.scope(`for (int32_t ${i} = 0; ${i} < ${shape[axis]}; ${i}++)`, () => this.rows(axis + 1, [...idx, i], ops, arrays));
  }

  private row(idx: Ix[], ops: readonly Op[], arrays: ReadonlyMap<Value, string>): void {
    const { e, shape } = this;
    const width = e.isa.width;
    const n = shape[shape.length - 1];
    const widths = [...new Set(columns(n, width).map((c) => c.w))];
    const acc = new Map<Op, Map<number, string>>();
    for (const r of ops.filter((o) => o.op === "reduce")) {
      // One accumulator per vector width; `first` is the neutral element of the kind, or marks that nothing was seen.
      const names = new Map<number, string>();
      for (const w of widths) names.set(w, e.temp("acc"));
      acc.set(r, names);
      for (const w of widths) {
        const dtype = r.args[0].type.dtype;
        e.line(`${vectorType(dtype, w)} ${names.get(w)} = ${e.splat(dtype, w, neutral(r))};`);
      }
    }
    columnLoop(e, n, width, (col, w) => this.lanes([...idx, col], w, ops, arrays, acc));
    for (const [r, names] of acc) {
      const out = r.results[0];
      const kind = r.attrs.kind as string;
      const dtype = r.args[0].type.dtype;
      let total = "";
      for (const [w, name] of names) {
        const part = horizontal(kind, dtype, w, name);
        total = total ? combine(kind, dtype, 1, total, part) : part;
      }
      const array = arrays.get(out);
      if (array) e.storeArray(array, out.type.shape, out.type.dtype, idx, 1, total);
      else e.line(`${cName(out)} = ${total};`);
    }
  }

  private lanes(
    idx: Ix[],
    w: number,
    ops: readonly Op[],
    arrays: ReadonlyMap<Value, string>,
    acc: ReadonlyMap<Op, ReadonlyMap<number, string>>,
  ): void {
    const { e, shape } = this;
    e.local = new Map();
    for (const op of ops) {
      e.comment(op.loc);
      if (op.op === "store") {
        storeLanes(e, op, idx, w);
        continue;
      }
      const out = op.results[0];
      if (op.op === "reduce") {
        const name = acc.get(op)!.get(w)!;
        e.line(`${name} = ${combine(op.attrs.kind as string, op.args[0].type.dtype, w, name, e.get(op.args[0], idx, w))};`);
        continue;
      }
      const value =
        op.op === "load"
          ? loadLanes(e, op, idx, w)
          : expression(
              e,
              op,
              w,
              op.args.map((a) => e.get(a, idx, w)),
            );
      const name = e.constant(vectorType(out.type.dtype, w), value, e.temp(`${baseName(out.name ?? op.op)}_`));
      e.local.set(out, name);
      const array = arrays.get(out);
      if (array) e.storeArray(array, shape, out.type.dtype, idx, w, name);
    }
    e.local = undefined;
  }
}

/** What a reduction starts from: combining it with x gives x. NaN does so for minimum and maximum, which prefer numbers. */
function neutral(op: Op): string {
  const { dtype } = op.args[0].type;
  const kind = op.attrs.kind as string;
  if (kind === "sum" || kind === "any") return "0";
  if (kind === "all") return "1";
  if (dtype === "f32") return "float_u32x1(0x7fc00000u)";
  if (dtype === "f64") return "(0.0 / 0.0)";
  const max = kind === "max";
  if (dtype === "i32") return max ? "(-2147483647 - 1)" : "2147483647";
  if (dtype === "u32") return max ? "0u" : "4294967295u";
  if (dtype === "i64") return max ? "(-9223372036854775807ll - 1)" : "9223372036854775807ll";
  return max ? "0ull" : "18446744073709551615ull";
}

/** Ops that a group can hold. */
export function groupable(op: Op): boolean {
  if (ELEMENTWISE.has(op.op) || op.op === "load" || op.op === "store") return true;
  const kind = op.attrs.kind as string;
  return op.op === "reduce" && op.attrs.axis === op.args[0].type.shape.length - 1 && kind !== "argmax" && kind !== "argmin";
}
