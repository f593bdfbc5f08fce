/** Checks that IR is well formed: what passes and emitters may rely on. Everything it finds is a bug of this compiler, not of a user. */
import { AlloyError } from "../../support/errors.ts";
import { OPS, sameType, TypeRuleError, typeText } from "./ops.ts";
import type { Block, KernelIR, Op, Value, ValueType } from "./types.ts";
import { isFloat, isInt, isMemory } from "./types.ts";

/**
 * Throws AlloyError `internal` naming the first broken rule: known ops with the right operands, attributes, result types and regions;
 * every value defined once, with an id of its own below `nextId`, and visible where it is used; regions ending in a matching `yield`.
 * `stage` says after which pass, for the message.
 */
export function verify(ir: KernelIR, stage = "lowering"): void {
  new Verifier(ir, stage).run();
}

const isScalarInt = (t: ValueType): boolean =>
  t.shape.length === 0 && (t.dtype === "i32" || t.dtype === "i64" || t.dtype === "u32" || t.dtype === "u64");

class Verifier {
  private readonly defined = new Set<Value>();
  private readonly ids = new Set<number>();
  private readonly visible = new Set<Value>();
  private op: Op | undefined;

  constructor(
    private readonly ir: KernelIR,
    private readonly stage: string,
  ) {}

  run(): void {
    this.threads();
    for (const p of this.ir.params) {
      this.need(isMemory(p) === (p.value === undefined), `parameter ${p.name}: memory has no value, others have one`);
      const own = p.kind === "shared" || p.kind === "local";
      const level = this.ir.threads !== undefined || this.ir.lanes !== undefined;
      this.need(p.kind !== "shared" || level, `parameter ${p.name}: shared memory in a kernel without threads`);
      const sized = Number.isSafeInteger(p.elements) && p.elements! > 0;
      this.need(own ? sized : p.elements === undefined, `parameter ${p.name} has ${p.elements} elements`);
      this.need((p.kind === "constant") === (p.constant !== undefined), `parameter ${p.name}: a constant, and nothing else, has a value`);
      if (p.value) {
        this.need(
          p.value.type.dtype === p.dtype && p.value.type.shape.length === 0,
          `parameter ${p.name} is ${typeText(p.value.type)}, declared ${p.dtype}`,
        );
        this.define(p.value);
      }
    }
    this.need(this.ir.body.args.length === 0, "the kernel's body has block arguments");
    this.block(this.ir.body, false);
  }

  private threads(): void {
    const { threads, simdgroups, lanes } = this.ir;
    const counts = [...(threads ?? []), ...(simdgroups === undefined ? [] : [simdgroups]), ...(lanes === undefined ? [] : [lanes])];
    this.need(
      counts.every((n) => Number.isSafeInteger(n) && n > 0),
      `${counts.join(", ")} are no counts of threads`,
    );
    this.need([threads, simdgroups, lanes].filter((x) => x !== undefined).length <= 1, "threads, simdgroups and lanes exclude each other");
  }

  private need(ok: boolean, message: string): void {
    if (ok) return;
    const at = this.op ? ` at ${this.op.op}${this.op.results.map((r) => ` %${r.id}`).join("")}` : "";
    throw new AlloyError("internal", `IR of kernel ${this.ir.name} after ${this.stage}${at}: ${message}`);
  }

  private define(v: Value): void {
    this.need(!this.defined.has(v), `%${v.id} is defined twice`);
    this.need(!this.ids.has(v.id), `two values have the id ${v.id}`);
    this.need(v.id >= 0 && v.id < this.ir.nextId, `%${v.id} is not below the next free id ${this.ir.nextId}`);
    this.need(
      v.type.shape.every((n) => Number.isSafeInteger(n) && n > 0),
      `%${v.id} has the shape [${v.type.shape.join(",")}]`,
    );
    this.defined.add(v);
    this.ids.add(v.id);
    this.visible.add(v);
  }

  /** Checks a block and returns the operands of its yield. Its values are out of sight afterwards. */
  private block(block: Block, region: boolean): Value[] {
    const owner = this.op;
    for (const a of block.args) this.define(a);
    for (const op of block.ops) {
      this.op = op;
      this.need(
        (op.op === "yield") === (region && op === block.ops.at(-1)),
        region ? "a region ends with its only yield" : "yield outside of a region",
      );
      this.check(op);
      for (const r of op.results) this.define(r);
    }
    this.op = owner;
    const last = block.ops.at(-1);
    this.need(!region || last?.op === "yield", "a region ends with a yield");
    for (const a of block.args) this.visible.delete(a);
    for (const op of block.ops) for (const r of op.results) this.visible.delete(r);
    return region ? last!.args : [];
  }

  private check(op: Op): void {
    const info = OPS[op.op];
    this.need(info !== undefined, `there is no op ${op.op}`);
    for (const a of op.args) this.need(this.visible.has(a), `operand %${a.id} is not defined here`);
    this.need(op.args.length >= info.args[0] && op.args.length <= info.args[1], `${op.args.length} operands`);
    this.need(op.regions.length === (info.regions ?? 0), `${op.regions.length} regions`);
    const level = this.ir.threads !== undefined || (this.ir.lanes !== undefined && info.level === "simd");
    this.need(info.level === undefined || level, "an op of the thread level in a kernel without threads");
    if (op.op === "const") return this.constant(op);
    if (op.op === "for") return this.forLoop(op);
    if (op.op === "while") return this.whileLoop(op);
    if (op.op === "if") return this.branch(op);
    this.match(this.inferred(op), op.results, "results are typed");
  }

  private inferred(op: Op): ValueType[] {
    try {
      const types = op.args.map((a) => a.type);
      return OPS[op.op].infer?.(types, op.attrs, this.ir.params) ?? [];
    } catch (e) {
      if (e instanceof TypeRuleError) this.need(false, e.message);
      throw e;
    }
  }

  private match(wanted: readonly ValueType[], values: readonly Value[], what: string): void {
    const ok = wanted.length === values.length && wanted.every((t, i) => sameType(t, values[i].type));
    this.need(ok, `${what} (${values.map((v) => typeText(v.type)).join(", ")}), expected (${wanted.map(typeText).join(", ")})`);
  }

  private constant(op: Op): void {
    this.need(op.results.length === 1, "a constant has one result");
    const { dtype } = op.results[0].type;
    const { value } = op.attrs;
    const wide = dtype === "i64" || dtype === "u64";
    const ok =
      dtype === "bool"
        ? typeof value === "boolean"
        : wide
          ? typeof value === "bigint"
          : typeof value === "number" && (isFloat(dtype) || (isInt(dtype) && Number.isInteger(value)));
    this.need(ok, `${String(value)} is no constant of ${dtype}`);
  }

  private forLoop(op: Op): void {
    const [lower, upper, step, ...inits] = op.args;
    this.need(
      [lower, upper, step].every((v) => isScalarInt(v.type) && sameType(v.type, lower.type)),
      "bounds and step must be scalars of one integer type",
    );
    this.need(typeof op.attrs.down === "boolean", "attribute down must be a boolean");
    const carried = inits.map((v) => v.type);
    const [body] = op.regions;
    this.match([lower.type, ...carried], body.args, "block arguments are");
    this.match(carried, this.block(body, true), "the body yields");
    this.match(carried, op.results, "results are typed");
  }

  private whileLoop(op: Op): void {
    const carried = op.args.map((v) => v.type);
    const [condition, body] = op.regions;
    this.match(carried, condition.args, "the condition's arguments are");
    this.match([{ dtype: "bool", shape: [] }, ...carried], this.block(condition, true), "the condition yields");
    this.match(carried, body.args, "the body's arguments are");
    this.match(carried, this.block(body, true), "the body yields");
    this.match(carried, op.results, "results are typed");
  }

  private branch(op: Op): void {
    this.match([{ dtype: "bool", shape: [] }], op.args, "the condition is");
    const types = op.results.map((r) => r.type);
    for (const r of op.regions) {
      this.need(r.args.length === 0, "a way of an if has no arguments");
      this.match(types, this.block(r, true), "a way yields");
    }
  }
}
