/** Builtins on lazy buffers beside plain loops: random shapes and types, one element, nothing, NaN and infinities. */
import { describe, expect, test } from "bun:test";
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
  type LazyBuffer,
} from "../../src/lazy/index.ts";
import { DEVICES, on } from "./devices.ts";
import { numbers, Random, STEP, stored, worst, type TypeName } from "./random.ts";
import { attentionOf, byRow, dotOf, layerNormRow, rmsNormRow, softmaxRow } from "./reference.ts";

const types: readonly TypeName[] = ["f32", "f16", "bf16"];
/** Compiling for the first time takes a while on a busy machine. */
const PATIENCE = 300_000;

/** Buffers, what they should hold, and how near. */
type Wanted = [LazyBuffer, number[], tolerance: number];

/** Reads all of them in one plan: what is missing is compiled together. */
async function expectAll(wanted: readonly Wanted[]): Promise<void> {
  await evaluate(...wanted.map(([x]) => x));
  for (const [x, expected, tolerance] of wanted) expect(worst(await numbers(x), expected, tolerance)).toBeLessThanOrEqual(1);
}

describe.each(DEVICES)("on $name", ({ name, device }) => {
  // The interpreter is the oracle that needs no compiler, and slow: small shapes.
  const small = name !== "cpu";
  const largest = small ? 20 : 150;

  test.each(types)(
    "dot of %s",
    async (type) => {
      await on(device, async () => {
        const r = new Random();
        for (const [M, N, K] of [
          [1, 1, 1],
          [r.int(1, largest), r.int(1, largest), r.int(1, largest)],
          [3, 65, 7],
        ]) {
          const a = r.matrix([M, K], type);
          const b = r.matrix([K, N], type);
          const c = r.matrix([N, K], type);
          const near = (expected: number[]) => [expected, STEP[type] * 2 + STEP.f32 * K] as const;
          const plain = dot(a.lazy, b.lazy);
          expect(plain.dtype).toBe(type);
          expect(worst(await numbers(plain), ...near(dotOf(a, b, false)))).toBeLessThan(1);
          expect(worst(await numbers(dotTransposeB(a.lazy, c.lazy)), ...near(dotOf(a, c, true)))).toBeLessThan(1);
        }
      });
    },
    PATIENCE,
  );

  test(
    "dot of batches and of types that differ",
    async () => {
      await on(device, async () => {
        const r = new Random();
        const [M, N, K] = [r.int(1, 9), r.int(1, 9), r.int(1, 9)];
        const a = r.matrix([2, 1, M, K], "f16");
        const b = r.matrix([3, K, N], "f32");
        const y = dot(a.lazy, b.lazy);
        expect([y.shape, y.dtype]).toEqual([[2, 3, M, N], "f32"]);
        const parts = [0, 1].flatMap((i) =>
          [0, 1, 2].flatMap((j) => {
            const left = { shape: [M, K], data: a.data.slice(i * M * K, (i + 1) * M * K) };
            const right = { shape: [K, N], data: b.data.slice(j * K * N, (j + 1) * K * N) };
            return dotOf(left, right, false);
          }),
        );
        expect(worst(await numbers(y), parts, 1e-5)).toBeLessThan(1);
      });
    },
    PATIENCE,
  );

  test.each(types)(
    "rows of %s: softmax and norms, short and long",
    async (type) => {
      await on(device, async () => {
        const r = new Random();
        const wanted: Wanted[] = [];
        for (const shape of [
          [1, 1],
          [2, 3, r.int(2, 60)],
          // Longer than any row that is read at once.
          [2, r.int(2049, 2200)],
        ]) {
          const x = r.matrix(shape, type);
          const w = r.matrix([shape.at(-1)!], type);
          const near = STEP[type] * 2 + 2e-5;
          const layer = byRow(x, (v) => layerNormRow(v, 1e-3).map((y, i) => y * w.data[i] + w.data[i]));
          const rms = byRow(x, (v) => rmsNormRow(v, 1e-5).map((y, i) => y * w.data[i]));
          wanted.push([softmax(x.lazy), byRow(x, softmaxRow), near]);
          wanted.push([layerNorm(x.lazy, w.lazy, w.lazy, { eps: 1e-3 }), layer, near * 4], [rmsNorm(x.lazy, w.lazy), rms, near * 4]);
        }
        await expectAll(wanted);
      });
    },
    PATIENCE,
  );

  test(
    "reductions",
    async () => {
      await on(device, async () => {
        const r = new Random();
        const x = r.matrix([3, r.int(1, 300)]);
        const rows = (f: (v: number[]) => number) => byRow(x, (v) => [f(v)]);
        const sum = (v: number[]) => v.reduce((a, b) => a + b, 0);
        await expectAll([
          [x.lazy.sum(), rows(sum), 1e-5],
          [x.lazy.mean(), rows((v) => sum(v) / v.length), 1e-5],
          [x.lazy.max({ keep: true }), rows((v) => Math.max(...v)), 0],
          [x.lazy.min(), rows((v) => Math.min(...v)), 0],
          [x.lazy.sum({ all: true }), [sum([...x.data])], 1e-5],
        ]);
      });
    },
    PATIENCE,
  );

  test(
    "cross entropy",
    async () => {
      await on(device, async () => {
        const r = new Random();
        const [N, C] = [r.int(1, 8), r.int(1, 90)];
        const x = r.matrix([N, C], "f32", 6);
        const labels = Int32Array.from({ length: N }, () => r.int(0, C - 1));
        const losses = [...labels].map((label, i) => -Math.log(softmaxRow(x.data.slice(i * C, (i + 1) * C))[label]));
        const each = crossEntropy(x.lazy, buffer(labels), { reduction: "none" });
        expect(worst(await numbers(each), losses, 1e-5)).toBeLessThan(1);
        const mean = losses.reduce((a, b) => a + b) / N;
        expect(worst(await numbers(crossEntropy(x.lazy, buffer(labels))), [mean], 1e-5)).toBeLessThan(1);
        labels[0] = C;
        expect((await numbers(crossEntropy(x.lazy, buffer(labels), { reduction: "none" })))[0]).toBeNaN();
      });
    },
    PATIENCE,
  );

  test.each(types)(
    "attention of %s: heads that share keys, causal or not",
    async (type) => {
      await on(device, async () => {
        const r = new Random();
        const D = r.pick([r.int(1, 16), r.int(33, 64)]);
        for (const [B, H, KVH, T, S] of [
          [1, 1, 1, 1, 1],
          [2, 4, 2, r.int(1, 30), r.int(1, 90)],
          [1, 2, 2, 9, 4],
        ]) {
          const [q, k, v] = [r.matrix([B, H, T, D], type), r.matrix([B, KVH, S, D], type), r.matrix([B, KVH, S, D], type)];
          for (const causal of [false, true]) {
            const heads = Array.from({ length: B * H }, (_, i) => {
              const kv = Math.floor(i / H) * KVH + Math.floor((i % H) / (H / KVH));
              const part = (x: typeof q, n: number, rows: number) => ({
                shape: [rows, D],
                data: x.data.slice(n * rows * D, (n + 1) * rows * D),
              });
              return attentionOf(part(q, i, T), part(k, kv, S), part(v, kv, S), causal, 1 / Math.sqrt(D));
            }).flat();
            const y = attention(q.lazy, k.lazy, v.lazy, { causal });
            expect(y.shape).toEqual([B, H, T, D]);
            expect(worst(await numbers(y), heads, STEP[type] * 4 + 1e-5)).toBeLessThan(1);
          }
        }
      });
    },
    PATIENCE,
  );

  test(
    "nothing at all",
    async () => {
      await on(device, async () => {
        const none = buffer(new Float32Array(0), [0, 4]);
        const wide = buffer(new Float32Array(0), [2, 0]);
        expect(await dot(none, buffer(new Float32Array(8), [4, 2])).array()).toEqual([]);
        expect(
          await dot(wide, buffer(new Float32Array(0), [0, 3]))
            .add(1)
            .array(),
        ).toEqual([
          [1, 1, 1],
          [1, 1, 1],
        ]);
        expect(await softmax(none).array()).toEqual([]);
        expect(await rmsNorm(wide).array()).toEqual([[], []]);
        expect(await wide.sum().array()).toEqual([0, 0]);
        expect(await wide.max().array()).toEqual([-Infinity, -Infinity]);
        expect(await none.add(1).exp().array()).toEqual([]);
        expect(await attention(none, none, none).array()).toEqual([]);
        expect(
          await attention(
            buffer(Float32Array.of(1, 2), [1, 2]),
            buffer(new Float32Array(0), [0, 2]),
            buffer(new Float32Array(0), [0, 2]),
          ).array(),
        ).toEqual([[0, 0]]);
      });
    },
    PATIENCE,
  );

  test(
    "infinities and NaN where they mean something",
    async () => {
      await on(device, async () => {
        const x = stored(Float32Array.of(1, -Infinity, 2, NaN, 0, 1, -Infinity, -Infinity, -Infinity, Infinity, 0, 0), [4, 3]);
        expect(worst(await numbers(softmax(x.lazy)), byRow(x, softmaxRow), 1e-6)).toBeLessThan(1);
        expect(await numbers(x.lazy.relu())).toEqual([1, 0, 2, NaN, 0, 1, 0, 0, 0, Infinity, 0, 0]);
        expect(await numbers(x.lazy.sum())).toEqual([-Infinity, NaN, -Infinity, Infinity]);
        expect(await numbers(x.lazy.max())).toEqual([2, 1, -Infinity, Infinity]);
        const y = stored(Float32Array.of(1, Infinity, 2, 0, NaN, 1), [2, 3]);
        const eye = stored(Float32Array.of(1, 0, 0, 1, 0, 0), [3, 2]);
        expect(worst(await numbers(dot(y.lazy, eye.lazy)), dotOf(y, eye, false), 1e-6)).toBeLessThan(1);
      });
    },
    PATIENCE,
  );
});
