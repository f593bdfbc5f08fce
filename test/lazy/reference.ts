/** The builtins as plain loops over numbers, in double precision. */
export type Matrix = { shape: readonly number[]; data: readonly number[] };

const rowsOf = (shape: readonly number[]): [rows: number, columns: number] => [
  shape.slice(0, -1).reduce((a, b) => a * b, 1),
  shape.at(-1)!,
];

/** f on every row of the last axis. */
export function byRow(x: Matrix, f: (row: number[]) => number[]): number[] {
  const [rows, columns] = rowsOf(x.shape);
  return Array.from({ length: rows }, (_, r) => f(x.data.slice(r * columns, (r + 1) * columns))).flat();
}

export const softmaxRow = (v: number[]): number[] => {
  const top = Math.max(...v);
  const e = v.map((x) => Math.exp(x - top));
  const total = e.reduce((a, b) => a + b, 0);
  return e.map((x) => x / total);
};

export const layerNormRow = (v: number[], eps: number): number[] => {
  const mean = v.reduce((a, b) => a + b, 0) / v.length;
  return rmsNormRow(
    v.map((x) => x - mean),
    eps,
  );
};

export const rmsNormRow = (v: number[], eps: number): number[] => {
  const scale = 1 / Math.sqrt(v.reduce((a, b) => a + b * b, 0) / v.length + eps);
  return v.map((x) => x * scale);
};

/** a [M, K] · b [K, N], or b [N, K] transposed. */
export function dotOf(a: Matrix, b: Matrix, transposed: boolean): number[] {
  const [M, K] = a.shape;
  const N = transposed ? b.shape[0] : b.shape[1];
  return Array.from({ length: M * N }, (_, i) => {
    const [m, n] = [Math.floor(i / N), i % N];
    let sum = 0;
    for (let k = 0; k < K; k++) sum += a.data[m * K + k] * b.data[transposed ? n * K + k : k * N + n];
    return sum;
  });
}

/** One head: q [T, D], k and v [S, D]. */
export function attentionOf(q: Matrix, k: Matrix, v: Matrix, causal: boolean, scale: number): number[] {
  const [[T, D], [S]] = [q.shape, k.shape];
  return Array.from({ length: T }, (_, t) => {
    const seen = Array.from({ length: S }, (_, s) => s).filter((s) => !causal || s <= t + S - T);
    const p = seen.length ? softmaxRow(seen.map((s) => scale * dotRows(q, t, k, s, D))) : [];
    return Array.from({ length: D }, (_, d) => seen.reduce((sum, s, i) => sum + p[i] * v.data[s * D + d], 0));
  }).flat();
}

const dotRows = (a: Matrix, i: number, b: Matrix, j: number, D: number): number => {
  let sum = 0;
  for (let d = 0; d < D; d++) sum += a.data[i * D + d] * b.data[j * D + d];
  return sum;
};

/** NumPy's broadcast of an elementwise function. */
export function elementwise(f: (...x: number[]) => number, ...inputs: Matrix[]): Matrix {
  const rank = Math.max(...inputs.map((x) => x.shape.length));
  const shape = Array.from({ length: rank }, (_, i) => {
    const sizes = inputs.map((x) => x.shape[i - rank + x.shape.length] ?? 1);
    return sizes.find((n) => n !== 1) ?? 1;
  });
  const total = shape.reduce((a, b) => a * b, 1);
  const data = Array.from({ length: total }, (_, at) =>
    f(
      ...inputs.map((x) => {
        let index = 0;
        let step = 1;
        let rest = at;
        for (let i = rank - 1; i >= 0; i--) {
          const n = x.shape[i - rank + x.shape.length] ?? 1;
          if (n !== 1) index += (rest % shape[i]) * step;
          step *= n;
          rest = Math.floor(rest / shape[i]);
        }
        return x.data[index];
      }),
    ),
  );
  return { shape, data };
}
