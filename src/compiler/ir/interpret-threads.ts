/**
 * The interpreter at the thread level: every thread runs by itself from one meeting point (barrier, simdgroup operation) to the next, and
 * what a run can show is checked: meeting points that some threads miss, races, memory read before it was written.
 */
import { AlloyError } from "../../support/errors.ts";
import { AccessLog, GroupLog } from "./access-log.ts";
import type { Bound } from "./interpret.ts";
import type { Access } from "./machine.ts";
import { Machine, sourceLine } from "./machine.ts";
import { runSimd } from "./interpret-simd.ts";
import type { Elements, OwnMemory } from "./memory.ts";
import { allocate, ownMemory } from "./memory.ts";
import { OPS } from "./ops.ts";
import { binaryFunction } from "./scalar.ts";
import type { Num } from "./scalar.ts";
import type { Block, KernelIR, Op } from "./types.ts";
import { elements, SIMD_WIDTH } from "./types.ts";
import { walk } from "./walk.ts";

/** Ops at which threads meet. */
const isMeeting = (op: Op): boolean => op.op === "barrier" || OPS[op.op].level === "simd";

/** Runs the threadgroups of a launch, one after the other. */
export class Threadgroup {
  /** Ops with a meeting point inside: their regions run as coroutines. */
  readonly meets = new Set<Op>();
  readonly shared = new Map<number, OwnMemory>();
  /** By parameter: accesses since the last barrier. */
  readonly logs = new Map<number, AccessLog>();
  /** By parameter: accesses of all threadgroups. */
  readonly groups = new Map<number, GroupLog>();
  group = 0;
  readonly simdEpochs: number[] = [];

  constructor(
    readonly ir: KernelIR,
    readonly grid: readonly number[],
    readonly bound: Bound,
  ) {
    walk(ir.body, (op) => {
      let inside = false;
      for (const r of op.regions) walk(r, (o) => (inside ||= isMeeting(o)));
      if (inside) this.meets.add(op);
    });
    ir.params.forEach((p, i) => {
      if (p.kind === "ptr") this.groups.set(i, new GroupLog());
    });
  }

  program(position: readonly number[]): void {
    this.shared.clear();
    this.logs.clear();
    this.group++;
    this.ir.params.forEach((p, i) => {
      if (p.kind === "shared") this.shared.set(i, ownMemory(p));
      if (p.kind === "shared" || p.kind === "ptr") this.logs.set(i, new AccessLog(this.simdEpochs));
    });
    const threads = Array.from({ length: elements(this.ir.threads!) }, (_, n) => new Thread(this, position, n));
    this.simdEpochs.length = 0;
    for (let n = 0; n < threads.length; n += SIMD_WIDTH) this.simdEpochs.push(0);
    for (const t of threads) t.advance();
    for (;;) {
      for (let n = 0; n < threads.length; n += SIMD_WIDTH) this.simdgroup(threads.slice(n, n + SIMD_WIDTH));
      const waiting = threads.find((t) => t.at);
      if (!waiting) return;
      this.meet(threads, waiting, "threadgroup");
      const scope = waiting.at!.attrs.scope as string;
      this.ir.params.forEach((p, i) => {
        if (scope === "both" || (scope === "shared") === (p.kind === "shared")) this.logs.get(i)?.clear();
      });
      for (const t of threads) t.advance();
    }
  }

  /** Runs a simdgroup until its threads wait at a barrier or have ended. */
  private simdgroup(lanes: readonly Thread[]): void {
    for (;;) {
      const waiting = lanes.find((t) => t.at && t.at.op !== "barrier");
      if (!waiting) return;
      const op = waiting.at!;
      this.meet(lanes, waiting, "simdgroup");
      if (op.op === "simdBarrier") this.simdEpochs[Math.floor(lanes[0].index / SIMD_WIDTH)]++;
      else runSimd(op, lanes);
      for (const t of lanes) t.advance();
    }
  }

  /** All threads must be where `waiting` is. */
  private meet(threads: readonly Thread[], waiting: Thread, what: string): void {
    const missing = threads.find((t) => t.at !== waiting.at);
    if (!missing) return;
    const op = waiting.at!;
    const other = missing.at;
    const line = (o: Op): string => (o.loc ? ` in line ${o.loc.line}` : "");
    const doing = other ? `waits at ${other.op}${line(other)}` : "has ended";
    throw new AlloyError(
      "kernel_error",
      `kernel ${this.ir.name}: ${op.op}${line(op)} must be reached by all threads of the ${what}: ${waiting.where()} waits there, ` +
        `${missing.thread()} ${doing}${sourceLine(this.ir, op.loc)}`,
      { hint: "Keep operations that threads do together out of conditions and loops in which threads differ." },
    );
  }
}

/** One thread. */
export class Thread extends Machine {
  /** The meeting point at which it waits; undefined when it has ended. */
  at: Op | undefined;
  private readonly running: Iterator<Op, unknown>;

  constructor(
    private readonly owner: Threadgroup,
    position: readonly number[],
    /** Linear index in the threadgroup. */
    readonly index: number,
  ) {
    super(owner.ir, owner.grid, owner.bound);
    this.position = position;
    this.declareLocals();
    this.ir.params.forEach((_, i) => (this.memory[i] ??= owner.shared.get(i)?.view));
    this.running = this.steps(this.ir.body);
  }

  /** Runs on to the next meeting point. */
  advance(): void {
    const { done, value } = this.running.next();
    this.at = done ? undefined : (value as Op);
  }

  override where(): string {
    return `program ${this.position.join(", ")}, ${this.thread()}`;
  }

  thread(): string {
    return threadText(this.ir.threads!, this.index);
  }

  protected override run(op: Op): void {
    if (OPS[op.op].level === "thread") this.result(op)[0] = this.place(op);
    else super.run(op);
  }

  private place(op: Op): number {
    if (op.op === "laneId") return this.index % SIMD_WIDTH;
    if (op.op === "simdgroupId") return Math.floor(this.index / SIMD_WIDTH);
    return threadPosition(this.ir.threads!, this.index)[op.attrs.axis as number];
  }

  protected override accessing(op: Op, index: number, access: Access): void {
    const param = op.attrs.param as number;
    super.accessing(op, index, access);
    const shared = this.owner.shared.get(param);
    if (shared) this.track(shared, op, index, access);
    const other = this.owner.logs.get(param)?.add(index, this.index, access, op);
    if (other) {
      const line = other.op.loc ? ` (line ${other.op.loc.line})` : "";
      const what = `${op.op} of ${this.ir.params[param].name}[${index}] races with the ${other.op.op} of ${threadText(this.ir.threads!, other.thread)}${line}`;
      this.fail(op, `${what}: no barrier between them`, "Put al.barrier() between the two, let one thread do it, or use an atomic.");
    }
    const group = this.owner.groups.get(param)?.add(index, this.owner.group, access);
    if (group !== undefined) {
      const what = `${op.op} of ${this.ir.params[param].name}[${index}] races with threadgroup number ${group - 1}, which ${access === "read" ? "writes it" : "accesses it"} too`;
      this.fail(op, what, "Nothing orders threadgroups of one launch: use an atomic, or two launches.");
    }
  }

  /** Runs a block, yielding at meeting points; returns the operands of its `yield`. */
  private *steps(block: Block): Generator<Op, Elements[]> {
    for (const op of block.ops) {
      if (op.op === "yield") return op.args.map((a) => this.get(a));
      if (isMeeting(op)) yield op;
      else if (!this.owner.meets.has(op)) this.run(op);
      else if (op.op === "if") this.assign(op.results, yield* this.steps(op.regions[this.get(op.args[0])[0] ? 0 : 1]));
      else if (op.op === "for") yield* this.forSteps(op);
      else yield* this.whileSteps(op);
    }
    return [];
  }

  private *forSteps(op: Op): Generator<Op, void> {
    const [lower, upper, step] = op.args.slice(0, 3).map((v) => this.get(v)[0]);
    const { dtype } = op.args[0].type;
    const [body] = op.regions;
    let carried = op.args.slice(3).map((v) => this.get(v));
    const add = binaryFunction("add", dtype);
    const inside = (i: Num): boolean => (op.attrs.down ? i > upper : i < upper);
    if (inside(lower) && (op.attrs.down ? step >= 0 : step <= 0))
      this.fail(op, `the step of this loop is ${step}, it would never end`, "Use a positive step.");
    for (let i = lower; inside(i); i = add(i, step)) {
      const index = allocate(dtype, 1);
      index[0] = i;
      this.assign(body.args, [index, ...carried]);
      carried = yield* this.steps(body);
    }
    this.assign(op.results, carried);
  }

  private *whileSteps(op: Op): Generator<Op, void> {
    const [condition, body] = op.regions;
    let carried = op.args.map((v) => this.get(v));
    for (;;) {
      this.assign(condition.args, carried);
      const [go, ...next] = yield* this.steps(condition);
      carried = next;
      if (!go[0]) break;
      this.assign(body.args, carried);
      carried = yield* this.steps(body);
    }
    this.assign(op.results, carried);
  }
}

function threadPosition(threads: readonly number[], index: number): number[] {
  const [x, y] = threads;
  return [index % x, Math.floor(index / x) % y, Math.floor(index / (x * y))];
}

/** "thread 5", or "thread 5, 2" with the axes that the threadgroup has. */
function threadText(threads: readonly number[], index: number): string {
  const axes = threads[2] > 1 ? 3 : threads[1] > 1 ? 2 : 1;
  return `thread ${threadPosition(threads, index).slice(0, axes).join(", ")}`;
}
