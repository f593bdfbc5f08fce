/**
 * Fusion of what linear layers quantise: a norm or a gated activation whose only reader is a `quantize` is computed by it, which saves a write and a
 * read of all activations. Norms and gates that anything else reads stay as they are.
 */
import type { Graph, Node } from "./graph.ts";
import { gated, type GatedAttrs } from "./ops/elementwise.ts";
import { quantize, type QuantizeAttrs, type QuantizedFrom } from "./ops/linear.ts";
import { norm, type NormAttrs } from "./ops/norm.ts";
import type { Tensor } from "./tensor.ts";

/** Replaces nodes of the graph; `results` are tensors that are read outside it. */
export function fuseQuantized(graph: Graph, results: readonly Tensor[]): void {
  const made = new Map(graph.nodes.map((node) => [node.output?.id, node]));
  const readers = new Map<number, number>(results.map((t) => [t.id, 1]));
  for (const { op, inputs, attrs } of graph.nodes) {
    const unread = op.unread?.(attrs) ?? [];
    inputs.forEach((t, i) => !unread.includes(i) && readers.set(t.id, (readers.get(t.id) ?? 0) + 1));
  }
  const gone = new Set<Node>();
  const nodes = graph.nodes.map((node): Node => {
    const from = node.op.name === quantize.name ? made.get(node.inputs[0].id) : undefined;
    const source = from && readers.get(node.inputs[0].id) === 1 ? sourceOf(from) : undefined;
    if (!from || !source) return node;
    gone.add(from);
    return { ...node, inputs: from.inputs, attrs: { ...(node.attrs as QuantizeAttrs), from: source } satisfies QuantizeAttrs };
  });
  graph.nodes = nodes.filter((node) => !gone.has(node));
}

function sourceOf({ op, attrs }: Node): QuantizedFrom | undefined {
  if (op.name === gated.name) return { op: "gated", attrs: attrs as GatedAttrs };
  if (op.name === norm.name && (attrs as NormAttrs).bias === undefined) return { op: "norm", attrs: attrs as NormAttrs };
  return undefined;
}
