/** Loop-invariant code motion: what every turn of a loop computes the same moves in front of it. */
import type { Block, Op, Value } from "../ir/types.ts";
import { walk } from "../ir/walk.ts";
import type { Pass } from "./pass.ts";
import { canBeKept, isPure } from "./pass.ts";

export const hoist: Pass = {
  name: "hoist",
  run(ir) {
    visit(ir.body);
  },
};

/** Inner loops first, so that an op can leave several of them. Ops under an `if` stay: they may not be wanted. */
function visit(block: Block): void {
  const out: Op[] = [];
  for (const op of block.ops) {
    op.regions.forEach(visit);
    if (op.op === "for" || op.op === "while") out.push(...invariants(op));
    out.push(op);
  }
  block.ops = out;
}

/** Takes the ops out of a loop's regions that depend on nothing defined in it. */
function invariants(loop: Op): Op[] {
  const inside = new Set<Value>();
  for (const r of loop.regions) {
    for (const a of r.args) inside.add(a);
    walk(r, (op) => {
      for (const v of op.results) inside.add(v);
      for (const inner of op.regions) for (const a of inner.args) inside.add(a);
    });
  }
  const moved: Op[] = [];
  for (const r of loop.regions) {
    r.ops = r.ops.filter((op) => {
      if (!isPure(op) || !canBeKept(op) || op.args.some((a) => inside.has(a))) return true;
      moved.push(op);
      for (const v of op.results) inside.delete(v);
      return false;
    });
  }
  return moved;
}
