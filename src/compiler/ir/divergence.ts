/**
 * Which values of a thread-level kernel differ between threads. Conservative: what is called uniform is the same in all threads that compute it
 * together; what is called varying may be the same by chance.
 */
import { OPS } from "./ops.ts";
import type { Block, KernelIR, Op, Value } from "./types.ts";

/** Same in the whole threadgroup, same in each simdgroup, or a thread's own. */
export type Divergence = 0 | 1 | 2;
export const UNIFORM = 0;
export const SIMD_UNIFORM = 1;
export const VARYING = 2;

const most = (...d: Divergence[]): Divergence => Math.max(UNIFORM, ...d) as Divergence;

/** Divergence of every value that is not uniform. Runs to a fixed point, since loops carry values. */
export class DivergenceAnalysis {
  private readonly values = new Map<Value, Divergence>();
  private changed = false;

  constructor(private readonly ir: KernelIR) {
    do {
      this.changed = false;
      this.block(ir.body);
    } while (this.changed);
  }

  of(v: Value): Divergence {
    return this.values.get(v) ?? UNIFORM;
  }

  /** Whether threads may disagree on how often or whether an op's regions run. */
  condition(op: Op): Divergence {
    if (op.op === "if") return this.of(op.args[0]);
    if (op.op === "for") return most(...op.args.slice(0, 3).map((a) => this.of(a)));
    return this.of(op.regions[0].ops.at(-1)!.args[0]);
  }

  private raise(v: Value, to: Divergence): void {
    if (to <= this.of(v)) return;
    this.values.set(v, to);
    this.changed = true;
  }

  /** Visits a block and returns the divergence of what it yields. */
  private block(block: Block): Divergence[] {
    for (const op of block.ops) {
      if (op.op === "yield") return op.args.map((a) => this.of(a));
      if (op.regions.length) this.control(op);
      else for (const r of op.results) this.raise(r, this.result(op));
    }
    return [];
  }

  private result(op: Op): Divergence {
    const args = most(...op.args.map((a) => this.of(a)));
    switch (op.op) {
      case "threadId":
        return (this.ir.threads?.[op.attrs.axis as number] ?? 1) > 1 ? VARYING : UNIFORM;
      case "laneId":
      case "atomic":
      case "simdScan":
        return VARYING;
      case "simdgroupId":
      case "simdReduce":
      case "simdBallot":
        return SIMD_UNIFORM;
      case "simdShuffle":
        return op.attrs.mode === "index" && this.of(op.args[1]) <= SIMD_UNIFORM ? SIMD_UNIFORM : VARYING;
      case "simdMma":
        return VARYING;
      case "load":
        return this.ir.params[op.attrs.param as number].kind === "local" ? VARYING : args;
    }
    return OPS[op.op].level ? VARYING : args;
  }

  private control(op: Op): void {
    if (op.op === "if") {
      const condition = this.of(op.args[0]);
      const ways = op.regions.map((r) => this.block(r));
      op.results.forEach((r, i) => this.raise(r, most(condition, ...ways.map((w) => w[i]))));
      return;
    }
    const inits = op.op === "for" ? op.args.slice(3) : op.args;
    const bodies = op.op === "for" ? [op.regions[0].args.slice(1)] : op.regions.map((r) => r.args);
    const bounds = op.op === "for" ? this.condition(op) : UNIFORM;
    if (op.op === "for") this.raise(op.regions[0].args[0], bounds);
    op.results.forEach((r, i) => {
      // Threads that leave a loop at different turns take different values with them.
      this.raise(r, most(this.of(inits[i]), this.condition(op)));
      for (const args of bodies) this.raise(args[i], this.of(r));
    });
    op.regions.forEach((region, n) => {
      const yielded = this.block(region);
      const out = op.op === "while" && n === 0 ? yielded.slice(1) : yielded;
      out.forEach((d, i) => this.raise(op.results[i], d));
    });
  }
}

/** The first op that threads must reach together but may not: a barrier or simd op under a condition that differs between them. */
export function divergentOp(ir: KernelIR): { op: Op; inside: Op } | undefined {
  if (!ir.threads) return undefined;
  const analysis = new DivergenceAnalysis(ir);
  const visit = (block: Block, outer: { op: Op; divergence: Divergence } | undefined): { op: Op; inside: Op } | undefined => {
    for (const op of block.ops) {
      const together = op.op === "barrier" ? UNIFORM : OPS[op.op].level === "simd" ? SIMD_UNIFORM : VARYING;
      if (outer && outer.divergence > together) return { op, inside: outer.op };
      if (!op.regions.length) continue;
      const own = analysis.condition(op);
      const next = own > (outer?.divergence ?? UNIFORM) ? { op, divergence: own } : outer;
      for (const r of op.regions) {
        const found = visit(r, next);
        if (found) return found;
      }
    }
    return undefined;
  };
  return visit(ir.body, undefined);
}
