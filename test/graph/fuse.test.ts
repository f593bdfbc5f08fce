/** Norms and gates that a `quantize` computes on the way: which are taken along, and that the numbers stay what they were to the last bit. */
import { afterAll, expect, test } from "bun:test";
import { kernelsFor } from "../../kernels/choice.ts";
import { fuseQuantized } from "../../src/graph/fuse.ts";
import { Graph } from "../../src/graph/graph.ts";
import { lowerGraph } from "../../src/graph/lower.ts";
import { gated } from "../../src/graph/ops/elementwise.ts";
import { quantize } from "../../src/graph/ops/linear.ts";
import { norm } from "../../src/graph/ops/norm.ts";
import type { Tensor } from "../../src/graph/tensor.ts";
import type { WeightStore } from "../../src/graph/weights.ts";
import { createCpuDevice } from "../../src/runtime/cpu/device.ts";
import { RECORD } from "../../kernels/quantize.ts";

const device = createCpuDevice({ threads: 1 });
afterAll(() => device.close());
const kernels = kernelsFor(device.properties);
const K = 512;

const weight = device.allocate(K * 4);
new Float32Array(weight.view().buffer, weight.view().byteOffset, K).set(Float32Array.from({ length: K }, (_, i) => 1 + (i % 7) / 8));
// Of the weights only this vector is asked for.
const weights = { kernels, vector: () => weight } as unknown as WeightStore;

/** The quantised rows of T tokens, in units of a group's largest value. */
async function run(what: "norm" | "gated", span: 32 | 256, T: number, fuse: boolean): Promise<{ nodes: number; values: number[] }> {
  const g = new Graph();
  const columns = what === "norm" ? K : 2 * K;
  const x = g.input("x", ["T", columns]);
  const made = what === "norm" ? g.apply(norm, [x], { weight: "w", eps: 1e-6 }) : g.apply(gated, [x], { act: "silu" as const });
  const q = g.apply(quantize, [made], { span });
  if (fuse) fuseQuantized(g, [q]);
  const input = device.allocate(T * columns * 4);
  new Float32Array(input.view().buffer, input.view().byteOffset, T * columns).set(
    Float32Array.from({ length: T * columns }, (_, i) => 3 * Math.sin(i * i + 1)),
  );
  const output = device.allocate(kernels.quantizedBytes(T, K));
  const lowered = lowerGraph(g, {
    device,
    weights,
    max: { T, R: 1 },
    buffers: new Map([["x", input]]),
    results: new Map<Tensor, typeof output>([[q, output]]),
    arena: (bytes) => device.allocate(bytes),
    scratch: (bytes) => device.allocate(bytes),
  });
  await lowered.run({ T, R: 1 });
  const words = new Uint8Array(output.view());
  const [bytes, floats] = [new Int8Array(words.buffer), new Float32Array(words.buffer)];
  const values: number[] = [];
  for (let r = 0; r < floats.length; r += RECORD) {
    for (let i = 0; i < 32; i++) values.push(bytes[r * 4 + i] / 127);
    values.push(floats[r + 8]);
  }
  return { nodes: g.nodes.length, values };
}

test("a norm and a gate of one quantize are computed by it, with few tokens and many", async () => {
  for (const what of ["norm", "gated"] as const)
    for (const span of [32, 256] as const)
      for (const T of [1, 3, 8, 13, 64]) {
        const plain = await run(what, span, T, false);
        const fused = await run(what, span, T, true);
        expect([plain.nodes, fused.nodes]).toEqual([2, 1]);
        // To the last bit: what a token gets must not depend on how many others are in its step.
        expect(fused.values).toEqual(plain.values);
      }
});

test("what anything else reads is kept", () => {
  const build = (): { g: Graph; x: Tensor; n: Tensor } => {
    const g = new Graph();
    const x = g.input("x", ["T", K]);
    return { g, x, n: g.apply(norm, [x], { weight: "w", eps: 1e-6 }) };
  };
  const twice = build();
  twice.g.apply(quantize, [twice.n], { span: 32 });
  twice.g.apply(quantize, [twice.n], { span: 256 });
  fuseQuantized(twice.g, []);
  expect(twice.g.nodes.map((n) => n.op.name)).toEqual(["norm", "quantize", "quantize"]);

  const result = build();
  result.g.apply(quantize, [result.n], { span: 32 });
  fuseQuantized(result.g, [result.n]);
  expect(result.g.nodes.map((n) => n.op.name)).toEqual(["norm", "quantize"]);

  const biased = new Graph();
  const normed = biased.apply(norm, [biased.input("x", ["T", K])], { weight: "w", bias: "b", eps: 1e-6 });
  biased.apply(quantize, [normed], { span: 32 });
  fuseQuantized(biased, []);
  expect(biased.nodes.map((n) => n.op.name)).toEqual(["norm", "quantize"]);
});
