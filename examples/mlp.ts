/**
 * A small neural network on lazy buffers, and its loss. Work behind each matrix product runs inside of the product's kernel.
 * Run it: bun examples/mlp.ts
 */
import { buffer, crossEntropy, dotTransposeB, layerNorm } from "../src/lazy/index.ts";
import { check, noise } from "./check.ts";

export async function main(batch = 32, inputs = 64, hidden = 128, classes = 10): Promise<void> {
  const x = noise(batch * inputs);
  const [w1, b1, w2] = [noise(hidden * inputs), noise(hidden), noise(classes * hidden)];
  const labels = Int32Array.from({ length: batch }, (_, i) => i % classes);

  // Weights as they are stored: [outputs, inputs].
  const h = dotTransposeB(buffer(x, [batch, inputs]), buffer(w1, [hidden, inputs]))
    .add(buffer(b1))
    .relu();
  const scores = dotTransposeB(layerNorm(h), buffer(w2, [classes, hidden])).mul(0.1);
  const loss = crossEntropy(scores, buffer(labels));
  console.log(loss.explain().toString());

  // The same with plain loops.
  const rows = Array.from({ length: batch }, (_, r) => {
    const a = Array.from({ length: hidden }, (_, j) => {
      let sum = b1[j];
      for (let i = 0; i < inputs; i++) sum += x[r * inputs + i] * w1[j * inputs + i];
      return Math.max(0, sum);
    });
    const mean = a.reduce((s, v) => s + v) / hidden;
    const deviation = Math.sqrt(a.reduce((s, v) => s + (v - mean) ** 2, 0) / hidden + 1e-5);
    const z = Array.from({ length: classes }, (_, c) => 0.1 * a.reduce((s, v, j) => s + ((v - mean) / deviation) * w2[c * hidden + j], 0));
    return Math.log(z.reduce((s, v) => s + Math.exp(v), 0)) - z[labels[r]];
  });
  const value = (await loss.read()) as Float32Array;
  console.log(`loss ${value[0].toFixed(4)}: ${check(value, () => rows.reduce((s, v) => s + v) / batch, 1e-3)}`);
}

if (import.meta.main) await main();
