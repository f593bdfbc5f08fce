/**
 * Executes tile IR on host memory. This defines what every op means; every target is compared with it.
 * Programs of the grid run one after the other, axis 0 fastest.
 */
import { AlloyError } from "../../support/errors.ts";
import type { Block, KernelIR, Loc, Op, Param, Value } from "./types.ts";
import { elements } from "./types.ts";
import { OPS } from "./ops.ts";
import type { Num } from "./scalar.ts";
import { binaryFunction, castScalar, unaryFunction, wrap } from "./scalar.ts";
import type { Elements, HostMemory } from "./memory.ts";
import { allocate, MemoryView } from "./memory.ts";
import { SHAPE_RULES } from "./interpret-shape.ts";

export type { HostMemory } from "./memory.ts";
export type InterpreterArgs = Readonly<Record<string, HostMemory | number | bigint | boolean>>;

/**
 * Runs `ir` for every program of `grid` on `args` (by parameter name). Pointers given as typed arrays or as address + bytes are bounds-checked.
 * Throws AlloyError `kernel_error` for an access outside a buffer and `bad_argument` for missing arguments.
 */
export function interpret(ir: KernelIR, grid: readonly number[], args: InterpreterArgs): void {
  const size = [grid[0] ?? 1, grid[1] ?? 1, grid[2] ?? 1] as const;
  const machine = new Machine(ir, size, args);
  for (let z = 0; z < size[2]; z++) for (let y = 0; y < size[1]; y++) for (let x = 0; x < size[0]; x++) machine.program([x, y, z]);
}

export class Machine {
  private readonly values: Elements[] = [];
  private readonly memory: (MemoryView | undefined)[];
  private position: readonly number[] = [0, 0, 0];

  constructor(
    readonly ir: KernelIR,
    readonly grid: readonly number[],
    args: InterpreterArgs,
  ) {
    this.memory = ir.params.map((p) => this.bind(p, args[p.name]));
  }

  program(position: readonly number[]): void {
    this.position = position;
    this.block(this.ir.body);
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

  private bind(p: Param, arg: InterpreterArgs[string] | undefined): MemoryView | undefined {
    if (p.kind === "constant") {
      const data = allocate(p.dtype, 1);
      data[0] = wrap(p.dtype, Number(p.constant));
      this.set(p.value!, data);
      return undefined;
    }
    if (arg === undefined) throw new AlloyError("bad_argument", `${this.ir.name}: argument ${p.name} is missing`);
    if (p.kind === "ptr") {
      if (typeof arg !== "object") {
        throw new AlloyError("bad_argument", `${this.ir.name}: argument ${p.name} must be a typed array or a buffer, got ${typeof arg}`);
      }
      return new MemoryView(p.name, p.dtype, arg);
    }
    if (typeof arg === "object") throw new AlloyError("bad_argument", `${this.ir.name}: argument ${p.name} must be a number`);
    const data = allocate(p.dtype, 1);
    data[0] = wrap(p.dtype, typeof arg === "boolean" ? Number(arg) : arg);
    this.set(p.value!, data);
    return undefined;
  }

  /** Runs a block and returns the operands of its `yield`. */
  private block(block: Block): Elements[] {
    for (const op of block.ops) {
      if (op.op === "yield") return op.args.map((a) => this.get(a));
      this.run(op);
    }
    return [];
  }

  private run(op: Op): void {
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
  private at(op: Op, offset: Num, i: number): number {
    const n = Number(offset);
    const index = op.attrs.param as number;
    const length = this.memory[index]!.length;
    if (n >= 0 && n < length) return n;
    const what = `${op.op} of ${this.ir.params[index].name}[${n}] is outside its ${length} elements`;
    throw new AlloyError(
      "kernel_error",
      `kernel ${this.ir.name}: ${what} (program ${this.position.join(", ")}, element ${i} of the tile)${sourceLine(this.ir, op.loc)}`,
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
      if (!mask || mask[i]) out[i] = memory.get(this.at(op, offset![i], i));
      else if (other) out[i] = other[i];
    }
  }

  store(op: Op): void {
    const [offset, value, mask] = op.args.map((v) => this.get(v)) as (Elements | undefined)[];
    const memory = this.memory[op.attrs.param as number]!;
    for (let i = 0; i < offset!.length; i++) if (!mask || mask[i]) memory.set(this.at(op, offset![i], i), value![i]);
  }

  programId(op: Op): void {
    this.result(op)[0] = this.position[op.attrs.axis as number];
  }

  private assign(targets: readonly Value[], data: readonly Elements[]): void {
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
  const line = loc && ir.source?.split("\n")[loc.line - 1];
  return line === undefined ? "" : `\n  ${line.trim()}`;
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
