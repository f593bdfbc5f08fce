/** A box blur: one program per pixel, the mean of the neighbours inside the image. Run it: bun examples/blur.ts */
import { dim, f32, kernel, out, ptr } from "../src/compiler/language/index.ts";

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

if (import.meta.main) {
  const [W, H] = [8, 4];
  const image = Float32Array.from({ length: W * H }, (_, i) => (i % W === 3 ? 9 : 0));
  const result = await blur.grid(W, H)({ src: image, W, H });
  for (let y = 0; y < H; y++) console.log([...result.subarray(y * W, (y + 1) * W)].map((v) => v.toFixed(1)).join(" "));
}
