/**
 * The tiled matrix product at thread level, as it is written for GPUs: the 16 × 16 threads of a threadgroup copy a block of a and a block of b to
 * shared memory, wait for each other, and each adds up one element of c from there. matmul.ts is the same idea on tiles.
 * Run it: bun examples/matmul-threads.ts
 */
import { dim, f32, kernel, out, ptr } from "../src/compiler/language/index.ts";
import { check, noise, time } from "./check.ts";

const SIDE = 16;

/** c = a · b. a: [M, K], b: [K, N], c: [M, N], any sizes. Grid: (ceil(N / 16), ceil(M / 16)) threadgroups of 16 × 16. */
export const threadMatmul = kernel(
  "thread_matmul",
  { a: ptr(f32), b: ptr(f32), c: out(f32, (args) => Number(args.M) * Number(args.N)), M: dim, N: dim, K: dim },
  (al, { a, b, c, M, N, K, SIDE }) => {
    const blockA = al.shared([SIDE, SIDE]);
    const blockB = al.shared([SIDE, SIDE]);
    const x = al.threadId(0);
    const y = al.threadId(1);
    const column = al.programId(0) * SIDE + x;
    const row = al.programId(1) * SIDE + y;

    let sum = 0.0;
    for (let k = 0; k < K; k += SIDE) {
      // Every thread brings one element of each block; beyond the edges it brings a zero.
      al.store(blockA + y * SIDE + x, al.load(a + row * K + k + x, { mask: row < M && k + x < K }));
      al.store(blockB + y * SIDE + x, al.load(b + (k + y) * N + column, { mask: k + y < K && column < N }));
      al.barrier(); // the blocks are complete
      for (let i = 0; i < SIDE; i++) sum += al.load(blockA + y * SIDE + i) * al.load(blockB + i * SIDE + x);
      al.barrier(); // everyone is done with them
    }
    al.store(c + row * N + column, sum, { mask: row < M && column < N });
  },
  { threads: [SIDE, SIDE], uses: { SIDE } },
);

export async function main(M = 200, N = 150, K = 100): Promise<void> {
  const [a, b] = [noise(M * K), noise(K * N)];
  const run = () => threadMatmul.grid(Math.ceil(N / SIDE), Math.ceil(M / SIDE))({ a, b, M, N, K });
  const c = await run();
  const plain = (i: number): number => {
    let sum = 0;
    for (let k = 0; k < K; k++) sum += a[Math.floor(i / N) * K + k] * b[k * N + (i % N)];
    return sum;
  };
  console.log(check(c, plain, 1e-3));
  const ms = await time(run);
  console.log(`${M}×${N}×${K}: ${ms.toFixed(1)} ms, ${((2 * M * N * K) / ms / 1e6).toFixed(2)} GFLOP/s`);
}

if (import.meta.main) await main();
