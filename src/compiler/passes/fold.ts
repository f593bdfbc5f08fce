/**
 * Constant folding, algebraic identities and control flow that is decided at compile time. Elements are computed by the interpreter's own
 * functions (ir/scalar.ts); identities on floats are those that hold for every value, -0, infinities and NaN included.
 */
import { MemoryView } from "../ir/memory.ts";
import { OPS } from "../ir/ops.ts";
import type { Num } from "../ir/scalar.ts";
import { binaryFunction, castScalar, unaryFunction, wrap } from "../ir/scalar.ts";
import type { Attr, Block, DType, KernelIR, Op, Value } from "../ir/types.ts";
import { DTYPE_BYTES } from "../ir/types.ts";
import type { Pass } from "./pass.ts";
import { keepName } from "./pass.ts";
import type { Range } from "./range.ts";
import { rangeOf } from "./range.ts";
import { IDENTITIES } from "./identities.ts";

/** What an op turns out to be: an existing value, or one number everywhere; undefined when it stays. */
export type Simpler = Value | { constant: Num } | undefined;

export const fold: Pass = {
  name: "fold",
  run(ir) {
    new Folder(ir).run();
  },
};

export class Folder {
  private readonly replaced = new Map<Value, Value>();
  private readonly definitions = new Map<Value, Op>();
  private readonly ranges = new Map<Value, Range>();

  constructor(private readonly ir: KernelIR) {}

  run(): void {
    this.block(this.ir.body);
  }

  private resolve(v: Value): Value {
    for (let next = this.replaced.get(v); next; next = this.replaced.get(v)) v = next;
    return v;
  }

  private replace(v: Value, by: Value): void {
    keepName(v, by);
    this.replaced.set(v, by);
  }

  definition(v: Value): Op | undefined {
    return this.definitions.get(v);
  }

  /** The one number that a value holds everywhere, if it is known. */
  number(v: Value): Num | undefined {
    const op = this.definitions.get(v);
    if (op?.op !== "const") return undefined;
    const value = op.attrs.value as number | bigint | boolean;
    return wrap(v.type.dtype, typeof value === "boolean" ? Number(value) : value);
  }

  range(v: Value): Range | undefined {
    if (v.type.dtype !== "i32") return undefined;
    const n = this.number(v);
    return n === undefined ? this.ranges.get(v) : [n as number, n as number];
  }

  private block(block: Block): void {
    const kept: Op[] = [];
    this.ops(block.ops, kept);
    block.ops = kept;
  }

  private ops(ops: readonly Op[], kept: Op[]): void {
    for (const op of ops) {
      op.args = op.args.map((a) => this.resolve(a));
      if (op.regions.length) {
        this.control(op, kept);
        continue;
      }
      const simpler = this.simplify(op);
      if (simpler && "id" in simpler) {
        this.replace(op.results[0], simpler);
        continue;
      }
      if (simpler) makeConstant(op, simpler.constant);
      if (op.op === "store" && this.isNumber(op.args[2], 0)) continue;
      for (const r of op.results) this.definitions.set(r, op);
      const range = rangeOf(op, (v) => this.range(v), this.ir.threads);
      if (range) this.ranges.set(op.results[0], range);
      kept.push(op);
    }
  }

  private isNumber(v: Value | undefined, n: number): boolean {
    const known = v && this.number(v);
    return known !== undefined && Number(known) === n;
  }

  private control(op: Op, kept: Op[]): void {
    if (op.op === "if") {
      const condition = this.number(op.args[0]);
      if (condition !== undefined) return this.inline(op.regions[condition ? 0 : 1], [], op, kept);
    } else if (op.op === "for") {
      const [lower, upper, step] = op.args.slice(0, 3).map((v) => this.number(v));
      const inits = op.args.slice(3);
      if (lower !== undefined && upper !== undefined) {
        const runs = (i: Num): boolean => (op.attrs.down ? i > upper : i < upper);
        if (!runs(lower)) return op.results.forEach((r, i) => this.replace(r, inits[i]));
        const dtype = op.args[0].type.dtype;
        const moves = step !== undefined && (op.attrs.down ? step < 0 : step > 0);
        const second = moves ? binaryFunction("add", dtype)(lower, step) : undefined;
        if (second !== undefined && !runs(second)) return this.inline(op.regions[0], [op.args[0], ...inits], op, kept);
        if (dtype === "i32" && moves) {
          const [a, b] = [lower as number, (upper as number) + (op.attrs.down ? 1 : -1)];
          this.ranges.set(op.regions[0].args[0], [Math.min(a, b), Math.max(a, b)]);
        }
      }
    }
    this.invariants(op);
    for (const r of op.regions) this.block(r);
    kept.push(op);
  }

  /** Puts a region's ops in the place of its op. */
  private inline(region: Block, args: readonly Value[], op: Op, kept: Op[]): void {
    region.args.forEach((a, i) => this.replaced.set(a, args[i]));
    this.ops(region.ops.slice(0, -1), kept);
    const results = region.ops.at(-1)!.args.map((v) => this.resolve(v));
    op.results.forEach((r, i) => this.replace(r, results[i]));
  }

  /** A carried value that every turn hands on unchanged is its initial value. */
  private invariants(op: Op): void {
    const lead = op.op === "for" ? 3 : 0;
    if (op.op === "if") return;
    const yields = op.regions.map((r, n) => ({
      args: op.op === "for" ? r.args.slice(1) : r.args,
      out: r.ops.at(-1)!.args.slice(op.op === "while" && n === 0 ? 1 : 0),
    }));
    op.results.forEach((result, i) => {
      if (!yields.every(({ args, out }) => out[i] === args[i])) return;
      const init = op.args[lead + i];
      for (const { args } of yields) this.replaced.set(args[i], init);
      this.replace(result, init);
    });
  }

  private simplify(op: Op): Simpler {
    const info = OPS[op.op];
    const numbers = op.args.map((a) => this.number(a));
    if (info.elementwise && numbers.every((n) => n !== undefined)) {
      const value = evaluate(op, numbers);
      if (value !== undefined) return { constant: value };
    }
    return IDENTITIES[op.op]?.(this, op);
  }
}

function makeConstant(op: Op, value: Num): void {
  const { dtype } = op.results[0].type;
  op.op = "const";
  op.args = [];
  const x: Attr = dtype === "bool" ? Boolean(value) : value;
  op.attrs = { value: x };
}

/** An elementwise op on single numbers; undefined for ops that are not worth it. */
function evaluate(op: Op, args: readonly Num[]): Num | undefined {
  const from = op.args[0].type.dtype;
  const to = op.results[0].type.dtype;
  switch (op.op) {
    case "select":
      return args[0] ? args[1] : args[2];
    case "cast":
      return castScalar(from, to, args[0]);
    case "bitcast":
      return sameBits(from, to, args[0]);
    case "fma":
      return wrap(to, Number(args[0]) * Number(args[1]) + Number(args[2]));
    case "dot4":
    case "dot2":
    case "dotPairs":
    case "byteSign":
    case "byteLookup":
    case "pack4":
      return undefined;
  }
  return wrap(to, args.length === 1 ? unaryFunction(op.op, from)(args[0]) : binaryFunction(op.op, from)(args[0], args[1]));
}

/** A bitcast of one number. NaN results stay unfolded: a number of JavaScript does not keep which NaN it is. */
function sameBits(from: DType, to: DType, x: Num): Num | undefined {
  const bytes = new Uint8Array(DTYPE_BYTES[from]);
  new MemoryView("", from, bytes).set(0, x);
  const value = new MemoryView("", to, bytes).get(0);
  return Number.isNaN(Number(x)) || Number.isNaN(Number(value)) ? undefined : value;
}
