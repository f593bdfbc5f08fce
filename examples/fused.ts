/**
 * Elementwise work on lazy buffers: nothing runs until a result is read, and then the whole formula is one kernel that reads its inputs once and
 * writes its result once. Run it: bun examples/fused.ts
 */
import { fn } from "../src/compiler/language/index.ts";
import { buffer, type LazyBuffer } from "../src/lazy/index.ts";
import { check, noise, time } from "./check.ts";

/** A function of your own, elementwise: a helper of the kernel language. */
export const softsign = fn((al, x: number) => x / (1 + al.abs(x)));

export async function main(rows = 1000, columns = 1000): Promise<void> {
  const [data, offsets] = [noise(rows * columns), noise(columns)];
  const x = buffer(data, [rows, columns]);
  const offset = buffer(offsets); // [columns]: the same for every row, as NumPy broadcasts

  const steps: ((y: LazyBuffer) => LazyBuffer)[] = [
    (y) => y.mul(3),
    (y) => y.add(offset),
    (y) => y.map(softsign),
    (y) => y.exp(),
    (y) => y.sub(1),
    (y) => y.maximum(-0.5),
  ];
  const formula = () => steps.reduce((y, step) => step(y), x);
  console.log(formula().explain().toString());

  const plain = (v: number) => Math.max(Math.exp(v / (1 + Math.abs(v))) - 1, -0.5);
  console.log(check((await formula().read()) as Float32Array, (i) => plain(3 * data[i] + offsets[i % columns])));

  const fused = await time(() => formula().read());
  // The same, with a kernel and a trip through memory for every step: reading a buffer computes it.
  const apart = await time(async () => {
    let y = x;
    for (const step of steps) await (y = step(y)).read();
  });
  console.log(`as one kernel ${fused.toFixed(2)} ms, step by step ${apart.toFixed(2)} ms`);
}

if (import.meta.main) await main();
