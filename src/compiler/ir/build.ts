/** Appends ops to nested blocks, inferring result types from the op table. */
import type { Attr, Block, KernelIR, Loc, Op, Param, Value, ValueType } from "./types.ts";
import { OPS, sameShape } from "./ops.ts";
import type { DType } from "./types.ts";

export class Builder {
  readonly params: Param[] = [];
  readonly body: Block = { args: [], ops: [] };
  /** What the kernel is besides its body: threads, simdgroups, prints. */
  readonly facts: Pick<KernelIR, "threads" | "simdgroups" | "distinct" | "prints"> = {};
  /** Where the ops being built come from. */
  loc: Loc | undefined;
  private block: Block = this.body;
  private nextId = 0;

  value(type: ValueType, name?: string): Value {
    return name === undefined ? { id: this.nextId++, type } : { id: this.nextId++, type, name };
  }

  /** Appends an op whose result types the table knows and returns its results. Throws TypeRuleError. */
  emit(op: string, args: Value[], attrs: Record<string, Attr> = {}): Value[] {
    const types = OPS[op].infer!(
      args.map((a) => a.type),
      attrs,
      this.params,
    );
    return this.append(op, args, attrs, types, []).results;
  }

  /** `emit` for ops with one result. */
  one(op: string, args: Value[], attrs: Record<string, Attr> = {}): Value {
    return this.emit(op, args, attrs)[0];
  }

  /** A scalar, or a tile of one value. */
  const(type: ValueType, value: number | bigint | boolean): Value {
    return this.append("const", [], { value }, [type], []).results[0];
  }

  /** Appends an op with given result types: constants and ops with regions. */
  append(op: string, args: Value[], attrs: Record<string, Attr>, types: readonly ValueType[], regions: Block[]): Op {
    const results = types.map((t) => this.value(t));
    const o: Op = { op, args, results, attrs, regions };
    if (this.loc) o.loc = this.loc;
    this.block.ops.push(o);
    return o;
  }

  /** Runs `f` with new ops going to `block` (created with `args` if left out) and returns the block. */
  within(block: Block, f: () => void): Block {
    const outer = this.block;
    this.block = block;
    try {
      f();
    } finally {
      this.block = outer;
    }
    return block;
  }

  /** Moves ops built in a detached block to the end of the current one. */
  splice(ops: readonly Op[]): void {
    this.block.ops.push(...ops);
  }

  broadcast(x: Value, shape: readonly number[]): Value {
    return sameShape(x.type.shape, shape) ? x : this.one("broadcast", [x], { shape });
  }

  cast(x: Value, to: DType): Value {
    return x.type.dtype === to ? x : this.one("cast", [x], { to });
  }

  finish(name: string, constexprs: KernelIR["constexprs"], source?: string): KernelIR {
    return { name, params: this.params, body: this.body, constexprs, source, nextId: this.nextId, ...this.facts };
  }
}
