/** Buffers that are computed when they are first read. */
import type { DType } from "../compiler/ir/types.ts";
import { isFloat } from "../compiler/ir/types.ts";
import { defaultDevice } from "../compiler/default-device.ts";
import type { DTypeObject, Helper, Kernel } from "../compiler/language/index.ts";
import type { Arguments, Grid } from "../compiler/launch.ts";
import { DEFER } from "../compiler/launch.ts";
import { AlloyError } from "../support/errors.ts";
import { rowsShape } from "./builtin-shapes.ts";
import type { Explanation } from "./explain.ts";
import { explainWork } from "./explain.ts";
import type { HostArray, Nested } from "./host.ts";
import { dtypeOfArray, hostArray, nested } from "./host.ts";
import { deferLaunch } from "./launch.ts";
import { poolOf, Storage } from "./memory.ts";
import type { Reduction } from "./node.ts";
import { Node } from "./node.ts";
import { cast, mapped, pointwise, type PointwiseName } from "./pointwise.ts";
import { planWork, runWork } from "./schedule.ts";
import { bytesOf, checkShape, elementsOf, shapeText, type Shape } from "./shapes.ts";

export interface BufferOptions {
  shape?: Shape;
  /** What the elements are, when the array does not tell: a Uint16Array may hold bf16. */
  dtype?: DTypeObject;
}

/** A number, or a buffer whose shape broadcasts. */
export type LazyOperand = LazyBuffer | number;

/**
 * A lazy buffer with a copy of an array, of shape [length] unless one is given. Throws `bad_argument` when the shape has another number of elements.
 */
export function buffer(data: NodeJS.TypedArray, options: BufferOptions | Shape = {}): LazyBuffer {
  const { shape, dtype } = "length" in options ? { shape: options as Shape, dtype: undefined } : options;
  const own = dtypeOfArray(data);
  const type = dtype?.dtype ?? own;
  const array = hostArray(type, 0);
  if (array.BYTES_PER_ELEMENT !== data.BYTES_PER_ELEMENT)
    throw new AlloyError("bad_argument", `A ${data.constructor.name} cannot hold ${type}`, { hint: `Give a ${array.constructor.name}.` });
  const whole = checkShape(shape ?? [data.length], "buffer");
  if (elementsOf(whole) !== data.length) {
    throw new AlloyError("bad_argument", `buffer: shape ${shapeText(whole)} has ${elementsOf(whole)} elements, the array ${data.length}`, {
      hint: "Give a shape whose sizes multiply to the array's length.",
    });
  }
  const node = new Node({ kind: "data" }, [], whole, type);
  const storage = Storage.make(poolOf(defaultDevice()), data.byteLength);
  storage.block.view(0, data.byteLength).set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  node.resolve(storage);
  return new LazyBuffer(node);
}

/** Computes several buffers in one plan, so that what they share is computed once. */
export async function evaluate(...buffers: readonly LazyBuffer[]): Promise<void> {
  const nodes = buffers.map((b) => b.node);
  for (let waiting; (waiting = nodes.filter((n) => n.pending)).length > 0;) await Promise.allSettled(waiting.map((n) => n.pending));
  const missing = nodes.filter((n) => {
    n.checkUsable();
    return !n.storage;
  });
  if (!missing.length) return;
  const run = runWork(planWork(missing));
  for (const n of missing) n.pending = run;
  try {
    await run;
  } finally {
    for (const n of missing) n.pending = undefined;
  }
}

export class LazyBuffer {
  constructor(readonly node: Node) {}

  get shape(): Shape {
    return this.node.shape;
  }
  get dtype(): DType {
    return this.node.dtype;
  }
  /** Elements. */
  get length(): number {
    return elementsOf(this.shape);
  }

  /** Computes the buffer if it is not there yet, and copies its elements; bf16 as bits in a Uint16Array. */
  async read(): Promise<HostArray> {
    await evaluate(this);
    const array = hostArray(this.dtype, this.length);
    const bytes = bytesOf(this.shape, this.dtype);
    new Uint8Array(array.buffer).set(this.node.storage!.block.view(0, bytes));
    return array;
  }

  /** As `read`, as arrays within arrays of numbers: one for each axis, a number for shape []. */
  async array(): Promise<Nested> {
    return nested(await this.read(), this.dtype, this.shape);
  }

  /** The dispatches that a read would run now. */
  explain(): Explanation {
    this.node.checkUsable();
    return explainWork(planWork(this.node.storage ? [] : [this.node]));
  }

  /** Gives the memory back now rather than when the buffer is forgotten. The buffer, and what was to be computed from it, cannot be read any more. */
  free(): void {
    this.node.free();
  }

  /** Joins the launch of a kernel: it runs when one of its outputs is read. */
  [DEFER](kernel: Kernel, grid: Grid, args: Arguments): unknown {
    return deferLaunch(kernel, grid, args);
  }

  /** The same elements in another shape; one size may be -1. */
  reshape(...shape: readonly number[]): LazyBuffer {
    const known = shape.filter((n) => n !== -1).reduce((a, b) => a * b, 1);
    const free = shape.filter((n) => n === -1).length;
    const full = free === 1 && known > 0 ? shape.map((n) => (n === -1 ? this.length / known : n)) : [...shape];
    if (!full.every((n) => Number.isInteger(n) && n >= 0) || elementsOf(full) !== this.length) {
      throw new AlloyError("bad_argument", `reshape: ${shapeText(this.shape)} does not become ${shapeText(shape)}`, {
        hint: `It has ${this.length} elements.`,
      });
    }
    return new LazyBuffer(new Node({ kind: "reshape" }, [this.node], full, this.dtype));
  }

  /** A helper of the kernel language, elementwise: `x.map(fn((al, a, b) => a * b + 1), y)`. Half floats reach it as f32. */
  map(fn: Helper, ...others: readonly LazyOperand[]): LazyBuffer {
    return new LazyBuffer(mapped(fn, operandNodes([this, ...others])));
  }

  cast(dtype: DTypeObject): LazyBuffer {
    return new LazyBuffer(cast(this.node, dtype.dtype));
  }

  add(y: LazyOperand): LazyBuffer {
    return apply("add", this, y);
  }
  sub(y: LazyOperand): LazyBuffer {
    return apply("sub", this, y);
  }
  mul(y: LazyOperand): LazyBuffer {
    return apply("mul", this, y);
  }
  /** True division. */
  div(y: LazyOperand): LazyBuffer {
    return apply("div", this, y);
  }
  pow(y: LazyOperand): LazyBuffer {
    return apply("pow", this, y);
  }
  /** The larger of two; the number beside NaN. */
  maximum(y: LazyOperand): LazyBuffer {
    return apply("maximum", this, y);
  }
  /** The smaller of two; the number beside NaN. */
  minimum(y: LazyOperand): LazyBuffer {
    return apply("minimum", this, y);
  }
  /** Comparisons give bool. */
  less(y: LazyOperand): LazyBuffer {
    return apply("less", this, y);
  }
  lessEqual(y: LazyOperand): LazyBuffer {
    return apply("lessEqual", this, y);
  }
  greater(y: LazyOperand): LazyBuffer {
    return apply("greater", this, y);
  }
  greaterEqual(y: LazyOperand): LazyBuffer {
    return apply("greaterEqual", this, y);
  }
  equal(y: LazyOperand): LazyBuffer {
    return apply("equal", this, y);
  }
  notEqual(y: LazyOperand): LazyBuffer {
    return apply("notEqual", this, y);
  }
  neg(): LazyBuffer {
    return apply("neg", this);
  }
  abs(): LazyBuffer {
    return apply("abs", this);
  }
  square(): LazyBuffer {
    return apply("square", this);
  }
  sqrt(): LazyBuffer {
    return apply("sqrt", this);
  }
  /** 1 / sqrt(x) */
  rsqrt(): LazyBuffer {
    return apply("rsqrt", this);
  }
  exp(): LazyBuffer {
    return apply("exp", this);
  }
  exp2(): LazyBuffer {
    return apply("exp2", this);
  }
  log(): LazyBuffer {
    return apply("log", this);
  }
  log2(): LazyBuffer {
    return apply("log2", this);
  }
  sin(): LazyBuffer {
    return apply("sin", this);
  }
  cos(): LazyBuffer {
    return apply("cos", this);
  }
  tanh(): LazyBuffer {
    return apply("tanh", this);
  }
  erf(): LazyBuffer {
    return apply("erf", this);
  }
  sigmoid(): LazyBuffer {
    return apply("sigmoid", this);
  }
  floor(): LazyBuffer {
    return apply("floor", this);
  }
  ceil(): LazyBuffer {
    return apply("ceil", this);
  }
  /** To nearest, half to even. */
  round(): LazyBuffer {
    return apply("round", this);
  }
  trunc(): LazyBuffer {
    return apply("trunc", this);
  }
  relu(): LazyBuffer {
    return apply("relu", this);
  }
  silu(): LazyBuffer {
    return apply("silu", this);
  }
  /** Exact; geluTanh is its approximation. */
  gelu(): LazyBuffer {
    return apply("gelu", this);
  }
  geluTanh(): LazyBuffer {
    return apply("geluTanh", this);
  }
  /** Over the last axis, which is left out (`keep`: stays with size 1), or over `all` elements. */
  sum(options: ReduceOptions = {}): LazyBuffer {
    return reduce("sum", this, options);
  }
  mean(options: ReduceOptions = {}): LazyBuffer {
    return reduce("mean", this, options);
  }
  max(options: ReduceOptions = {}): LazyBuffer {
    return reduce("max", this, options);
  }
  min(options: ReduceOptions = {}): LazyBuffer {
    return reduce("min", this, options);
  }
}

export interface ReduceOptions {
  keep?: boolean;
  all?: boolean;
}

/** The nodes of operands; numbers take the type of the buffers beside them. */
export function operandNodes(operands: readonly LazyOperand[]): Node[] {
  const integers = operands.every((x) => (typeof x === "number" ? Number.isInteger(x) && Math.abs(x) < 2 ** 31 : !isFloat(x.dtype)));
  return operands.map((x) => {
    if (x instanceof LazyBuffer) return x.node;
    if (typeof x === "number") return new Node({ kind: "number", value: x }, [], [], integers ? "i32" : "f32");
    throw new AlloyError("bad_argument", `An operand must be a lazy buffer or a number, got ${typeof x}`, {
      hint: "Wrap arrays with buffer(array, shape).",
    });
  });
}

const apply = (name: PointwiseName, ...operands: readonly LazyOperand[]): LazyBuffer =>
  new LazyBuffer(pointwise(name, operandNodes(operands)));

function reduce(how: Reduction, x: LazyBuffer, { keep = false, all = false }: ReduceOptions): LazyBuffer {
  const input = floats(all ? x.reshape(x.length).node : x.node);
  const lead = rowsShape(input.shape, how).slice(0, -1);
  const node = new Node({ kind: "reduce", how }, [input], lead, input.dtype);
  return keep ? new LazyBuffer(node).reshape(...(all ? x.shape.map(() => 1) : [...lead, 1])) : new LazyBuffer(node);
}

/** What reductions and products compute with: f32, f16 and bf16 as they are, anything else as f32. */
export const floats = (n: Node): Node => (n.dtype === "f32" || n.dtype === "f16" || n.dtype === "bf16" ? n : cast(n, "f32"));
