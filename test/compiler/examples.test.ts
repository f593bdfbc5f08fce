/** The examples, on the default device, beside plain JavaScript; and as programs of their own. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { blur } from "../../examples/blur.ts";
import { matmul } from "../../examples/matmul.ts";
import { causalSoftmax } from "../../examples/softmax.ts";
import { Random, seed } from "./random-kernels.ts";

console.log(`examples: seed ${seed} (ALLOY_TEST_SEED)`);

/** Compiling for the first time takes a while on a busy machine. */
const PATIENCE = 60_000;

test(
  "blur",
  async () => {
    const r = new Random(seed);
    const [W, H] = [r.int(1, 20), r.int(1, 20)];
    const src = Float32Array.from({ length: W * H }, () => r.next());
    const dst = await blur.grid(W, H)({ src, W, H });
    expect(dst).toHaveLength(W * H);
    for (let y = 0; y < H; y++) {
      for (let x = 0; x < W; x++) {
        const near = [-1, 0, 1].flatMap((dy) => [-1, 0, 1].map((dx) => [x + dx, y + dy]));
        const inside = near.filter(([i, j]) => i >= 0 && i < W && j >= 0 && j < H).map(([i, j]) => src[j * W + i]);
        expect(dst[y * W + x]).toBeCloseTo(inside.reduce((a, b) => a + b) / inside.length, 5);
      }
    }
  },
  PATIENCE,
);

test(
  "matmul of sizes that no tile divides",
  async () => {
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
  },
  PATIENCE,
);

test(
  "causal softmax",
  async () => {
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
  },
  PATIENCE,
);

for (const name of ["blur", "matmul", "softmax"]) {
  test(
    `bun examples/${name}.ts prints its result`,
    () => {
      const run = Bun.spawnSync([process.execPath, join(import.meta.dir, `../../examples/${name}.ts`)], { stderr: "pipe" });
      expect(run.stderr.toString()).toBe("");
      expect(run.stdout.toString()).toMatch(/\d/);
      expect(run.exitCode).toBe(0);
    },
    PATIENCE,
  );
}
