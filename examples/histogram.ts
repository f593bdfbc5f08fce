/**
 * A histogram with atomics, at thread level. All threads of a threadgroup count into bins in shared memory, where quarrels over a bin are cheap,
 * then add their bins to the result. Run it: bun examples/histogram.ts
 */
import { dim, i32, kernel, out, ptr, u8 } from "../src/compiler/language/index.ts";
import { check } from "./check.ts";

const BINS = 256;
/** Bytes that a thread looks at. */
const EACH = 16;

/** counts[v] = how often the byte v is in x. Grid: (ceil(n / (256 · 16))) threadgroups of 256. */
export const histogram = kernel(
  "histogram",
  { x: ptr(u8), counts: out(i32, () => BINS), n: dim },
  (al, { x, counts, n, BINS, EACH }) => {
    const bins = al.shared(BINS, al.i32);
    const t = al.threadId();
    al.store(bins + t, 0);
    al.barrier(); // nobody counts before all bins are zero
    for (let j = 0; j < EACH; j++) {
      const i = (al.programId() * EACH + j) * al.numThreads() + t;
      if (i < n) al.atomicAdd(bins + al.load(x + i), 1);
    }
    al.barrier(); // all are counted
    al.atomicAdd(counts + t, al.load(bins + t));
  },
  { threads: BINS, uses: { BINS, EACH } },
);

export async function main(n = 100_000): Promise<void> {
  // A sum of dice: the bins draw a bell.
  const x = Uint8Array.from({ length: n }, () => 16 * (Math.random() + Math.random() + Math.random() + Math.random()) * 3.99);
  const counts = await histogram.grid(Math.ceil(n / (BINS * EACH)))({ x, n });
  const plain = new Int32Array(BINS);
  for (const v of x) plain[v]++;
  const top = Math.max(...counts);
  for (let v = 16; v < 240; v += 16) {
    const sixteen = counts.subarray(v, v + 16).reduce((a, b) => a + b) / 16;
    console.log(`${String(v).padStart(3)} ${"█".repeat(Math.round((sixteen / top) * 60))}`);
  }
  console.log(check(counts, (i) => plain[i], 0));
}

if (import.meta.main) await main();
