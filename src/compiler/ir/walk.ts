/** Traversal and renumbering that passes and tools share. */
import type { Block, KernelIR, Op, Value } from "./types.ts";

/** Calls `f` for every op, outer ops before the ops of their regions. */
export function walk(block: Block, f: (op: Op, block: Block) => void): void {
  for (const op of block.ops) {
    f(op, block);
    for (const r of op.regions) walk(r, f);
  }
}

/** Op that defines each value; block arguments and parameters are absent. */
export function definitions(ir: KernelIR): Map<Value, Op> {
  const map = new Map<Value, Op>();
  walk(ir.body, (op) => {
    for (const r of op.results) map.set(r, op);
  });
  return map;
}

/** Numbers values densely in the order in which they are defined. */
export function renumber(ir: KernelIR): void {
  let id = 0;
  const visit = (block: Block): void => {
    for (const a of block.args) a.id = id++;
    for (const op of block.ops) {
      for (const region of op.regions) visit(region);
      for (const r of op.results) r.id = id++;
    }
  };
  for (const p of ir.params) if (p.value) p.value.id = id++;
  visit(ir.body);
  ir.nextId = id;
}

/** Names of the parameters that the kernel writes through: stores to, or changes atomically. */
export function writtenParams(ir: KernelIR): Set<string> {
  const written = new Set<string>();
  walk(ir.body, (op) => {
    if (op.op === "store" || op.op === "atomic") written.add(ir.params[op.attrs.param as number].name);
  });
  return written;
}
