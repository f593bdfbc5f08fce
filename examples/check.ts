/** What every example ends with: its result beside a plain loop's. */

/** The largest difference between `got` and `expected(i)`; throws where one is beyond `tolerance`. */
export function check(got: ArrayLike<number>, expected: (i: number) => number, tolerance = 1e-4): string {
  let worst = 0;
  for (let i = 0; i < got.length; i++) {
    const error = Math.abs(got[i] - expected(i));
    if (!(error <= tolerance)) throw new Error(`element ${i} is ${got[i]}, a plain loop gives ${expected(i)}`);
    worst = Math.max(worst, error);
  }
  return `${got.length} elements agree with a plain loop (largest difference ${worst.toExponential(1)})`;
}

/** Milliseconds of the quicker of two runs: the first one may compile. */
export async function time(f: () => Promise<unknown>): Promise<number> {
  const runs: number[] = [];
  for (let i = 0; i < 2; i++) {
    const start = performance.now();
    await f();
    runs.push(performance.now() - start);
  }
  return Math.min(...runs);
}

/** Random numbers from -1 to 1. */
export const noise = (n: number): Float32Array => Float32Array.from({ length: n }, () => Math.random() * 2 - 1);
