/**
 * Thread-level IR to tile IR: all threads of a threadgroup take each step together. Values that differ between threads get the thread axes
 * as their last axes, uniform ones stay as they are. A condition that differs becomes a mask: both ways run, loads and stores are masked, results
 * are selected; a loop that threads leave at different turns runs while any thread is in it. Barriers have nothing left to do.
 */
import { Builder } from "../ir/build.ts";
import { DivergenceAnalysis, SIMD_UNIFORM, UNIFORM } from "../ir/divergence.ts";
import { sameShape } from "../ir/ops.ts";
import type { Block, KernelIR, Op, Value, ValueType } from "../ir/types.ts";
import { renumber, walk } from "../ir/walk.ts";
import { Layout } from "./lockstep-layout.ts";
import { translate } from "./lockstep-ops.ts";

/** Which threads take part. */
export interface Active {
  /** bool, of the thread axes; undefined: all. */
  mask?: Value;
  /** At least one thread is active for certain. */
  sure: boolean;
}

/** Ways of a condition with more ops than this are skipped when no thread takes them. */
const SHORT = 16;

/** The lockstep form of a thread-level kernel, not optimised. Shared memory stays as it is, local memory becomes the threads' side by side. */
export function lockstep(ir: KernelIR): KernelIR {
  return new Lockstep(ir).run();
}

export class Lockstep {
  readonly b = new Builder();
  readonly layout: Layout;
  private readonly analysis: DivergenceAnalysis;
  private readonly values = new Map<Value, Value>();
  private operands: Set<Value> | undefined;

  constructor(readonly ir: KernelIR) {
    this.layout = new Layout(ir);
    this.analysis = new DivergenceAnalysis(ir);
  }

  run(): KernelIR {
    const { ir, b } = this;
    for (const p of ir.params) {
      const copy = { ...p };
      if (p.value) this.define(p.value, (copy.value = b.value(p.value.type)));
      if (p.kind === "local") copy.elements = p.elements! * this.layout.count;
      b.params.push(copy);
    }
    this.block(ir.body, { sure: true });
    const result = b.finish(ir.name, ir.constexprs, ir.source);
    result.lanes = this.layout.count;
    if (ir.prints) result.prints = ir.prints;
    renumber(result);
    return result;
  }

  /** True if any op needs the value. */
  used(v: Value): boolean {
    if (!this.operands) {
      this.operands = new Set();
      walk(this.ir.body, (op) => op.args.forEach((a) => this.operands!.add(a)));
    }
    return this.operands.has(v);
  }

  varies(v: Value): boolean {
    return this.analysis.of(v) !== UNIFORM;
  }

  /** Lanes lie on an axis of their own and all have this value. */
  sameInLanes(v: Value): boolean {
    return this.lanesLast && this.layout.shape.length > 1 && this.analysis.of(v) <= SIMD_UNIFORM;
  }

  /** The value as it is: with thread axes if it varies. */
  use(v: Value): Value {
    return this.values.get(v)!;
  }

  /** The value with thread axes. */
  vary(v: Value): Value {
    return this.varies(v) ? this.use(v) : this.lift(this.use(v));
  }

  /** The value in the form that values like `like` have. */
  as(v: Value, like: Value): Value {
    return this.varies(like) ? this.vary(v) : this.use(v);
  }

  /** A uniform value repeated in every thread. */
  lift(x: Value): Value {
    const { shape } = x.type;
    const own = shape.length ? this.b.one("reshape", [x], { shape: [...shape, ...this.layout.shape.map(() => 1)] }) : x;
    return this.b.broadcast(own, [...shape, ...this.layout.shape]);
  }

  /** A mask over the thread axes for a tile of each thread. */
  over(mask: Value, shape: readonly number[]): Value {
    return this.b.broadcast(mask, shape);
  }

  define(old: Value, by: Value): void {
    this.values.set(old, by);
    if (old.name !== undefined && by.name === undefined) by.name = old.name;
  }

  /** The type that a value has in lockstep form. */
  type(v: Value): ValueType {
    return this.varies(v) ? { dtype: v.type.dtype, shape: [...v.type.shape, ...this.layout.shape] } : v.type;
  }

  /** True if any thread is in the mask: a scalar. */
  any(mask: Value): Value {
    const flat = this.b.one("reshape", [mask], { shape: [this.layout.count] });
    return this.b.one("reduce", [flat], { kind: "any", axis: 0 });
  }

  and(mask: Value | undefined, other: Value): Value {
    return mask ? this.b.one("and", [mask, other]) : other;
  }

  private block(block: Block, active: Active): void {
    for (const op of block.ops) {
      if (op.op === "yield") return;
      this.b.loc = op.loc;
      if (op.op === "if") this.branch(op, active);
      else if (op.op === "for") this.forLoop(op, active);
      else if (op.op === "while") this.whileLoop(op, active);
      else translate(this, op, active);
    }
  }

  /** A region of a new op: its block, ended by a yield of what `f` returns. */
  private region(args: Value[], f: () => Value[]): Block {
    const block: Block = { args, ops: [] };
    this.b.within(block, () => this.b.append("yield", f(), {}, [], []));
    return block;
  }

  private ends(block: Block): readonly Value[] {
    return block.ops.at(-1)!.args;
  }

  private branch(op: Op, active: Active): void {
    const [condition] = op.args;
    if (!this.varies(condition)) {
      const regions = op.regions.map((r) =>
        this.region([], () => {
          this.block(r, active);
          return this.ends(r).map((v, i) => this.as(v, op.results[i]));
        }),
      );
      const types = op.results.map((r) => this.type(r));
      this.b.append("if", [this.use(condition)], {}, types, regions).results.forEach((v, i) => this.define(op.results[i], v));
      return;
    }
    const c = this.use(condition);
    const [then, otherwise] = op.regions;
    const a = this.way(then, this.and(active.mask, c));
    const b = this.way(otherwise, this.and(active.mask, this.b.one("not", [c])));
    op.results.forEach((r, i) => this.define(r, a[i] === b[i] ? a[i] : this.b.one("select", [this.over(c, a[i].type.shape), a[i], b[i]])));
  }

  /** Runs one way of a condition under its mask and gives what it yields, with thread axes. */
  private way(region: Block, mask: Value): Value[] {
    const ends = this.ends(region);
    const ops = region.ops.slice(0, -1);
    if (!ops.length) return ends.map((v) => this.vary(v));
    if (!this.worthSkipping(ops)) {
      this.block(region, { mask, sure: false });
      return ends.map((v) => this.vary(v));
    }
    const inside = ends.filter((v) => !this.values.has(v));
    const types = inside.map((v) => ({ ...v.type, shape: [...v.type.shape, ...this.layout.shape] }));
    const run = this.region([], () => {
      this.block(region, { mask, sure: true });
      return inside.map((v) => this.vary(v));
    });
    const skip = this.region([], () => types.map((t) => this.zero(t)));
    const results = this.b.append("if", [this.any(mask)], {}, types, [run, skip]).results;
    return ends.map((v) => (inside.includes(v) ? results[inside.indexOf(v)] : this.vary(v)));
  }

  private zero(type: ValueType): Value {
    const { dtype } = type;
    return this.b.const(type, dtype === "bool" ? false : dtype === "i64" || dtype === "u64" ? 0n : 0);
  }

  /** Loops, and loads whose one address is right only for threads that get here, must not run for nobody; long ways need not. */
  private worthSkipping(ops: readonly Op[]): boolean {
    return ops.length > SHORT || ops.some((op) => op.regions.length > 0 || (op.op === "load" && !this.varies(op.results[0])));
  }

  private forLoop(op: Op, active: Active): void {
    const [body] = op.regions;
    const [index, ...carried] = body.args;
    const inits = op.args.slice(3);
    if (this.analysis.condition(op) === UNIFORM) {
      const args = body.args.map((a) => this.b.value(this.type(a)));
      const start = [...op.args.slice(0, 3).map((v) => this.use(v)), ...inits.map((v, i) => this.as(v, op.results[i]))];
      body.args.forEach((a, i) => this.define(a, args[i]));
      const region = this.region(args, () => {
        this.block(body, active);
        return this.ends(body).map((v, i) => this.as(v, op.results[i]));
      });
      const types = op.results.map((r) => this.type(r));
      this.b.append("for", start, op.attrs, types, [region]).results.forEach((v, i) => this.define(op.results[i], v));
      return;
    }
    const [lower, upper, step] = op.args.slice(0, 3).map((v) => this.vary(v));
    this.masked(
      op,
      active,
      [lower, ...inits.map((v) => this.vary(v))],
      ([i]) => this.b.one(op.attrs.down ? "gt" : "lt", [i, upper]),
      ([i, ...now], mask) => {
        this.define(index, i);
        carried.forEach((a, k) => this.define(a, now[k]));
        this.block(body, { mask, sure: true });
        // The index of threads that have left may run on: nobody reads it.
        return [this.b.one("add", [i, step]), ...this.kept(mask, now, this.ends(body))];
      },
      1,
    );
  }

  private whileLoop(op: Op, active: Active): void {
    const [condition, body] = op.regions;
    if (this.analysis.condition(op) === UNIFORM) {
      const regions = [condition, body].map((r, n) => {
        const args = r.args.map((a) => this.b.value(this.type(a)));
        r.args.forEach((a, i) => this.define(a, args[i]));
        return this.region(args, () => {
          this.block(r, active);
          const [first, ...rest] = this.ends(r);
          const carried = n === 0 ? rest : this.ends(r);
          return [...(n === 0 ? [this.use(first)] : []), ...carried.map((v, i) => this.as(v, op.results[i]))];
        });
      });
      const start = op.args.map((v, i) => this.as(v, op.results[i]));
      const types = op.results.map((r) => this.type(r));
      this.b.append("while", start, {}, types, regions).results.forEach((v, i) => this.define(op.results[i], v));
      return;
    }
    this.masked(
      op,
      active,
      op.args.map((v) => this.vary(v)),
      (now, mask) => {
        condition.args.forEach((a, i) => this.define(a, now[i]));
        this.block(condition, { mask, sure: true });
        const [go, ...rest] = this.ends(condition);
        now.splice(0, now.length, ...this.kept(mask, now, rest));
        return this.vary(go);
      },
      (now, mask) => {
        body.args.forEach((a, i) => this.define(a, now[i]));
        this.block(body, { mask, sure: true });
        return this.kept(mask, now, this.ends(body));
      },
      0,
    );
  }

  /** New values in active threads, the old ones elsewhere. */
  private kept(mask: Value, before: readonly Value[], after: readonly Value[]): Value[] {
    return after.map((v, i) => {
      const next = this.vary(v);
      return next === before[i] ? next : this.b.one("select", [this.over(mask, next.type.shape), next, before[i]]);
    });
  }

  /**
   * A loop that runs while any thread is in it. `go` gives who stays among the active (and may change the carried values it is given), `turn`
   * one turn's new values. The op's results are the carried values after the first `skip`.
   */
  private masked(
    op: Op,
    active: Active,
    init: readonly Value[],
    go: (now: Value[], mask: Value) => Value,
    turn: (now: Value[], mask: Value) => Value[],
    skip: number,
  ): void {
    const everyone = active.mask ?? this.b.const({ dtype: "bool", shape: this.layout.shape }, true);
    const types = [everyone, ...init].map((v) => v.type);
    const fresh = (): Value[] => types.map((t) => this.b.value(t));
    const [head, inner] = [fresh(), fresh()];
    const condition = this.region(head, () => {
      const [mask, ...now] = head;
      const still = this.b.one("and", [mask, go(now, mask)]);
      return [this.any(still), still, ...now];
    });
    const body = this.region(inner, () => {
      const [mask, ...now] = inner;
      return [mask, ...turn(now, mask)];
    });
    const { results } = this.b.append("while", [everyone, ...init], {}, types, [condition, body]);
    op.results.forEach((r, i) => this.define(r, results[1 + skip + i]));
  }

  /** True if the thread axes are simdgroups in rows. */
  get lanesLast(): boolean {
    return sameShape(this.layout.shape.slice(-1), [32]);
  }
}
