/**
 * The Mandelbrot set: one program per pixel, and a loop that ends at a different time in each. Run it: bun examples/mandelbrot.ts
 */
import { dim, f32, i32, kernel, out, scalar } from "../src/compiler/language/index.ts";

/** steps[y, x] = how often z → z² + c stays within 2, at most `limit` times. Grid: (W, H). */
export const mandelbrot = kernel(
  "mandelbrot",
  { steps: out(i32), W: dim, limit: dim, left: scalar(f32), top: scalar(f32), pixelW: scalar(f32), pixelH: scalar(f32) },
  (al, { steps, W, limit, left, top, pixelW, pixelH }) => {
    const x = al.programId(0);
    const y = al.programId(1);
    const cr = left + x * pixelW;
    const ci = top + y * pixelH;
    let zr = 0.0;
    let zi = 0.0;
    let n = 0;
    while (n < limit && zr * zr + zi * zi <= 4) {
      const next = zr * zr - zi * zi + cr;
      zi = 2 * zr * zi + ci;
      zr = next;
      n += 1;
    }
    al.store(steps + y * W + x, n);
  },
);

/** The same in plain TypeScript; floats are rounded as in the kernel, up to fused operations. */
export function plainMandelbrot(cr: number, ci: number, limit: number): number {
  let [zr, zi, n] = [0, 0, 0];
  while (n < limit && zr * zr + zi * zi <= 4) {
    [zr, zi] = [Math.fround(zr * zr - zi * zi + cr), Math.fround(2 * zr * zi + ci)];
    n++;
  }
  return n;
}

export async function main(W = 78, H = 32, limit = 200): Promise<void> {
  const [left, top, pixelW, pixelH] = [-2.2, -1.2, 3.2 / W, 2.4 / H];
  const steps = await mandelbrot.grid(W, H)({ W, limit, left, top, pixelW, pixelH });
  for (let y = 0; y < H; y++) {
    const row = [...steps.subarray(y * W, (y + 1) * W)];
    console.log(row.map((n) => (n === limit ? "@" : " .,:;=+*#%"[Math.min(9, Math.floor(Math.log2(n + 1) * 1.6))])).join(""));
  }
  // On the rim a rounding decides: a few pixels may differ.
  const plain = (i: number) => plainMandelbrot(left + (i % W) * pixelW, top + Math.floor(i / W) * pixelH, limit);
  const same = steps.filter((n, i) => n === plain(i)).length;
  if (same < 0.97 * W * H) throw new Error(`only ${same} of ${W * H} pixels agree with a plain loop`);
  console.log(`${same} of ${W * H} pixels agree with a plain loop; ${steps.filter((n) => n === limit).length} are in the set`);
}

if (import.meta.main) await main();
