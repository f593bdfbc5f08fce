/** The matrix product of tiles, with elementwise work fused behind it. */
import type { DTypeObject, Helper } from "../src/compiler/language/index.ts";
import { constexpr, dim, fn, kernel, out, ptr } from "../src/compiler/language/index.ts";
import { operands, type Fusion } from "./fusion.ts";

export interface Product extends Pick<Fusion, "name" | "params" | "epilogue"> {
  /** (p, batch) => elements before the batch's matrix in a and in b. */
  readonly aStart: Helper;
  readonly bStart: Helper;
}

/** A tile as dot takes it. Types that differ meet in f32. */
const operand = fn((al, x, wide) => (wide ? al.cast(x, al.f32) : x));

/**
 * y = epilogue(a · b), or a · bᵀ with TRANSPOSED; f32 sums. a: [.., M, K], b: [.., K, N] or [.., N, K], y: [.., M, N].
 * Grid: (ceil(M / BM), ceil(N / BN), batches).
 */
export const matmul = (f: Product, a: DTypeObject, b: DTypeObject, y: DTypeObject) =>
  kernel(
    f.name,
    {
      ...operands(f),
      a: ptr(a),
      b: ptr(b),
      y: out(y),
      M: dim,
      N: dim,
      K: dim,
      TRANSPOSED: constexpr(false),
      WIDE: constexpr(false),
      BM: constexpr(32),
      BN: constexpr(32),
      BK: constexpr(32),
    },
    (al, p) => {
      const { y, M, N, K, TRANSPOSED, WIDE, BM, BN, BK, aStart, bStart, epilogue } = p;
      const batch = al.programId(2);
      const a = p.a + aStart(p, batch);
      const b = p.b + bStart(p, batch);
      const rm = al.col(al.programId(0) * BM + al.arange(BM));
      const rn = al.programId(1) * BN + al.arange(BN);
      // Rows beyond the end repeat the last one: they are computed and not stored.
      const m = al.min(rm, M - 1);
      let acc = al.zeros([BM, BN], al.f32);
      for (let k = 0; k < K; k += BK) {
        const rk = k + al.arange(BK);
        const x = al.load(a + m * K + al.row(rk), { mask: al.row(rk) < K });
        if (TRANSPOSED) {
          const w = al.load(b + al.col(al.min(rn, N - 1)) * K + al.row(rk), { mask: al.row(rk) < K });
          acc = al.dot(operand(x, WIDE), operand(w, WIDE), acc, { transposeB: true });
        } else {
          const w = al.load(b + al.col(rk) * N + al.row(rn), { mask: al.col(rk) < K && al.row(rn) < N });
          acc = al.dot(operand(x, WIDE), operand(w, WIDE), acc);
        }
      }
      const col = al.row(rn);
      const row = batch * M + m;
      al.store(y + row * N + col, epilogue(p, acc, row, col, col < N), { mask: rm < M && col < N });
    },
    {
      uses: { aStart: f.aStart, bStart: f.bStart, epilogue: f.epilogue, operand },
      simdgroups: (c) => Math.min(8, Math.max(1, (c.BM * c.BN) / 512)),
    },
  );
