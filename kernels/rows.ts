/**
 * Kernels over rows, fused with elementwise work before and behind them: softmax, the norms, reductions, cross entropy. Grid: (rows).
 * A row of up to BLOCK elements (WHOLE) is read once; a longer one several times, BLOCK elements at a time.
 */
import type { DTypeObject } from "../src/compiler/language/index.ts";
import { constexpr, dim, fn, i32, kernel, out, ptr, scalar, f32 } from "../src/compiler/language/index.ts";
import { simdgroups } from "./elementwise.ts";
import { operands, type Fusion } from "./fusion.ts";

/** The elements of a row from `i` on; `other` beyond its end. */
const piece = fn((al, p, row, i, other) => {
  const k = i + al.arange(p.BLOCK);
  return al.where(k < p.N, p.source(p, row, k, k < p.N), other);
});

/** The row's maximum and the sum of exp(v - maximum), block by block. */
const peakAndSum = fn(
  (al, p, row) => {
    let top = al.full([p.BLOCK], -Infinity, al.f32);
    for (let i = 0; i < p.N; i += p.BLOCK) top = al.max(top, piece(p, row, i, -Infinity));
    const peak = al.max(top);
    let total = al.zeros([p.BLOCK], al.f32);
    for (let i = 0; i < p.N; i += p.BLOCK) total = total + al.exp(piece(p, row, i, -Infinity) - peak);
    return [peak, al.sum(total)];
  },
  { uses: { piece } },
);

/** y = epilogue(softmax(source)) of every row. */
export const softmax = (f: Fusion, type: DTypeObject) =>
  kernel(
    f.name,
    { ...operands(f), y: out(type), N: dim, BLOCK: constexpr(64), WHOLE: constexpr(false) },
    (al, p) => {
      const { y, N, BLOCK, WHOLE, epilogue } = p;
      const row = al.programId(0);
      if (WHOLE) {
        const k = al.arange(BLOCK);
        const v = piece(p, row, 0, -Infinity);
        const e = al.exp(v - al.max(v));
        al.store(y + row * N + k, epilogue(p, e / al.sum(e), row, k, k < N), { mask: k < N });
      } else {
        const [peak, total] = peakAndSum(p, row);
        for (let i = 0; i < N; i += BLOCK) {
          const k = i + al.arange(BLOCK);
          const e = al.exp(piece(p, row, i, -Infinity) - peak);
          al.store(y + row * N + k, epilogue(p, e / total, row, k, k < N), { mask: k < N });
        }
      }
    },
    { uses: { source: f.source, epilogue: f.epilogue, piece, peakAndSum }, simdgroups },
  );

/** y = epilogue((source - mean) / sqrt(variance + eps)) of every row; without CENTER: source / sqrt(mean of squares + eps). */
export const normalize = (f: Fusion, type: DTypeObject) =>
  kernel(
    f.name,
    { ...operands(f), y: out(type), N: dim, eps: scalar(f32), CENTER: constexpr(true), BLOCK: constexpr(64), WHOLE: constexpr(false) },
    (al, p) => {
      const { y, N, eps, CENTER, BLOCK, WHOLE, epilogue } = p;
      const row = al.programId(0);
      if (WHOLE) {
        const k = al.arange(BLOCK);
        const v = piece(p, row, 0, 0);
        const d = CENTER ? al.where(k < N, v - al.sum(v) / N, 0) : v;
        const scale = 1 / al.sqrt(al.sum(d * d) / N + eps);
        al.store(y + row * N + k, epilogue(p, d * scale, row, k, k < N), { mask: k < N });
      } else {
        let total = al.zeros([BLOCK], al.f32);
        if (CENTER) for (let i = 0; i < N; i += BLOCK) total = total + piece(p, row, i, 0);
        const mean = al.sum(total) / N;
        let squares = al.zeros([BLOCK], al.f32);
        for (let i = 0; i < N; i += BLOCK) {
          const d = piece(p, row, i, mean) - mean;
          squares = al.fma(d, d, squares);
        }
        const scale = 1 / al.sqrt(al.sum(squares) / N + eps);
        for (let i = 0; i < N; i += BLOCK) {
          const k = i + al.arange(BLOCK);
          al.store(y + row * N + k, epilogue(p, (piece(p, row, i, mean) - mean) * scale, row, k, k < N), { mask: k < N });
        }
      }
    },
    { uses: { source: f.source, epilogue: f.epilogue, piece }, simdgroups },
  );

/** y[row] = epilogue(sum | mean | max | min of source over the row): of nothing 0, NaN, -Infinity, Infinity. */
export const reduce = (f: Fusion, type: DTypeObject) =>
  kernel(
    f.name,
    { ...operands(f), y: out(type), N: dim, HOW: constexpr("sum"), BLOCK: constexpr(64) },
    (al, p) => {
      const { y, N, HOW, BLOCK, epilogue } = p;
      const row = al.programId(0);
      const start = HOW === "max" ? -Infinity : HOW === "min" ? Infinity : 0;
      let acc = al.full([BLOCK], start, al.f32);
      for (let i = 0; i < N; i += BLOCK) {
        const v = piece(p, row, i, start);
        acc = HOW === "max" ? al.max(acc, v) : HOW === "min" ? al.min(acc, v) : acc + v;
      }
      const all = HOW === "max" ? al.max(acc) : HOW === "min" ? al.min(acc) : al.sum(acc);
      al.store(y + row, epilogue(p, HOW === "mean" ? all / N : all, row, 0, true));
    },
    { uses: { source: f.source, epilogue: f.epilogue, piece }, simdgroups },
  );

/** y[row] = epilogue(log(sum(exp(source))) - source[label of the row]); a label that is no column gives NaN. */
export const crossEntropy = (f: Fusion, type: DTypeObject) =>
  kernel(
    f.name,
    { ...operands(f), labels: ptr(i32), y: out(type), N: dim, BLOCK: constexpr(64) },
    (al, p) => {
      const { labels, y, N, epilogue } = p;
      const row = al.programId(0);
      const label = al.load(labels + row);
      const known = label >= 0 && label < N;
      const [peak, total] = peakAndSum(p, row);
      const own = p.source(p, row, al.clamp(label, 0, al.max(N - 1, 0)), known);
      const loss = al.log(total) + peak - own;
      al.store(y + row, epilogue(p, al.where(known, loss, NaN), row, 0, true));
    },
    { uses: { source: f.source, epilogue: f.epilogue, piece, peakAndSum }, simdgroups },
  );
