/** Memory plan: places every intermediate tensor of a graph in one arena, reusing space as soon as its last reader has run. */
import type { KernelSet } from "../../kernels/api.ts";
import { AlloyError } from "../support/errors.ts";
import type { Graph } from "./graph.ts";
import { type Sizes, type Tensor, tensorBytes } from "./tensor.ts";

const ALIGN = 128;

export interface MemoryPlan {
  /** Byte offset in the arena by tensor id; tensors updated in place share their source's offset. */
  offsets: ReadonlyMap<number, number>;
  /** The tensor whose memory another one took over in place, by the latter's id; may be an input of the graph. */
  roots: ReadonlyMap<number, number>;
  bytes: number;
}

/**
 * First fit over the free gaps in execution order. `keep` (the graph's results) live to the end.
 * Throws when a tensor is read after another node has overwritten it in place.
 */
export function planMemory(graph: Graph, sizes: Sizes, kernels: KernelSet, keep: readonly Tensor[]): MemoryPlan {
  const root = new Map<number, number>();
  const rootOf = (id: number): number => root.get(id) ?? id;
  const lastUse = new Map<number, number>();
  const overwritten = new Map<number, string>();
  graph.nodes.forEach((node, step) => {
    for (const t of node.inputs) {
      const by = overwritten.get(t.id);
      if (by) throw new AlloyError("internal", `${node.label} reads a tensor that ${by} has overwritten in place`);
      lastUse.set(rootOf(t.id), step);
    }
    const target = node.op.inPlace?.(node.attrs);
    if (target !== undefined) {
      const source = node.inputs[target];
      overwritten.set(source.id, node.label);
      if (node.output) root.set(node.output.id, rootOf(source.id));
    }
    if (node.output) lastUse.set(rootOf(node.output.id), step);
  });
  for (const t of keep) lastUse.set(rootOf(t.id), Infinity);

  const offsets = new Map<number, number>();
  const live: { id: number; offset: number; bytes: number }[] = [];
  let total = 0;
  const place = (t: Tensor): void => {
    const bytes = Math.ceil(tensorBytes(t, sizes, kernels) / ALIGN) * ALIGN;
    live.sort((a, b) => a.offset - b.offset);
    let offset = 0;
    for (const l of live) {
      if (l.offset - offset >= bytes) break;
      offset = l.offset + l.bytes;
    }
    live.push({ id: t.id, offset, bytes });
    offsets.set(t.id, offset);
    total = Math.max(total, offset + bytes);
  };
  graph.nodes.forEach((node, step) => {
    const out = node.output;
    if (out) {
      const r = rootOf(out.id);
      if (r === out.id) place(out);
      else if (offsets.has(r)) offsets.set(out.id, offsets.get(r)!);
    }
    for (let i = live.length - 1; i >= 0; i--) if ((lastUse.get(live[i].id) ?? -1) <= step) live.splice(i, 1);
  });
  return { offsets, roots: root, bytes: Math.max(total, ALIGN) };
}
