/** Norms, rotary positions and elementwise kernels against plain float64 references, on the interpreter and the CPU. */
import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import * as elementwise from "../../kernels/elementwise.ts";
import { layerNorm, rmsNorm } from "../../kernels/norm.ts";
import { ropeHeads } from "../../kernels/rope.ts";
import { createDevice } from "../../src/runtime/index.ts";
import { deviceRunner, error, floats, interpreterRunner, random, range, type Runner, SEED, uniform } from "./runners.ts";

const device = createDevice("cpu", { threads: 2 });
afterAll(() => device.close());
// Kernels that no library holds are compiled when they are first used.
setDefaultTimeout(120_000);
const runners: [string, () => Runner, number][] = [
  ["interpreter", interpreterRunner, 40],
  ["cpu", () => deviceRunner(device), 300],
];

describe.each(runners)("%s", (_, make, most) => {
  const run = make();
  const next = random(SEED);
  const below = (n: number): number => Math.floor(next() * n);

  test("rmsNorm and layerNorm", () => {
    for (const D of [1, 15, 64, 65, 1 + below(most)]) {
      const rows = 1 + below(4);
      const [x, w, b] = [uniform(next, rows * D, 3), uniform(next, D, 2), uniform(next, D, 2)];
      const eps = 1e-5;
      const want = { rms: new Float64Array(rows * D), layer: new Float64Array(rows * D) };
      for (let r = 0; r < rows; r++) {
        const row = [...x.subarray(r * D, r * D + D)];
        const mean = row.reduce((s, v) => s + v, 0) / D;
        const square = row.reduce((s, v) => s + v * v, 0) / D;
        const variance = row.reduce((s, v) => s + (v - mean) ** 2, 0) / D;
        row.forEach((v, i) => {
          want.rms[r * D + i] = (v / Math.sqrt(square + eps)) * w[i];
          want.layer[r * D + i] = ((v - mean) / Math.sqrt(variance + eps)) * w[i] + b[i];
        });
      }
      const [bx, bw, bb, by] = [run.buffer(x), run.buffer(w), run.buffer(b), run.buffer(x.byteLength)];
      run.run([{ program: run.ctx.program(rmsNorm, {}), grid: [1, rows, 1], args: [bx, bw, by, D, eps] }]);
      expect(error(floats(by, rows * D), want.rms)).toBeLessThan(1e-5);
      run.run([{ program: run.ctx.program(layerNorm, {}), grid: [1, rows, 1], args: [bx, bw, bb, by, D, eps] }]);
      expect(error(floats(by, rows * D), want.layer)).toBeLessThan(1e-4);
    }
  });

  test("ropeHeads: both pairings, partial rotation, with and without the norm of a head", () => {
    for (const [D, R] of [
      [16, 16],
      [24, 16],
      [80, 32],
      [6, 2],
    ]) {
      for (const INTERLEAVED of [false, true]) {
        for (const NORM of [false, true]) {
          const [T, heads, column, eps] = [2, 3, 5, 1e-6];
          const stride = column + heads * D + 3;
          const [x, w] = [uniform(next, T * stride, 2), uniform(next, D, 2)];
          const angles = range((T * R) / 2).map(() => next() * 7);
          const want = Float64Array.from(x);
          for (let t = 0; t < T; t++) {
            for (let h = 0; h < heads; h++) {
              const at = t * stride + column + h * D;
              const head = [...x.subarray(at, at + D)];
              const scale = 1 / Math.sqrt(head.reduce((s, v) => s + v * v, 0) / D + eps);
              const v = head.map((e, i) => (NORM ? e * scale * w[i] : e));
              v.forEach((e, i) => (want[at + i] = e));
              for (let p = 0; p < R / 2; p++) {
                const [i, j] = INTERLEAVED ? [2 * p, 2 * p + 1] : [p, p + R / 2];
                const a = angles[(t * R) / 2 + p];
                want[at + i] = v[i] * Math.cos(a) - v[j] * Math.sin(a);
                want[at + j] = v[j] * Math.cos(a) + v[i] * Math.sin(a);
              }
            }
          }
          const bx = run.buffer(x);
          const args = [
            bx,
            run.buffer(Float32Array.from(angles, Math.cos)),
            run.buffer(Float32Array.from(angles, Math.sin)),
            run.buffer(w),
            stride,
            column,
            D,
            R,
            eps,
          ];
          run.run([{ program: run.ctx.program(ropeHeads, { INTERLEAVED, NORM }), grid: [heads, T, 1], args }]);
          expect(error(floats(bx, x.length), want)).toBeLessThan(1e-5);
        }
      }
    }
  });

  test("activations, add, scale, gather, softmax", () => {
    const acts: Record<string, (v: number) => number> = {
      silu: (v) => v / (1 + Math.exp(-v)),
      gelu_tanh: (v) => 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3))),
      relu: (v) => Math.max(v, 0),
      relu2: (v) => Math.max(v, 0) ** 2,
    };
    const [N, T] = [1 + below(most), 2];
    const grid = [Math.ceil(N / 256), T, 1] as const;
    const x = uniform(next, T * 2 * N, 12);
    const z = uniform(next, T * N, 3);
    for (const [ACT, f] of Object.entries(acts)) {
      const y = run.buffer(T * N * 4);
      run.run([{ program: run.ctx.program(elementwise.gatedActivation, { ACT }), grid, args: [run.buffer(x), y, 2 * N, 0, N, N] }]);
      const want = range(T * N).map((i) => f(x[Math.floor(i / N) * 2 * N + (i % N)]) * x[Math.floor(i / N) * 2 * N + N + (i % N)]);
      expect({ ACT, ok: error(floats(y, T * N), want) < 1e-5 }).toEqual({ ACT, ok: true });
      run.run([{ program: run.ctx.program(elementwise.activation, { ACT }), grid, args: [run.buffer(z), y, N] }]);
      expect(error(floats(y, T * N), [...z].map(f))).toBeLessThan(1e-5);
    }
    const y = run.buffer(T * N * 4);
    run.run([{ program: run.ctx.program(elementwise.addScaled, {}), grid, args: [run.buffer(x), run.buffer(z), y, N, 0.25] }]);
    expect(
      error(
        floats(y, T * N),
        [...z].map((v, i) => x[i] + 0.25 * v),
      ),
    ).toBeLessThan(1e-6);
    run.run([{ program: run.ctx.program(elementwise.scaleRows, { SOFTCAP: true }), grid, args: [run.buffer(z), y, N, 10, 5] }]);
    expect(
      error(
        floats(y, T * N),
        [...z].map((v) => 5 * Math.tanh((v * 10) / 5)),
      ),
    ).toBeLessThan(1e-5);
    run.run([
      {
        program: run.ctx.program(elementwise.gatherRows, {}),
        grid: [grid[0], 3, 1],
        args: [run.buffer(z), run.buffer(Int32Array.of(1, 0, 1)), run.buffer(0x4000), N],
      },
    ]);
    const g = run.buffer(3 * N * 4);
    run.run([
      {
        program: run.ctx.program(elementwise.gatherRows, {}),
        grid: [grid[0], 3, 1],
        args: [run.buffer(z), run.buffer(Int32Array.of(1, 0, 1)), g, N],
      },
    ]);
    expect([...floats(g, 3 * N)]).toEqual([...z.subarray(N), ...z.subarray(0, N), ...z.subarray(N)]);
    const s = z.map((v, i) => (i % 7 === 3 && N > 8 ? -Infinity : v * 20));
    run.run([{ program: run.ctx.program(elementwise.softmaxRows, {}), grid: [1, T, 1], args: [run.buffer(s), y, N] }]);
    const soft = range(T).flatMap((t) => {
      const row = [...s.subarray(t * N, t * N + N)];
      const peak = Math.max(...row);
      const sum = row.reduce((a, v) => a + Math.exp(v - peak), 0);
      return row.map((v) => Math.exp(v - peak) / sum);
    });
    expect(error(floats(y, T * N), soft)).toBeLessThan(1e-6);
  });
});
