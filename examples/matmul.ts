/**
 * A tiled matrix product with float16 inputs and float32 sums, on tiles: no threads, no shared memory, no barriers. How a tile is spread over
 * threads or vector registers is the compiler's business (matmul-threads.ts does it by hand). Run it: bun examples/matmul.ts
 */
import { constexpr, dim, f16, f32, kernel, out, ptr } from "../src/compiler/language/index.ts";
import { check, noise, time } from "./check.ts";

/** c = a · bᵀ. a: [M, K], b: [N, K], c: [M, N], any sizes. Grid: (ceil(M / BM), ceil(N / BN)). */
export const matmul = kernel(
  "matmul",
  {
    a: ptr(f16),
    b: ptr(f16),
    c: out(f32, (args) => Number(args.M) * Number(args.N)),
    M: dim,
    N: dim,
    K: dim,
    BM: constexpr(32),
    BN: constexpr(32),
    BK: constexpr(32),
  },
  (al, { a, b, c, M, N, K, BM, BN, BK }) => {
    const rm = al.programId(0) * BM + al.arange(BM);
    const rn = al.programId(1) * BN + al.arange(BN);
    let acc = al.zeros([BM, BN], al.f32);
    for (let k = 0; k < K; k += BK) {
      const rk = k + al.arange(BK);
      const x = al.load(a + al.col(rm) * K + al.row(rk), { mask: al.col(rm) < M && al.row(rk) < K });
      const w = al.load(b + al.col(rn) * K + al.row(rk), { mask: al.col(rn) < N && al.row(rk) < K });
      acc = al.dot(x, w, acc, { transposeB: true });
    }
    al.store(c + al.col(rm) * N + al.row(rn), acc, { mask: al.col(rm) < M && al.row(rn) < N });
  },
);

export async function main(M = 512, N = 512, K = 512): Promise<void> {
  const a = Float16Array.from(noise(M * K));
  const b = Float16Array.from(noise(N * K));
  const run = () => matmul.grid(Math.ceil(M / 32), Math.ceil(N / 32))({ a, b, M, N, K });
  const c = await run();
  const plain = (i: number): number => {
    let sum = 0;
    for (let k = 0; k < K; k++) sum += a[Math.floor(i / N) * K + k] * b[(i % N) * K + k];
    return sum;
  };
  console.log(check(c.subarray(0, 4 * N), plain, 1e-3));
  const ms = await time(run);
  console.log(`${M}×${N}×${K}: ${ms.toFixed(1)} ms, ${((2 * M * N * K) / ms / 1e6).toFixed(1)} GFLOP/s`);
}

if (import.meta.main) await main();
