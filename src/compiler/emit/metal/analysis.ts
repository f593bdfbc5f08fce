/** What must be known about values before layouts are chosen: what is cheap enough to be computed wherever it is needed, how offsets step. */
import type { Block, KernelIR, Op, Value } from "../../ir/types.ts";
import { elements } from "../../ir/types.ts";
import { OPS } from "../../ir/ops.ts";
import { viewLayout } from "./layout.ts";

/**
 * How a value is held.
 * unit: one element, the same for all threads of a program. symbolic: an expression of the position, computed where it is used. view: another
 * value's elements in other places. regs: in registers, distributed by a layout.
 */
export type Kind = "unit" | "symbolic" | "view" | "regs";

/** True for a view that is read in place, whatever layout it is read in. */
export const isFreeView = (op: Op): boolean => op.op !== "cat" && viewLayout(op, { regs: [], lanes: [], groups: [] }) !== undefined;

const VIEWS = new Set(["broadcast", "reshape", "transpose", "slice", "extract", "cat"]);
/** Ops that cost so much that a symbolic value made with them is kept in registers, once per layout that asks for it. */
const DEAR = new Set("div rem exp exp2 log log2 sin cos tanh sqrt rsqrt erf pow byteLookup".split(" "));
/** A symbolic value with more operations than this is kept too. */
const CHEAP_OPS = 10;

export class Analysis {
  private readonly defs = new Map<Value, Op>();
  private readonly kinds = new Map<Value, Kind>();
  private readonly costs = new Map<Value, number>();
  readonly users = new Map<Value, Op[]>();
  /** Number of each loop op, and the loops around each op, outermost first. */
  readonly loopNumber = new Map<Op, number>();
  private readonly loopsOf = new Map<Value, readonly number[]>();
  private readonly indexOnly = new Map<Value, boolean>();
  private readonly steps = new Map<Value, readonly (number | undefined)[]>();

  constructor(readonly ir: KernelIR) {
    for (const p of ir.params) if (p.value) this.kinds.set(p.value, "unit");
    this.visit(ir.body, []);
  }

  kind(v: Value): Kind {
    return this.kinds.get(v)!;
  }

  def(v: Value): Op | undefined {
    return this.defs.get(v);
  }

  usersOf(v: Value): readonly Op[] {
    return this.users.get(v) ?? [];
  }

  /** Loops whose turns a value may differ between. */
  loops(v: Value): readonly number[] {
    return this.loopsOf.get(v) ?? [];
  }

  /** A symbolic value that is kept in registers for each layout. */
  dear(v: Value): boolean {
    return (this.costs.get(v) ?? 0) > CHEAP_OPS;
  }

  private visit(block: Block, loops: readonly number[]): void {
    const define = (v: Value, kind: Kind): void => {
      this.kinds.set(v, elements(v.type.shape) === 1 ? "unit" : kind);
      this.loopsOf.set(v, loops);
    };
    for (const a of block.args) define(a, "regs");
    for (const op of block.ops) {
      for (const a of op.args) {
        const list = this.users.get(a);
        if (list) list.push(op);
        else this.users.set(a, [op]);
      }
      for (const r of op.results) {
        this.defs.set(r, op);
        define(r, this.kindOf(op));
      }
      let inner = loops;
      if (op.op === "for" || op.op === "while") {
        this.loopNumber.set(op, this.loopNumber.size);
        inner = [...loops, this.loopNumber.get(op)!];
      }
      for (const r of op.regions) this.visit(r, inner);
    }
  }

  private kindOf(op: Op): Kind {
    if (op.op === "const" || op.op === "arange") return "symbolic";
    const free = op.args.every((a) => this.kind(a) === "unit" || this.kind(a) === "symbolic");
    if (free && (OPS[op.op].elementwise || (VIEWS.has(op.op) && op.op !== "cat"))) {
      const sum = op.args.reduce((n, a) => n + (this.kind(a) === "unit" || this.dear(a) ? 0 : (this.costs.get(a) ?? 0)), 0);
      this.costs.set(op.results[0], sum + (VIEWS.has(op.op) ? 0 : DEAR.has(op.op) && !this.byConstant(op) ? CHEAP_OPS + 1 : 1));
      return "symbolic";
    }
    return VIEWS.has(op.op) && isFreeView(op) ? "view" : "regs";
  }

  /** Division of integers by a constant costs a multiplication. */
  private byConstant(op: Op): boolean {
    return (op.op === "div" || op.op === "rem") && op.args[0].type.dtype !== "f32" && this.constant(op.args[1]) !== undefined;
  }

  /** The number a value is in all its elements, where that is known. */
  constant(v: Value): number | undefined {
    let op = this.defs.get(v);
    while (op && (op.op === "broadcast" || op.op === "reshape")) op = this.defs.get(op.args[0]);
    return op?.op === "const" ? Number(op.attrs.value) : undefined;
  }

  /**
   * An integer that serves as offset, mask or loop bound only: its sums and products are computed plainly, since an index that overflows
   * is wrong anyway.
   */
  isIndex(v: Value): boolean {
    const known = this.indexOnly.get(v);
    if (known !== undefined) return known;
    this.indexOnly.set(v, true);
    const result = this.usersOf(v).every((op) => {
      switch (op.op) {
        case "load":
        case "prefetch":
          return op.args.indexOf(v) === 0;
        case "store":
        case "atomic":
          return op.args[0] === v && !op.args.slice(1).includes(v);
        case "lt":
        case "le":
        case "gt":
        case "ge":
        case "eq":
        case "ne":
          return true;
        case "for":
          return op.args.indexOf(v) < 3 && !op.args.slice(3).includes(v);
        case "add":
        case "sub":
        case "mul":
        case "neg":
        case "min":
        case "max":
        case "broadcast":
        case "reshape":
        case "transpose":
        case "slice":
        case "extract":
          return this.isIndex(op.results[0]);
        case "cast":
          return op.results[0].type.dtype === "i64" && this.isIndex(op.results[0]);
        default:
          return false;
      }
    });
    this.indexOnly.set(v, result);
    return result;
  }

  /** True for offsets made of positions by sums, and products with numbers that are the same everywhere: different positions, different offsets. */
  isAffine(v: Value): boolean {
    if (this.kind(v) === "unit") return true;
    const op = this.defs.get(v);
    switch (op?.op) {
      case "const":
      case "arange":
        return true;
      case "mul":
        return this.isAffine(op.args[0]) && this.isAffine(op.args[1]) && op.args.some((x) => this.sameEverywhere(x));
      case "broadcast":
      case "reshape":
      case "transpose":
      case "slice":
      case "add":
      case "sub":
      case "neg":
      case "cast":
        return op.args.every((x) => this.isAffine(x));
      default:
        return false;
    }
  }

  private sameEverywhere(v: Value): boolean {
    if (this.kind(v) === "unit") return true;
    const op = this.defs.get(v);
    return op?.op === "const" || (op?.op === "broadcast" && this.sameEverywhere(op.args[0])) || this.stepsOf(v).every((s) => s === 0);
  }

  private readonly behind = new Map<Value, ReadonlySet<number>>();

  /** Loops whose turns change a value. */
  loopsBehind(v: Value): ReadonlySet<number> {
    let out = this.behind.get(v);
    if (!out) {
      const op = this.defs.get(v);
      const pure = op !== undefined && OPS[op.op].pure;
      out = pure || op?.op === "const" ? new Set(op!.args.flatMap((x) => [...this.loopsBehind(x)])) : new Set(this.loops(v));
      this.behind.set(v, out);
    }
    return out;
  }

  /** By how much an integer changes from one element to the next on each axis, where that is the same number everywhere. */
  stepsOf(v: Value): readonly (number | undefined)[] {
    let s = this.steps.get(v);
    if (!s) this.steps.set(v, (s = this.computeSteps(v)));
    return s;
  }

  private computeSteps(v: Value): readonly (number | undefined)[] {
    const { shape } = v.type;
    const none = shape.map((n) => (n === 1 ? 0 : undefined));
    if (elements(shape) === 1) return shape.map(() => 0);
    const op = this.defs.get(v);
    if (!op) return none;
    const of = (i: number): readonly (number | undefined)[] => this.stepsOf(op.args[i]);
    const both = (f: (a: number, b: number) => number | undefined): readonly (number | undefined)[] =>
      shape.map((_, i) => {
        const [a, b] = [of(0)[i], of(1)[i]];
        return a === undefined || b === undefined ? undefined : f(a, b);
      });
    switch (op.op) {
      case "const":
        return shape.map(() => 0);
      case "arange":
        return [1];
      case "broadcast": {
        const from = op.args[0].type.shape;
        const lead = shape.length - from.length;
        return shape.map((_, i) => (i < lead || from[i - lead] === 1 ? 0 : of(0)[i - lead]));
      }
      case "reshape": {
        const from = op.args[0].type.shape;
        const wide = (s: readonly number[]): number[] => s.flatMap((n, i) => (n > 1 ? [i] : []));
        const [a, b] = [wide(from), wide(shape)];
        if (a.length !== b.length || !a.every((x, i) => from[x] === shape[b[i]])) return none;
        return shape.map((n, i) => (n === 1 ? 0 : of(0)[a[b.indexOf(i)]]));
      }
      case "transpose":
        return [of(0)[1], of(0)[0]];
      case "slice":
        return of(0);
      case "cast":
        return v.type.dtype === "i64" || v.type.dtype === "i32" ? of(0) : none;
      case "neg":
        return of(0).map((x) => (x === undefined ? undefined : -x));
      case "add":
        return both((a, b) => a + b);
      case "sub":
        return both((a, b) => a - b);
      case "mul":
        return both((a, b) => {
          if (a === 0 && b === 0) return 0;
          const [step, other] = b === 0 ? [a, op.args[1]] : [b, op.args[0]];
          const k = a !== 0 && b !== 0 ? undefined : this.constant(other);
          return k === undefined ? undefined : step * k;
        });
      default:
        // Elementwise ops of values that do not change along an axis do not either.
        return OPS[op.op]?.elementwise ? shape.map((_, i) => (op.args.every((_a, k) => of(k)[i] === 0) ? 0 : undefined)) : none;
    }
  }
}
