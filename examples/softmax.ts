/**
 * Softmax three ways: scale, bias, mask and softmax as one kernel written by hand, then the same from builtins on lazy buffers.
 * Run it: bun examples/softmax.ts
 */
import { constexpr, dim, f32, fn, kernel, out, ptr, scalar } from "../src/compiler/language/index.ts";
import { buffer, softmax } from "../src/lazy/index.ts";
import { check, noise } from "./check.ts";

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

export async function main(rows = 6, N = 6): Promise<void> {
  const [x, bias] = [noise(rows * N), noise(N)];
  const byHand = await causalSoftmax.grid(rows)({ x, bias, N, offset: 0, scale: 2 });
  for (let r = 0; r < Math.min(rows, 8); r++)
    console.log([...byHand.subarray(r * N, r * N + Math.min(N, 8))].map((v) => v.toFixed(3)).join(" "));

  // The same from parts. The mask is an addition of -Infinity; all of it is one kernel again.
  const mask = Float32Array.from({ length: rows * N }, (_, i) => (i % N > Math.floor(i / N) ? -Infinity : 0));
  const fromParts = softmax(
    buffer(x, [rows, N])
      .mul(2)
      .add(buffer(bias))
      .add(buffer(mask, [rows, N])),
  );
  console.log(fromParts.explain().toString());

  const plain = Array.from({ length: rows }, (_, r) => {
    const e = Array.from({ length: N }, (_, k) => (k <= r ? Math.exp(2 * x[r * N + k] + bias[k]) : 0));
    const total = e.reduce((a, b) => a + b);
    return e.map((v) => v / total);
  }).flat();
  console.log(`by hand: ${check(byHand, (i) => plain[i])}`);
  console.log(`from parts: ${check((await fromParts.read()) as Float32Array, (i) => plain[i])}`);
}

if (import.meta.main) await main();
