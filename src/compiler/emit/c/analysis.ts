/** What must be known about a value before code for it is written: does it live in an array, is a short row kept as scalars. */
import type { Block, KernelIR, Op, Value } from "../../ir/types.ts";
import { elements } from "../../ir/types.ts";
import { countChunks } from "./values.ts";

/** A tile of more vectors than this lives in an array and is worked on in loops. Rows are unrolled less than the tiles of a product. */
const MAX_VECTORS = 48;
const MAX_ROW_VECTORS = 8;

const VIEWS = new Set(["broadcast", "reshape", "transpose", "slice", "cat"]);
const INDEX = new Set(["add", "sub", "mul", "neg", "shl", "cast", "and", "or", "eq", "ne", "lt", "le", "gt", "ge"]);
/** Ops that run in loops over single elements, whatever their size. */
const ELEMENT_BY_ELEMENT = new Set(["atomic", "scan", "simdShuffle", "simdMma"]);
/** Cheap elementwise ops: their operands are kept the way their result is. */
const CHEAP = new Set([
  "add",
  "sub",
  "mul",
  "div",
  "rem",
  "min",
  "max",
  "and",
  "or",
  "shl",
  "shr",
  "eq",
  "ne",
  "lt",
  "le",
  "gt",
  "ge",
  "select",
  "cast",
  "neg",
]);

export class Analysis {
  private readonly arrays = new Set<Value>();
  private readonly scalars = new Set<Value>();
  private readonly defs = new Map<Value, Op>();
  /** Ops that use a value as operand, and the block each op stands in. */
  readonly users = new Map<Value, Op[]>();
  /** Region arguments and results that share storage with a loop's initial values. */
  private readonly carried = new Map<Value, Value[]>();

  constructor(
    readonly ir: KernelIR,
    readonly width: number,
  ) {
    this.collect(ir.body);
    this.each(ir.body, (op) => this.demand(op));
  }

  /** Read at run-time positions, or large: has (also) an array. */
  needsArray(v: Value): boolean {
    return this.arrays.has(v) || this.large(v.type.shape);
  }

  large(shape: readonly number[]): boolean {
    const n = countChunks(shape, this.width);
    return n > MAX_VECTORS || (n > MAX_ROW_VECTORS && this.width > 1 && shape.filter((k) => k > 1).length === 1);
  }

  /** A short row that is mostly used element by element. */
  scalarised(v: Value): boolean {
    return this.scalars.has(v);
  }

  definition(v: Value): Op | undefined {
    return this.defs.get(v);
  }

  private each(block: Block, f: (op: Op) => void): void {
    for (const op of block.ops) {
      f(op);
      for (const r of op.regions) this.each(r, f);
    }
  }

  private collect(block: Block): void {
    this.each(block, (op) => {
      for (const r of op.results) this.defs.set(r, op);
      for (const a of op.args) {
        const list = this.users.get(a);
        if (list) list.push(op);
        else this.users.set(a, [op]);
      }
      const inits = op.op === "for" ? op.args.slice(3) : op.op === "while" ? op.args : [];
      const sources: (readonly Value[])[] = [inits];
      for (const r of op.regions) {
        const ends = r.ops[r.ops.length - 1]?.args ?? [];
        sources.push(op.op === "while" && r === op.regions[0] ? ends.slice(1) : ends);
        sources.push(op.op === "for" ? r.args.slice(1) : r.args);
      }
      op.results.forEach((result, i) => {
        const group = [result, ...sources.map((s) => s[i]).filter((v) => v !== undefined)];
        for (const v of group) this.carried.set(v, [...(this.carried.get(v) ?? []), ...group]);
      });
    });
  }

  private demand(op: Op): void {
    const shapes = [...op.args, ...op.results].map((v) => v.type.shape);
    const wide = shapes.some((s) => this.large(s));
    if (op.op === "dot") {
      this.array(op.args[0]);
      this.array(op.args[1]);
      if (wide) this.array(op.args[2]);
      return;
    }
    if (ELEMENT_BY_ELEMENT.has(op.op)) for (const a of op.args) this.array(a);
    if (wide && op.op !== "for" && op.op !== "while" && op.op !== "if" && op.op !== "yield") for (const a of op.args) this.array(a);
    if (wide) for (const a of op.args) if (this.large(a.type.shape)) this.array(a);
    if (op.op === "reshape" && this.toColumn(op)) this.scalarise(op.args[0]);
    if (op.op === "reduce" && op.results[0].type.shape.length === 1 && op.attrs.axis === 1) this.scalarise(op.results[0]);
  }

  /** Marks a value, and what it is a view of or computed from as an index, as read at run-time positions. */
  private array(v: Value): void {
    if (this.arrays.has(v)) return;
    this.arrays.add(v);
    for (const c of this.carried.get(v) ?? []) this.array(c);
    const op = this.defs.get(v);
    if (op && (VIEWS.has(op.op) || INDEX.has(op.op))) for (const a of op.args) this.array(a);
  }

  private toColumn(op: Op): boolean {
    const from = op.args[0].type.shape;
    const to = op.results[0].type.shape;
    return from.length >= 1 && from[from.length - 1] > 1 && to[to.length - 1] === 1 && elements(from) <= 32;
  }

  private scalarise(v: Value): void {
    if (this.scalars.has(v) || elements(v.type.shape) > 32) return;
    this.scalars.add(v);
    for (const c of this.carried.get(v) ?? []) this.scalarise(c);
    const op = this.defs.get(v);
    if (op && CHEAP.has(op.op)) for (const a of op.args) if (a.type.shape.length === v.type.shape.length) this.scalarise(a);
  }
}
