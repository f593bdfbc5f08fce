/** The examples on every device at hand, each checking itself against plain loops; and as programs of their own on the default device. */
import { describe, expect, spyOn, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { blur, main as blurMain, plainBlur } from "../../examples/blur.ts";
import { main as flashAttention } from "../../examples/flash-attention.ts";
import { main as fused } from "../../examples/fused.ts";
import { main as histogram } from "../../examples/histogram.ts";
import { main as mandelbrot } from "../../examples/mandelbrot.ts";
import { main as naiveMatmul } from "../../examples/matmul-naive.ts";
import { main as threadMatmul } from "../../examples/matmul-threads.ts";
import { main as matmulMain, matmul } from "../../examples/matmul.ts";
import { main as mlp } from "../../examples/mlp.ts";
import { main as nbody } from "../../examples/nbody.ts";
import { causalSoftmax, main as softmax } from "../../examples/softmax.ts";
import { main as vectorAdd } from "../../examples/vector-add.ts";
import { DEVICES, on } from "../lazy/devices.ts";
import { Random, seed } from "./random-kernels.ts";

console.log(`examples: seed ${seed} (ALLOY_TEST_SEED)`);

/** Compiling for the first time takes a while on a busy machine. */
const PATIENCE = 300_000;
const FOLDER = join(import.meta.dir, "../../examples");

/** Every example with sizes that the interpreter manages, and what it prints at the least. */
const EXAMPLES: Readonly<Record<string, [run: () => Promise<void>, prints: RegExp]>> = {
  "vector-add": [() => vectorAdd(3000), /3000 elements agree/],
  fused: [() => fused(5, 30), /1\. mul \+ add \+ map \+ exp \+ sub \+ maximum/],
  softmax: [() => softmax(5, 7), /from parts: 35 elements agree/],
  blur: [() => blurMain(20, 6), /120 elements agree/],
  matmul: [() => matmulMain(33, 20, 40), /GFLOP/],
  "matmul-naive": [() => naiveMatmul(5, 6, 7), /30 elements agree/],
  "matmul-threads": [() => threadMatmul(17, 20, 18), /340 elements agree/],
  histogram: [() => histogram(5000), /256 elements agree/],
  nbody: [() => nbody(70, 3), /drifted/],
  mandelbrot: [() => mandelbrot(40, 12, 50), /@@@/],
  "flash-attention": [() => flashAttention(20, 40), /builtin: 1280 elements agree/],
  mlp: [() => mlp(3, 8, 12, 4), /dotTransposeB \+ add \+ relu/],
};

test("every example has its test", () => {
  const files = readdirSync(FOLDER).map((f) => f.replace(/\.ts$/, ""));
  expect(files.filter((f) => f !== "check").sort()).toEqual(Object.keys(EXAMPLES).sort());
});

describe.each(DEVICES)("on $name", ({ device }) => {
  test.each(Object.entries(EXAMPLES))(
    "%s",
    async (_, [run, prints]) => {
      const log = spyOn(console, "log").mockImplementation(() => {});
      try {
        await on(device, run);
        expect(log.mock.calls.map((c) => c.join(" ")).join("\n")).toMatch(prints);
      } finally {
        log.mockRestore();
      }
    },
    PATIENCE,
  );

  test(
    "blur of an image of any size",
    () =>
      on(device, async () => {
        const r = new Random(seed);
        const [W, H] = [r.int(1, 20), r.int(1, 20)];
        const src = Float32Array.from({ length: W * H }, () => r.next());
        const dst = await blur.grid(W, H)({ src, W, H });
        expect(dst).toHaveLength(W * H);
        dst.forEach((v, i) => expect(v).toBeCloseTo(plainBlur(src, W, H, i), 5));
      }),
    PATIENCE,
  );

  test(
    "matmul of sizes that no tile divides",
    () =>
      on(device, async () => {
        const r = new Random(seed);
        const [M, N, K] = [r.int(1, 70), r.int(1, 70), r.int(1, 70)];
        const a = Float16Array.from({ length: M * K }, () => r.next() - 0.5);
        const b = Float16Array.from({ length: N * K }, () => r.next() - 0.5);
        const c = await matmul.grid(Math.ceil(M / 32), Math.ceil(N / 32))({ a, b, M, N, K });
        for (let i = 0; i < M; i++) {
          for (let j = 0; j < N; j++) {
            let sum = 0;
            for (let k = 0; k < K; k++) sum += a[i * K + k] * b[j * K + k];
            expect(c[i * N + j]).toBeCloseTo(sum, 4);
          }
        }
      }),
    PATIENCE,
  );

  test(
    "causal softmax of up to 256 columns",
    () =>
      on(device, async () => {
        const r = new Random(seed);
        const [rows, N, offset, scale] = [5, r.int(5, 256), r.int(0, 3), 0.5];
        const x = Float32Array.from({ length: rows * N }, () => r.next() * 8);
        const bias = Float32Array.from({ length: N }, () => r.next());
        const y = await causalSoftmax.grid(rows)({ x, bias, N, offset, scale });
        for (let row = 0; row < rows; row++) {
          const e = Array.from({ length: N }, (_, k) => (k <= row + offset ? Math.exp(scale * x[row * N + k] + bias[k]) : 0));
          const total = e.reduce((a, b) => a + b);
          e.forEach((v, k) => expect(y[row * N + k]).toBeCloseTo(v / total, 5));
        }
      }),
    PATIENCE,
  );
});

test.each(Object.keys(EXAMPLES))(
  "bun examples/%s.ts prints its result",
  (name) => {
    const run = Bun.spawnSync([process.execPath, join(FOLDER, `${name}.ts`)], { stderr: "pipe" });
    expect(run.stderr.toString()).toBe("");
    expect(run.stdout.toString()).toMatch(/\d/);
    expect(run.exitCode).toBe(0);
  },
  PATIENCE,
);

test(
  "kernels that are composed at run time need no C compiler",
  () => {
    const env = { ...process.env, ALLOY_DEVICE: "cpu", ALLOY_CC: "", ALLOY_LIBRARY: "none" };
    const run = Bun.spawnSync([process.execPath, join(FOLDER, "mlp.ts")], { env, stderr: "pipe" });
    expect(run.stderr.toString()).toBe("");
    expect(run.stdout.toString()).toContain("agree with a plain loop");
  },
  PATIENCE,
);
