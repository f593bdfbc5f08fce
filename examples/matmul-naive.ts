/**
 * The matrix product as the formula says it: one program per element, each walks a row of a and a column of b. Simple, and slow: every element of a
 * and b is read again and again (matmul.ts and matmul-threads.ts read blocks of them once). Run it: bun examples/matmul-naive.ts
 */
import { dim, f32, kernel, out, ptr } from "../src/compiler/language/index.ts";
import { check, noise, time } from "./check.ts";

/** c = a · b. a: [M, K], b: [K, N], c: [M, N]. Grid: (N, M), one program per element. */
export const naiveMatmul = kernel("naive_matmul", { a: ptr(f32), b: ptr(f32), c: out(f32), N: dim, K: dim }, (al, { a, b, c, N, K }) => {
  const column = al.programId(0);
  const row = al.programId(1);
  let sum = 0.0;
  for (let k = 0; k < K; k++) sum += al.load(a + row * K + k) * al.load(b + k * N + column);
  al.store(c + row * N + column, sum);
});

export async function main(M = 128, N = 128, K = 128): Promise<void> {
  const [a, b] = [noise(M * K), noise(K * N)];
  const run = () => naiveMatmul.grid(N, M)({ a, b, N, K });
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
