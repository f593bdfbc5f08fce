/** Runs the ops of tile IR one after the other: a program of a tile-level kernel, or one thread (interpret-threads.ts). */
import { AlloyError } from "../../support/errors.ts";
import type { Bound } from "./interpret.ts";
import { sourceText } from "./source.ts";
import type { Block, KernelIR, Loc, Op, Value } from "./types.ts";
import { elements } from "./types.ts";
import { OPS } from "./ops.ts";
import type { Num } from "./scalar.ts";
import { binaryFunction, castScalar, unaryFunction, wrap } from "./scalar.ts";
import type { Elements, MemoryView, OwnMemory } from "./memory.ts";
import { allocate, ownMemory } from "./memory.ts";
import { SHAPE_RULES } from "./interpret-shape.ts";

/** How an op touches memory. */
export type Access = "read" | "write" | "atomic";

export class Machine {
  private readonly values: Elements[];
  protected readonly memory: (MemoryView | undefined)[];
  protected position: readonly number[] = [0, 0, 0];
  private readonly locals = new Map<number, OwnMemory>();

  constructor(
    readonly ir: KernelIR,
    readonly grid: readonly number[],
    bound: Bound,
  ) {
    this.memory = [...bound.memory];
    this.values = [...bound.values];
  }

  program(position: readonly number[]): void {
    this.position = position;
    this.declareLocals();
    this.block(this.ir.body);
  }

  /** Local memory as a program or a thread finds it: empty. */
  protected declareLocals(): void {
    this.ir.params.forEach((p, i) => {
      if (p.kind !== "local") return;
      const own = ownMemory(p);
      this.locals.set(i, own);
      this.memory[i] = own.view;
    });
  }

  /** Who runs, for messages. */
  protected where(): string {
    return `program ${this.position.join(", ")}`;
  }

  /** Told of every element that is about to be accessed. */
  protected accessing(op: Op, index: number, access: Access): void {
    const own = this.locals.get(op.attrs.param as number);
    if (own) this.track(own, op, index, access);
  }

  /** Declared memory holds nothing before something was stored to it. */
  protected track(own: OwnMemory, op: Op, index: number, access: Access): void {
    if (access !== "write" && !own.written[index]) {
      this.fail(
        op,
        `${op.op} of ${this.ir.params[op.attrs.param as number].name}[${index}], which was never written`,
        "Store to it first (with al.barrier() between, if another thread does): declared memory holds nothing.",
      );
    }
    own.written[index] = 1;
  }

  protected fail(op: Op, what: string, hint: string): never {
    throw new AlloyError("kernel_error", `kernel ${this.ir.name}: ${what} (${this.where()})${sourceLine(this.ir, op.loc)}`, { hint });
  }

  get(v: Value): Elements {
    return this.values[v.id];
  }

  set(v: Value, data: Elements): void {
    this.values[v.id] = data;
  }

  /** Fresh storage for a result. */
  result(op: Op): Elements {
    const { dtype, shape } = op.results[0].type;
    return (this.values[op.results[0].id] = allocate(dtype, elements(shape)));
  }

  /** Runs a block and returns the operands of its `yield`. */
  protected block(block: Block): Elements[] {
    for (const op of block.ops) {
      if (op.op === "yield") return op.args.map((a) => this.get(a));
      this.run(op);
    }
    return [];
  }

  protected run(op: Op): void {
    const rule = RULES[op.op] ?? SHAPE_RULES[op.op];
    if (rule) return rule(this, op);
    const info = OPS[op.op];
    if (!info?.elementwise) throw new AlloyError("internal", `the interpreter has no rule for op ${op.op}`);
    const out = this.result(op);
    const { dtype } = op.args[0].type;
    const to = op.results[0].type.dtype;
    const a = this.get(op.args[0]);
    if (op.args.length === 1) {
      const f = unaryFunction(op.op, dtype);
      for (let i = 0; i < out.length; i++) out[i] = wrap(to, f(a[i]));
    } else {
      const b = this.get(op.args[1]);
      const f = binaryFunction(op.op, dtype);
      for (let i = 0; i < out.length; i++) out[i] = wrap(to, f(a[i], b[i]));
    }
  }

  /** Checked position of element `i` of a memory op. */
  private element(op: Op, offset: Num, i: number, access: Access): number {
    const n = Number(offset);
    const index = op.attrs.param as number;
    const length = this.memory[index]!.length;
    if (n >= 0 && n < length) {
      this.accessing(op, n, access);
      return n;
    }
    const what = `${op.op} of ${this.ir.params[index].name}[${n}] is outside its ${length} elements`;
    throw new AlloyError(
      "kernel_error",
      `kernel ${this.ir.name}: ${what} (${this.where()}, element ${i} of the tile)${sourceLine(this.ir, op.loc)}`,
      {
        hint: "Give the access a mask that is false outside the buffer, or pass a larger buffer.",
      },
    );
  }

  load(op: Op): void {
    const [offset, mask, other] = op.args.map((v) => this.get(v)) as (Elements | undefined)[];
    const out = this.result(op);
    const memory = this.memory[op.attrs.param as number]!;
    for (let i = 0; i < out.length; i++) {
      if (!mask || mask[i]) out[i] = memory.get(this.element(op, offset![i], i, "read"));
      else if (other) out[i] = other[i];
    }
  }

  store(op: Op): void {
    const [offset, value, mask] = op.args.map((v) => this.get(v)) as (Elements | undefined)[];
    const memory = this.memory[op.attrs.param as number]!;
    for (let i = 0; i < offset!.length; i++) if (!mask || mask[i]) memory.set(this.element(op, offset![i], i, "write"), value![i]);
  }

  atomic(op: Op): void {
    const operands = op.args.map((v) => this.get(v));
    const kind = op.attrs.kind as string;
    const mask = op.attrs.masked ? operands.pop() : undefined;
    const [offset, first, second] = operands;
    const memory = this.memory[op.attrs.param as number]!;
    const { dtype } = op.results[0].type;
    const out = this.result(op);
    const step = kind === "cas" || kind === "xchg" ? undefined : binaryFunction(kind, dtype);
    for (let i = 0; i < out.length; i++) {
      if (mask && !mask[i]) continue;
      const at = this.element(op, offset[i], i, "atomic");
      const old = memory.get(at);
      out[i] = old;
      if (step) memory.set(at, wrap(dtype, step(old, first[i])));
      else if (kind === "xchg") memory.set(at, first[i]);
      else if (Object.is(old, first[i])) memory.set(at, second[i]);
    }
  }

  programId(op: Op): void {
    this.result(op)[0] = this.position[op.attrs.axis as number];
  }

  protected assign(targets: readonly Value[], data: readonly Elements[]): void {
    targets.forEach((v, i) => this.set(v, data[i]));
  }

  forLoop(op: Op): void {
    const [lower, upper, step] = op.args.slice(0, 3).map((v) => this.get(v)[0]);
    const dtype = op.args[0].type.dtype;
    const [body] = op.regions;
    let carried = op.args.slice(3).map((v) => this.get(v));
    const add = binaryFunction("add", dtype);
    const inside = (iv: Num): boolean => (op.attrs.down ? iv > upper : iv < upper);
    if (inside(lower) && (op.attrs.down ? step >= 0 : step <= 0)) {
      throw new AlloyError(
        "kernel_error",
        `kernel ${this.ir.name}: the step of this loop is ${step}, it would never end${sourceLine(this.ir, op.loc)}`,
      );
    }
    for (let iv = lower; inside(iv); iv = add(iv, step)) {
      const index = allocate(dtype, 1);
      index[0] = iv;
      this.assign(body.args, [index, ...carried]);
      carried = this.block(body);
    }
    this.assign(op.results, carried);
  }

  whileLoop(op: Op): void {
    const [condition, body] = op.regions;
    let carried = op.args.map((v) => this.get(v));
    for (;;) {
      this.assign(condition.args, carried);
      const [go, ...next] = this.block(condition);
      carried = next;
      if (!go[0]) break;
      this.assign(body.args, carried);
      carried = this.block(body);
    }
    this.assign(op.results, carried);
  }

  branch(op: Op): void {
    this.assign(op.results, this.block(op.regions[this.get(op.args[0])[0] ? 0 : 1]));
  }
}

/** The line of the user's source that `loc` points at, for messages. */
export function sourceLine(ir: KernelIR, loc: Loc | undefined): string {
  const line = sourceText(ir.source, loc);
  return line && `\n  ${line}`;
}

const RULES: Readonly<Record<string, (m: Machine, op: Op) => void>> = {
  const: (m, op) => {
    const { dtype } = op.results[0].type;
    const value = op.attrs.value as Num | boolean;
    const out = m.result(op);
    const x = wrap(dtype, typeof value === "boolean" ? Number(value) : value);
    for (let i = 0; i < out.length; i++) out[i] = x;
  },
  programId: (m, op) => m.programId(op),
  numPrograms: (m, op) => {
    m.result(op)[0] = m.grid[op.attrs.axis as number];
  },
  arange: (m, op) => {
    const out = m.result(op);
    for (let i = 0; i < out.length; i++) out[i] = (op.attrs.start as number) + i;
  },
  load: (m, op) => m.load(op),
  store: (m, op) => m.store(op),
  prefetch: () => {},
  atomic: (m, op) => m.atomic(op),
  for: (m, op) => m.forLoop(op),
  while: (m, op) => m.whileLoop(op),
  if: (m, op) => m.branch(op),
  select: (m, op) => {
    const [c, a, b] = op.args.map((v) => m.get(v));
    const out = m.result(op);
    for (let i = 0; i < out.length; i++) out[i] = c[i] ? a[i] : b[i];
  },
  fma: (m, op) => {
    const [a, b, c] = op.args.map((v) => m.get(v));
    const out = m.result(op);
    for (let i = 0; i < out.length; i++) out[i] = (a[i] as number) * (b[i] as number) + (c[i] as number);
  },
  cast: (m, op) => {
    const x = m.get(op.args[0]);
    const [from, to] = [op.args[0].type.dtype, op.results[0].type.dtype];
    const out = m.result(op);
    for (let i = 0; i < out.length; i++) out[i] = castScalar(from, to, x[i]);
  },
};
