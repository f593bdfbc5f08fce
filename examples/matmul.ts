/** A tiled matrix product with float16 inputs and float32 sums. Run it: bun examples/matmul.ts */
import { constexpr, dim, f16, f32, kernel, out, ptr } from "../src/compiler/language/index.ts";

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

if (import.meta.main) {
  const [M, N, K] = [512, 512, 512];
  const a = Float16Array.from({ length: M * K }, () => Math.random() - 0.5);
  const b = Float16Array.from({ length: N * K }, () => Math.random() - 0.5);
  await matmul.grid(M / 32, N / 32)({ a, b, M, N, K });
  const start = performance.now();
  const c = await matmul.grid(M / 32, N / 32)({ a, b, M, N, K });
  const ms = performance.now() - start;
  console.log(`${M}×${N}×${K}: ${ms.toFixed(1)} ms, ${((2 * M * N * K) / ms / 1e6).toFixed(1)} GFLOP/s, c[0] = ${c[0].toFixed(3)}`);
}
