/** How the threads of a threadgroup lie on the last axes of lockstep values. */
import type { Builder } from "../ir/build.ts";
import type { KernelIR, Op, Value } from "../ir/types.ts";
import { elements, SIMD_WIDTH } from "../ir/types.ts";
import { OPS } from "../ir/ops.ts";
import { definitions, walk } from "../ir/walk.ts";

interface Axis {
  size: number;
  /** Axis of the threadgroup that it is a part of, and how much one step on it adds to that thread id. */
  of: number;
  stride: number;
}

/**
 * Thread axes, slowest first: z, y, x, where x may be cut further, so that lane numbers and `threadId(0) % c` are axes of their own. Index
 * arithmetic then stays linear in the axes, which lets the C target find rows that lie side by side in memory.
 */
export class Layout {
  readonly axes: readonly Axis[];
  readonly shape: readonly number[];
  readonly count: number;
  private readonly defined: ReadonlyMap<Value, Op>;

  constructor(private readonly ir: KernelIR) {
    this.defined = definitions(ir);
    const threads = ir.threads!;
    const axes: Axis[] = [];
    for (const of of [2, 1]) if (threads[of] > 1) axes.push({ size: threads[of], of, stride: 1 });
    const cuts = [...this.cuts(), threads[0]];
    let inner = 1;
    const parts: Axis[] = [];
    for (const cut of cuts) {
      if (cut > inner) parts.unshift({ size: cut / inner, of: 0, stride: inner });
      inner = cut;
    }
    this.axes = [...axes, ...parts];
    if (!this.axes.length) this.axes = [{ size: 1, of: 0, stride: 1 }];
    this.shape = this.axes.map((a) => a.size);
    this.count = elements(this.shape);
  }

  /** Sizes at which axis x is cut: ascending, each dividing the next. */
  private cuts(): number[] {
    const wanted = new Set<number>();
    const [x] = this.ir.threads!;
    walk(this.ir.body, (op) => {
      if (OPS[op.op].level === "simd" || op.op === "laneId" || op.op === "simdgroupId") wanted.add(SIMD_WIDTH);
      const part = this.part(op);
      if (part) wanted.add(part.size);
    });
    const chain: number[] = [];
    for (const n of [...wanted].sort((a, b) => a - b)) if (n > 1 && n < x && x % n === 0 && n % (chain.at(-1) ?? 1) === 0) chain.push(n);
    return chain;
  }

  /** `threadId(0) % size` or `threadId(0) / size` in any of their forms. */
  private part(op: Op): { size: number; low: boolean } | undefined {
    const id = op.args[0] && this.defined.get(op.args[0]);
    const by = op.args[1] && this.defined.get(op.args[1]);
    if (id?.op !== "threadId" || id.attrs.axis !== 0 || by?.op !== "const") return undefined;
    const n = Number(by.attrs.value);
    if (op.op === "rem" || op.op === "div") return n > 1 ? { size: n, low: op.op === "rem" } : undefined;
    if (op.op === "and") return n > 0 && (n & (n + 1)) === 0 ? { size: n + 1, low: true } : undefined;
    return op.op === "shr" && n > 0 && n < 10 ? { size: 1 << n, low: false } : undefined;
  }

  /** The op's result as a sum over axes, if it is the thread's position or a part of it that the cuts provide. */
  position(b: Builder, op: Op): Value | undefined {
    const [x, y, z] = this.ir.threads!;
    switch (op.op) {
      case "threadId":
        return this.sum(b, (a) => (a.of === op.attrs.axis ? a.stride : 0));
      case "laneId":
        if (x === SIMD_WIDTH || (x % SIMD_WIDTH === 0 && this.isCut(SIMD_WIDTH)))
          return this.sum(b, (a) => (a.of === 0 && a.stride < SIMD_WIDTH ? a.stride : 0));
        return b.one("and", [this.linear(b), this.all(b, SIMD_WIDTH - 1)]);
      case "simdgroupId":
        if (y * z === 1 && this.isCut(SIMD_WIDTH)) return this.sum(b, (a) => (a.stride >= SIMD_WIDTH ? a.stride / SIMD_WIDTH : 0));
        return b.one("shr", [this.linear(b), this.all(b, Math.log2(SIMD_WIDTH))]);
    }
    const part = this.part(op);
    if (!part || !this.isCut(part.size)) return undefined;
    const { size, low } = part;
    return this.sum(b, (a) => (a.of !== 0 || a.stride < size !== low ? 0 : low ? a.stride : a.stride / size));
  }

  /** Index of a thread in its threadgroup. */
  linear(b: Builder): Value {
    const [x, y] = this.ir.threads!;
    const scale = [1, x, x * y];
    return this.sum(b, (a) => a.stride * scale[a.of]);
  }

  private isCut(size: number): boolean {
    return this.axes.some((a) => a.of === 0 && a.stride === size);
  }

  /** One number in every thread. */
  all(b: Builder, n: number): Value {
    return b.broadcast(b.const({ dtype: "i32", shape: [] }, n), this.shape);
  }

  /** Sum over axes of position times factor. */
  private sum(b: Builder, factor: (a: Axis) => number): Value {
    let sum: Value | undefined;
    this.axes.forEach((axis, i) => {
      const f = factor(axis);
      if (f === 0 || axis.size === 1) return;
      const one = this.shape.map((n, k) => (k === i ? n : 1));
      const index = b.one("reshape", [b.one("arange", [], { start: 0, n: axis.size })], { shape: one });
      let term = b.broadcast(index, this.shape);
      if (f !== 1) term = b.one("mul", [term, this.all(b, f)]);
      sum = sum ? b.one("add", [sum, term]) : term;
    });
    return sum ?? this.all(b, 0);
  }
}
