import { expect, test } from "bun:test";
import { cpuKernels } from "../../kernels/cpu.ts";
import { Graph, type OpDef } from "../../src/graph/graph.ts";
import { planMemory } from "../../src/graph/memory.ts";
import { type Tensor, tensorBytes } from "../../src/graph/tensor.ts";

const op = (name: string, inPlace?: number): OpDef<{ n: number }> => ({
  name,
  inPlace: inPlace === undefined ? undefined : () => inPlace,
  shape: ([x], { n }) => ({ shape: [x.shape[0], n] }),
  cost: () => ({ flops: 1, bytes: 2 }),
  lower: () => [],
});
const make = op("make");
const update = op("update", 0);
const sizes = { T: 4, R: 1 };

test("equal pure nodes are made once, in-place nodes never", () => {
  const g = new Graph();
  const x = g.input("x", ["T", 8]);
  expect(g.apply(make, [x], { n: 8 })).toBe(g.apply(make, [x], { n: 8 }));
  expect(g.apply(make, [x], { n: 9 })).not.toBe(g.apply(make, [x], { n: 8 }));
  const y = g.apply(make, [x], { n: 8 });
  expect(g.apply(update, [y], { n: 8 })).not.toBe(g.apply(update, [y], { n: 8 }));
});

test("live tensors never overlap; space is reused; in place shares; costs add up", () => {
  const g = new Graph();
  const seed = 7;
  let state = seed;
  const random = (n: number): number => (state = (state * 48271) % 2147483647) % n;
  const tensors: Tensor[] = [g.input("x", ["T", 8])];
  const overwritten = new Set<Tensor>();
  for (let i = 0; i < 200; i++) {
    const usable = tensors.filter((t) => !overwritten.has(t)).slice(-5);
    const from = usable[random(usable.length)];
    if (from !== tensors[0] && random(4) === 0) {
      tensors.push(g.apply(update, [from], { n: from.shape[1] as number }));
      overwritten.add(from);
    } else tensors.push(g.apply(make, [from], { n: 1 + random(500) + i * 1000 }));
  }
  const result = tensors.at(-1)!;
  const plan = planMemory(g, sizes, cpuKernels, [result]);
  const lastUse = new Map<Tensor, number>([[result, Infinity]]);
  g.nodes.forEach((n, i) => n.inputs.forEach((t) => lastUse.set(t, Math.max(lastUse.get(t) ?? 0, i))));
  g.nodes.forEach((node, i) => {
    for (const other of g.nodes.slice(0, i)) {
      if (!node.output || !other.output || (lastUse.get(other.output) ?? 0) <= i) continue;
      if (node.op === update && node.inputs[0] === other.output) continue;
      const [a, b] = [node.output, other.output].map((t) => [
        plan.offsets.get(t.id)!,
        plan.offsets.get(t.id)! + tensorBytes(t, sizes, cpuKernels),
      ]);
      if (a[0] === b[0] && overwritten.has(other.output)) continue;
      expect(a[1] <= b[0] || b[1] <= a[0]).toBe(true);
    }
  });
  const sum = g.nodes.reduce((s, n) => s + tensorBytes(n.output!, sizes, cpuKernels), 0);
  expect(plan.bytes).toBeLessThan(sum / 4);
  expect(g.cost(sizes)).toEqual({ flops: g.nodes.length, bytes: 2 * g.nodes.length });
});

test("reading what was overwritten in place is an error", () => {
  const g = new Graph();
  const y = g.apply(make, [g.input("x", ["T", 8])], { n: 8 });
  g.apply(update, [y], { n: 8 }, "eraser");
  const z = g.apply(make, [y], { n: 3 });
  expect(() => planMemory(g, sizes, cpuKernels, [z])).toThrow("eraser");
});
