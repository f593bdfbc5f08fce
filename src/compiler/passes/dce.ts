/** Dead code elimination: ops without effect whose results nobody needs, and the variables that loops carry only for themselves. */
import type { Block, KernelIR, Op, Value } from "../ir/types.ts";
import { OPS } from "../ir/ops.ts";
import type { Pass } from "./pass.ts";

export const dce: Pass = {
  name: "dce",
  run(ir) {
    const live = new Liveness(ir);
    sweep(ir.body, live);
  },
};

/** What defines a value: a result of an op, or an argument of one of its regions; `slot` counts carried values. */
interface Definition {
  op: Op;
  /** Position among results and carried values; -1 for a loop's induction variable. */
  slot: number;
}

const LEAD: Readonly<Record<string, number>> = { for: 3, while: 0, if: 1 };

/** Block arguments in front of the carried ones. */
const skipped = (op: Op): number => (op.op === "for" ? 1 : 0);

/** Operands of a region's yield that deliver the carried values. */
const delivered = (op: Op, region: number): readonly Value[] => {
  const { args } = op.regions[region].ops.at(-1)!;
  return op.op === "while" && region === 0 ? args.slice(1) : args;
};

class Liveness {
  readonly ops = new Set<Op>();
  private readonly values = new Set<Value>();
  private readonly slots = new Map<Op, Set<number>>();
  private readonly parents = new Map<Op, Op>();
  private readonly definitions = new Map<Value, Definition>();
  private readonly work: Value[] = [];

  constructor(ir: KernelIR) {
    const effects: Op[] = [];
    this.collect(ir.body, undefined, effects);
    for (const op of effects) {
      this.use(op);
      this.work.push(...op.args);
    }
    for (let v = this.work.pop(); v; v = this.work.pop()) this.value(v);
  }

  /** True if the carried value or result number `slot` of a control flow op is needed. */
  slot(op: Op, slot: number): boolean {
    return this.slots.get(op)?.has(slot) ?? false;
  }

  private collect(block: Block, parent: Op | undefined, effects: Op[]): void {
    for (const op of block.ops) {
      if (parent) this.parents.set(op, parent);
      op.results.forEach((v, slot) => this.definitions.set(v, { op, slot }));
      for (const r of op.regions) {
        r.args.forEach((v, i) => this.definitions.set(v, { op, slot: i - skipped(op) }));
        this.collect(r, op, effects);
      }
      const { memory } = OPS[op.op];
      if (memory && memory !== "read") effects.push(op);
    }
  }

  /** The op runs: so do those around it, under conditions and bounds that are needed. */
  private use(op: Op): void {
    if (this.ops.has(op)) return;
    this.ops.add(op);
    if (op.regions.length) {
      this.slots.set(op, new Set());
      this.work.push(...op.args.slice(0, LEAD[op.op]));
      if (op.op === "while") this.work.push(op.regions[0].ops.at(-1)!.args[0]);
    }
    const parent = this.parents.get(op);
    if (parent) this.use(parent);
  }

  private value(v: Value): void {
    const d = this.definitions.get(v);
    if (this.values.has(v) || !d) return;
    this.values.add(v);
    const { op, slot } = d;
    this.use(op);
    if (!op.regions.length) this.work.push(...op.args);
    else if (slot >= 0 && !this.slot(op, slot)) {
      this.slots.get(op)!.add(slot);
      if (op.op !== "if") this.work.push(op.args[LEAD[op.op] + slot]);
      op.regions.forEach((_, n) => this.work.push(delivered(op, n)[slot]));
    }
  }
}

/** Removes what is not needed from a block and the regions in it. */
function sweep(block: Block, live: Liveness): void {
  block.ops = block.ops.filter((op) => op.op === "yield" || live.ops.has(op));
  for (const op of block.ops) {
    if (!op.regions.length) continue;
    const kept = (i: number): boolean => live.slot(op, i);
    op.regions.forEach((r, n) => {
      const yielded = r.ops.at(-1)!;
      const lead = op.op === "while" && n === 0 ? 1 : 0;
      yielded.args = yielded.args.filter((_, i) => i < lead || kept(i - lead));
      r.args = r.args.filter((_, i) => i < skipped(op) || kept(i - skipped(op)));
      sweep(r, live);
    });
    if (op.op !== "if") op.args = op.args.filter((_, i) => i < LEAD[op.op] || kept(i - LEAD[op.op]));
    op.results = op.results.filter((_, i) => kept(i));
  }
}
