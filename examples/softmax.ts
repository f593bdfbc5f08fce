/** Scale, bias, mask and softmax in one pass over memory: what would be four kernels elsewhere. Run it: bun examples/softmax.ts */
import { constexpr, dim, f32, fn, kernel, out, ptr, scalar } from "../src/compiler/language/index.ts";

/** exp(v - max v) and its sum; v: [N]. */
const exponents = fn((al, v: number): readonly [number, number] => {
  const e = al.exp(v - al.max(v));
  return [e, al.sum(e)];
});

/** y[r, :] = softmax(scale · x[r, :] + bias) over the first `r + 1 + offset` columns, 0 beyond (a causal mask). x, y: [rows, N]; N ≤ BLOCK. */
export const causalSoftmax = kernel(
  "causal_softmax",
  {
    x: ptr(f32),
    bias: ptr(f32),
    y: out(f32, (a) => (a.x as Float32Array).length),
    N: dim,
    offset: dim,
    scale: scalar(f32),
    BLOCK: constexpr(256),
  },
  (al, { x, bias, y, N, offset, scale, BLOCK, exponents }) => {
    const row = al.programId(0);
    const k = al.arange(BLOCK);
    const seen = k < N && k <= row + offset;
    const v = al.load(x + row * N + k, { mask: seen }) * scale + al.load(bias + k, { mask: seen });
    const [e, total] = exponents(al.where(seen, v, -Infinity));
    al.store(y + row * N + k, e / total, { mask: k < N });
  },
  { uses: { exponents } },
);

if (import.meta.main) {
  const [rows, N] = [4, 6];
  const x = Float32Array.from({ length: rows * N }, (_, i) => Math.sin(i));
  const y = await causalSoftmax.grid(rows)({ x, bias: new Float32Array(N), N, offset: 0, scale: 2 });
  for (let r = 0; r < rows; r++) console.log([...y.subarray(r * N, (r + 1) * N)].map((v) => v.toFixed(3)).join(" "));
}
