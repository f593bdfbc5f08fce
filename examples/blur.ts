/** A box blur: one program per pixel, the mean of the neighbours inside the image. Run it: bun examples/blur.ts */
import { dim, f32, kernel, out, ptr } from "../src/compiler/language/index.ts";
import { check } from "./check.ts";

/** dst[y, x] = mean of src over the up to 3 × 3 pixels around (x, y). src, dst: [H, W]. Grid: (W, H). */
export const blur = kernel("blur", { src: ptr(f32), dst: out(f32), W: dim, H: dim }, (al, { src, dst, W, H }) => {
  const x = al.programId(0);
  const y = al.programId(1);
  let acc = 0;
  let count = 0;
  for (let dy = -1; dy < 2; dy++)
    for (let dx = -1; dx < 2; dx++) {
      const nx = x + dx;
      const ny = y + dy;
      if (nx >= 0 && nx < W && ny >= 0 && ny < H) {
        acc += al.load(src + ny * W + nx);
        count += 1;
      }
    }
  al.store(dst + y * W + x, acc / count);
});

/** The same in plain TypeScript. */
export function plainBlur(src: ArrayLike<number>, W: number, H: number, i: number): number {
  const [x, y] = [i % W, Math.floor(i / W)];
  const near = [-1, 0, 1].flatMap((dy) => [-1, 0, 1].map((dx) => [x + dx, y + dy]));
  const inside = near.filter(([nx, ny]) => nx >= 0 && nx < W && ny >= 0 && ny < H).map(([nx, ny]) => src[ny * W + nx]);
  return inside.reduce((a, b) => a + b) / inside.length;
}

export async function main(W = 32, H = 8): Promise<void> {
  const disc = (x: number, y: number): number => (((x - W / 2) / 9) ** 2 + ((y - H / 2 + 0.5) / 3) ** 2 < 1 ? 1 : 0);
  const src = Float32Array.from({ length: W * H }, (_, i) => disc(i % W, Math.floor(i / W)));
  const dst = await blur.grid(W, H)({ src, W, H });
  const shade = (v: number): string => " .:-=+*#%@"[Math.round(v * 9)];
  const row = (image: Float32Array, y: number): string => [...image.subarray(y * W, (y + 1) * W)].map(shade).join("");
  for (let y = 0; y < H; y++) console.log(`${row(src, y)} | ${row(dst, y)}`);
  console.log(check(dst, (i) => plainBlur(src, W, H, i)));
}

if (import.meta.main) await main();
