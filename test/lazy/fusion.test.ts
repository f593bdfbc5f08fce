/** What runs in one kernel, and that fused work gives what its parts give. */
import { describe, expect, test } from "bun:test";
import { f16, f32, fn, i32 } from "../../src/compiler/language/index.ts";
import {
  attention,
  buffer,
  crossEntropy,
  dot,
  dotTransposeB,
  evaluate,
  layerNorm,
  rmsNorm,
  softmax,
  where,
  type LazyBuffer,
} from "../../src/lazy/index.ts";
import { DEVICES, on } from "./devices.ts";
import { numbers, Random, worst } from "./random.ts";
import { byRow, dotOf, elementwise, rmsNormRow, softmaxRow, type Matrix } from "./reference.ts";

const PATIENCE = 300_000;
const operations = (x: LazyBuffer): string[] => x.explain().dispatches.map((d) => d.operations.join(" "));
const gelu = (x: number): number => 0.5 * x * (1 + Math.tanh(0.7978845608028654 * (x + 0.044715 * x ** 3)));

describe.each(DEVICES)("fusion on $name", ({ name, device }) => {
  const check = (title: string, f: (r: Random) => Promise<void>) => test(title, () => on(device, () => f(new Random())), PATIENCE);

  check("elementwise work behind a matrix product is its epilogue", async (r) => {
    const [M, N, K] = [r.int(1, 40), r.int(2, 40), r.int(1, 40)];
    const [x, w, bias, other] = [r.matrix([M, K]), r.matrix([N, K]), r.matrix([N]), r.matrix([M, 1])];
    const y = dotTransposeB(x.lazy, w.lazy).add(bias.lazy).geluTanh().mul(other.lazy).sub(0.5);
    expect(operations(y)).toEqual(["dotTransposeB add geluTanh mul sub"]);
    const product = { shape: [M, N], data: dotOf(x, w, true) };
    const expected = elementwise((p, b, o) => gelu(p + b) * o - 0.5, product, bias, other);
    expect(worst(await numbers(y), expected.data, 1e-4)).toBeLessThan(1);
  });

  check("a chain is one kernel, and what it uses twice is computed once", async (r) => {
    const [x, y] = [r.matrix([3, r.int(1, 50)]), r.matrix([1])];
    const e = x.lazy.exp();
    const z = e.mul(e.add(y.lazy)).div(e);
    expect(operations(z)).toEqual(["exp add mul div"]);
    expect(worst(await numbers(z), elementwise((a, b) => Math.exp(a) + b, x, y).data, 1e-5)).toBeLessThan(1);
  });

  check("work before and behind a softmax, a norm, a reduction, a loss", async (r) => {
    const x = r.matrix([4, r.int(2, 30)]);
    const y = softmax(x.lazy.mul(2).add(1)).log().neg();
    expect(operations(y)).toEqual(["mul add softmax log neg"]);
    const expected = byRow({ ...x, data: [...x.data].map((v) => v * 2 + 1) }, softmaxRow).map((p) => -Math.log(p));
    expect(worst(await numbers(y), expected, 1e-5)).toBeLessThan(1);
    const columns = r.matrix([x.shape[1]]);
    const norm = layerNorm(x.lazy.relu(), columns.lazy).exp();
    expect(operations(norm)).toEqual(["relu layerNorm mul exp"]);
    const loss = crossEntropy(x.lazy.mul(columns.lazy), buffer(Int32Array.of(0, 1, 0, 1)));
    expect(operations(loss)).toEqual(["mul crossEntropy", "mean"]);
    expect(Number.isFinite((await numbers(loss.mul(norm.sum({ all: true }))))[0])).toBe(true);
  });

  check("a value that two kernels need is written once", async (r) => {
    const [M, N, K] = [4, 6, 5];
    const [x, w] = [r.matrix([M, K]), r.matrix([K, N])];
    const h = dot(x.lazy, w.lazy).relu();
    const y = softmax(h).add(h.sum({ keep: true }));
    expect(operations(y)).toEqual(["dot relu", "sum", "softmax add"]);
    const hidden = { shape: [M, N], data: dotOf(x, w, false).map((v) => Math.max(0, v)) };
    const sums = { shape: [M, 1], data: byRow(hidden, (v) => [v.reduce((a, b) => a + b)]) };
    const expected = elementwise((a, b) => a + b, { shape: [M, N], data: byRow(hidden, softmaxRow) }, sums);
    expect(worst(await numbers(y), expected.data, 1e-5)).toBeLessThan(1);
  });

  check("equal expressions are one", async (r) => {
    const [x, w] = [r.matrix([3, 4]), r.matrix([4, 4])];
    const twice = dot(x.lazy, w.lazy).add(dot(x.lazy, w.lazy));
    expect(operations(twice)).toEqual(["dot add"]);
    expect(
      worst(
        await numbers(twice),
        dotOf(x, w, false).map((v) => 2 * v),
        1e-5,
      ),
    ).toBeLessThan(1);
  });

  check("of two products in a sum one is the epilogue's operand", async (r) => {
    const [x, w, v] = [r.matrix([3, 4]), r.matrix([4, 5]), r.matrix([4, 5])];
    const y = dot(x.lazy, w.lazy).sigmoid().mul(dot(x.lazy, v.lazy));
    expect(operations(y)).toHaveLength(2);
    const gate = { shape: [3, 5], data: dotOf(x, w, false) };
    const expected = elementwise((a, b) => b / (1 + Math.exp(-a)), gate, { shape: [3, 5], data: dotOf(x, v, false) });
    expect(worst(await numbers(y), expected.data, 1e-5)).toBeLessThan(1);
  });

  check("a user's helper, and one that uses helpers of its own", async (r) => {
    const square = fn((al, v: number) => v * v);
    const ball = fn((al, a: number, b: number) => al.sqrt(square(a) + square(b)), { uses: { square } });
    const [x, w] = [r.matrix([3, 4]), r.matrix([4, 7])];
    const y = dot(x.lazy, w.lazy).map(ball, 2).map(square);
    expect(operations(y)).toEqual(["dot map map"]);
    expect(
      worst(
        await numbers(y),
        dotOf(x, w, false).map((v) => v * v + 4),
        1e-4,
      ),
    ).toBeLessThan(1);
  });

  check("attention with work behind it", async (r) => {
    const [q, k] = [r.matrix([2, 5, 8]), r.matrix([2, 7, 8])];
    const y = attention(q.lazy, k.lazy, k.lazy).add(q.lazy);
    expect(operations(y)).toEqual(["attention add"]);
    const [sum, plain] = [await numbers(y), await numbers(attention(q.lazy, k.lazy, k.lazy))];
    expect(
      worst(
        sum,
        plain.map((v, i) => v + q.data[i]),
        1e-5,
      ),
    ).toBeLessThan(1);
  });

  check("a feed-forward block is four dispatches", async (r) => {
    const [T, D, F] = [5, 8, 12];
    const [x, g, gate, up, down] = [r.matrix([T, D]), r.matrix([D]), r.matrix([F, D]), r.matrix([F, D]), r.matrix([D, F])];
    const h = rmsNorm(x.lazy, g.lazy);
    const y = dotTransposeB(dotTransposeB(h, gate.lazy).silu().mul(dotTransposeB(h, up.lazy)), down.lazy).add(x.lazy);
    expect(operations(y).map((o) => o.split(" ")[0])).toEqual(["rmsNorm", "dotTransposeB", "dotTransposeB", "dotTransposeB"]);
    const normed = { shape: [T, D], data: byRow(x, (v) => rmsNormRow(v, 1e-5).map((n, i) => n * g.data[i])) };
    const hidden = { shape: [T, F], data: dotOf(normed, gate, true).map((v) => v / (1 + Math.exp(-v))) };
    const both = elementwise((a, b) => a * b, hidden, { shape: [T, F], data: dotOf(normed, up, true) });
    const expected = elementwise((a, b) => a + b, { shape: [T, D], data: dotOf(both, down, true) }, x);
    expect(worst(await numbers(y), expected.data, 1e-4)).toBeLessThan(1);
  });

  check("every broadcast of NumPy's", async (r) => {
    const n = r.int(2, 6);
    const shapes = [[3, 1, n], [2, 1, 1], [n], [], [1, 3, 4, 1], [4, n], [2, 3, 4, n], [2, 1, 1, n], [1, 1]];
    const sums: [LazyBuffer, Matrix][] = [];
    while (sums.length < (name === "interpreter" ? 20 : 6)) {
      const [a, b, c] = [r.pick(shapes), r.pick(shapes), r.pick(shapes)].map((s) => r.matrix(s));
      try {
        sums.push([a.lazy.add(b.lazy).mul(c.lazy), elementwise((x, y, z) => (x + y) * z, a, b, c)]);
      } catch (e) {
        if (!String(e).includes("do not broadcast")) throw e;
      }
    }
    for (const [y] of sums) expect(operations(y)).toHaveLength(1);
    await evaluate(...sums.map(([y]) => y));
    for (const [y, expected] of sums) {
      expect(y.shape).toEqual(expected.shape);
      expect(worst(await numbers(y), expected.data, 1e-6)).toBeLessThan(1);
    }
  });

  check("whole numbers, truth and conversions", async () => {
    const n = buffer(Int32Array.of(7, -7, 0, 3));
    const wanted: [LazyBuffer, string, unknown][] = [
      [n.add(1).mul(n), "i32", [56, 42, 0, 12]],
      [n.div(2), "f32", [3.5, -3.5, 0, 1.5]],
      [n.add(0.5), "f32", [7.5, -6.5, 0.5, 3.5]],
      [n.greater(0), "bool", [1, 0, 0, 1]],
      [where(n.less(1), n.neg().mul(10), n), "i32", [7, 70, 0, 3]],
      [n.cast(f32).div(4).round().cast(i32), "i32", [2, -2, 0, 1]],
      [n.sum(), "f32", 3],
      // An explicit conversion rounds in the middle of a kernel.
      [buffer(Float32Array.of(1.0001)).cast(f16).cast(f32).sub(1), "f32", [0]],
    ];
    await evaluate(...wanted.map(([x]) => x));
    for (const [x, dtype, values] of wanted) expect<unknown>([x.dtype, await x.array()]).toEqual([dtype, values]);
  });

  check("several results in one plan", async (r) => {
    const x = r.matrix([4, 9]);
    const e = x.lazy.exp();
    const [a, b] = [e.sum(), e.max()];
    await evaluate(a, b, e);
    expect(a.explain().dispatches).toEqual([]);
    expect(
      worst(
        await numbers(b),
        byRow(x, (v) => [Math.exp(Math.max(...v))]),
        1e-5,
      ),
    ).toBeLessThan(1);
  });
});

test(
  "loss of a linear layer",
  async () => {
    const [x, w, labels] = [
      buffer(new Float32Array(6).fill(1), [2, 3]),
      buffer(new Float32Array(12).fill(1), [4, 3]),
      buffer(Int32Array.of(0, 1)),
    ];
    const loss = crossEntropy(dotTransposeB(x, w).mul(0.5), labels);
    expect(operations(loss)).toEqual(["dotTransposeB mul", "crossEntropy", "mean"]);
    expect((await loss.array()) as number).toBeCloseTo(Math.log(4), 5);
  },
  PATIENCE,
);
