/** State of one kernel's compilation and the steps every part of it shares: errors at the user's line, constants, conversions, broadcasting. */
import type * as ES from "estree";
import type { AlloyError } from "../../support/errors.ts";
import { Builder } from "../ir/build.ts";
import { broadcastShapes, TypeRuleError, typeText } from "../ir/ops.ts";
import type { Attr, DType, Value, ValueType } from "../ir/types.ts";
import { isFloat } from "../ir/types.ts";
import { Journal } from "./scope.ts";
import type { Source } from "./source.ts";
import { locOf, sourceError } from "./source.ts";
import type { Cell, CT, Numeric } from "./values.ts";
import { describe } from "./values.ts";
import { adapt, computeType, literalType, promote } from "./promote.ts";

export class Compiler {
  readonly builder = new Builder();
  readonly journal = new Journal();
  /** Sources being compiled, innermost helper last, each with the call that led to it. */
  readonly sources: { source: Source; call?: ES.Node; body?: ES.Node }[];
  /**
   * Values whose type nobody chose: they stand for literals, alone or combined. Inside a loop that carries `let acc = 0`, acc is
   * such a value until a turn shows what is added to it.
   */
  readonly untyped = new WeakSet<Value>();
  /** Expression or statement being compiled: where an error is. */
  node: ES.Node | undefined;

  constructor(source: Source) {
    this.sources = [{ source }];
  }

  /** Sets the current node; ops get the place in the kernel's own text, calls of helpers included. */
  at(node: ES.Node): void {
    this.node = node;
    if (this.sources.length === 1) this.builder.loc = locOf(node);
  }

  /** An error at `node` (default: the current one). In a helper the message says who called it. */
  fail(message: string, hint?: string, node: ES.Node | undefined = this.node): never {
    throw this.error(message, hint, node);
  }

  private error(message: string, hint: string | undefined, node: ES.Node | undefined): AlloyError {
    const { source } = this.sources.at(-1)!;
    const kernel = this.sources[0].source;
    const via = source === kernel ? "" : `, called from ${kernel.title}`;
    return sourceError(via ? { ...source, title: source.title + via } : source, node, message, hint);
  }

  cell(name: string, value: CT, constant = false): Cell {
    return { name, value, depth: this.journal.depth, constant };
  }

  /** Emits an op with one result; a broken typing rule becomes an error at the user's line. */
  emit(op: string, args: Value[], attrs: Record<string, Attr> = {}, name: string = op): Value {
    const result = this.checked(name, () => this.builder.one(op, args, attrs));
    if (args.length > 0 && args.every((a) => this.untyped.has(a)) && op !== "cast" && op !== "bitcast") this.untyped.add(result);
    return result;
  }

  /** Emits an op without results. */
  effect(op: string, args: Value[], attrs: Record<string, Attr>, name: string): void {
    this.checked(name, () => this.builder.emit(op, args, attrs));
  }

  private checked<T>(name: string, f: () => T): T {
    try {
      return f();
    } catch (e) {
      if (e instanceof TypeRuleError) this.fail(`${name}: ${e.message}`);
      throw e;
    }
  }

  /** A value of `dtype` (default: the value's own, or what a literal is alone), converted as `al.cast` does. */
  toValue(x: Numeric, dtype?: DType): Value {
    if (x.kind === "value") return dtype === undefined ? x.value : this.convert(x.value, dtype);
    const to = dtype ?? literalType(x.value);
    const value = this.constant({ dtype: to, shape: [] }, x.value as number | boolean);
    this.untyped.add(value);
    return value;
  }

  constant(type: ValueType, value: number | boolean): Value {
    const { dtype } = type;
    if (dtype === "bool") return this.builder.const(type, Boolean(value) && !Number.isNaN(value));
    const n = Number(value);
    if (isFloat(dtype)) return this.builder.const(type, n);
    if (!Number.isInteger(n))
      this.fail(`${n} is no integer, but ${typeText(type)} is wanted here`, "Write an integer, or give a float type.");
    return this.builder.const(type, dtype === "i64" || dtype === "u64" ? BigInt(n) : n);
  }

  convert(x: Value, dtype: DType): Value {
    return this.builder.cast(x, dtype);
  }

  /** Broadcasts values to one shape, or fails naming all shapes. */
  broadcast(values: readonly Value[], what: string): Value[] {
    let shape: readonly number[] = [];
    for (const v of values) {
      const next = broadcastShapes(shape, v.type.shape);
      if (!next) {
        const shapes = values.filter((x) => x.type.shape.length > 0).map((x) => `[${x.type.shape.join(",")}]`);
        this.fail(
          `${what}: shapes ${shapes.join(" and ")} do not broadcast`,
          "Aligned at the last axis, sizes must be equal or 1: use al.col, al.row or al.expand.",
        );
      }
      shape = next;
    }
    return values.map((v) => this.builder.broadcast(v, shape));
  }

  broadcastTo(x: Value, shape: readonly number[], what: string): Value {
    const to = broadcastShapes(x.type.shape, shape);
    if (!to || to.length !== shape.length || to.some((n, i) => n !== shape[i])) {
      this.fail(`${what}: shape [${x.type.shape.join(",")}] does not broadcast to [${shape.join(",")}]`);
    }
    return this.builder.broadcast(x, shape);
  }

  /** Type that operands meet in. With `widen`, 8- and 16-bit integers become i32 as in C. */
  commonType(operands: readonly Numeric[], widen: boolean): DType {
    let type: DType | undefined;
    for (const x of operands) {
      if (x.kind !== "value") continue;
      const d = x.value.type.dtype;
      type = type === undefined ? d : promote(type, d);
    }
    if (type === undefined) return operands.map((x) => literalType((x as { value: number | boolean }).value)).reduce(promote);
    if (widen && !isFloat(type)) type = computeType(type);
    for (const x of operands) if (x.kind === "literal") type = adapt(x.value as number | boolean, type);
    return type;
  }

  /** The operand as a number or boolean, known or not. */
  numeric(x: CT, what: string, node?: ES.Node): Numeric {
    if (x.kind === "value") return x;
    if (x.kind === "literal" && (typeof x.value === "number" || typeof x.value === "boolean")) return x;
    if (x.kind === "poison") this.fail(x.reason, undefined, node);
    const hint = x.kind === "pointer" ? "Read memory with al.load(p)." : x.kind === "array" ? "Index it, or take it apart." : undefined;
    return this.fail(`${what} must be a number or a tile, got ${describe(x)}`, hint, node);
  }

  /** The operand as a compile-time integer. */
  integer(x: CT, what: string): number {
    if (x.kind === "literal" && typeof x.value === "number" && Number.isInteger(x.value)) return x.value;
    return this.fail(
      `${what} must be an integer known at compile time, got ${describe(x)}`,
      "Use a literal, a constexpr parameter or an al.unroll variable.",
    );
  }

  /** The operand as a shape: a compile-time integer or array of them. */
  shape(x: CT, what: string): number[] {
    const items = x.kind === "array" ? x.cells.map((cell) => this.integer(cell.value, what)) : [this.integer(x, what)];
    for (const n of items) if (n < 1) this.fail(`${what}: a size must be at least 1, got ${n}`, "Tiles have at least one element.");
    return items;
  }
}
