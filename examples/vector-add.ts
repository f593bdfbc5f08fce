/**
 * The first kernel: z = x + y. A kernel describes what one *program* does; a launch runs many of them, and each works on a tile of the data.
 * Run it: bun examples/vector-add.ts
 */
import { constexpr, dim, f32, kernel, out, ptr } from "../src/compiler/language/index.ts";
import { check, noise, time } from "./check.ts";

/** z = x + y, n elements. Grid: (ceil(n / BLOCK)). */
export const vectorAdd = kernel(
  "vector_add",
  { x: ptr(f32), y: ptr(f32), z: out(f32, (args) => Number(args.n)), n: dim, BLOCK: constexpr(1024) },
  (al, { x, y, z, n, BLOCK }) => {
    // The BLOCK indices that this program is for. The last program's may reach beyond the end: the mask keeps it from touching memory there.
    const i = al.programId(0) * BLOCK + al.arange(BLOCK);
    const mask = i < n;
    al.store(z + i, al.load(x + i, { mask }) + al.load(y + i, { mask }), { mask });
  },
);

export async function main(n = 1_000_000): Promise<void> {
  const [x, y] = [noise(n), noise(n)];
  const run = () => vectorAdd.grid(Math.ceil(n / 1024))({ x, y, n });
  const z = await run();
  console.log(check(z, (i) => x[i] + y[i], 1e-6));
  console.log(`${n} sums in ${(await time(run)).toFixed(2)} ms`);
}

if (import.meta.main) await main();
