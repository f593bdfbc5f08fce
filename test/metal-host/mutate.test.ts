/** Mutants of representative kernels: the checker or a wrong result finds them, but for those that are known to change nothing. */
import { afterAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { metalExecutor } from "./build.ts";
import type { Mutant, Verdict } from "./mutate.ts";
import { mutants, score, summary } from "./mutate.ts";
import type { Dispatch } from "./run.ts";
import { compile, configure } from "./run.ts";

const host = metalExecutor();
if (!host.available) console.log(host.why);
const text = readFileSync(new URL("mutants.metal", import.meta.url), "utf8");
const random = (n: number, seed: number): Float32Array => Float32Array.from({ length: n }, (_, i) => Math.sin(i * 12.9898 + seed) * 3);

interface Subject {
  dispatch(): Dispatch;
  /** Largest difference of a result that counts as right. */
  tolerance: number;
  /** Descriptions of mutants that are as right as the original. */
  equivalent: readonly string[];
}

const SUBJECTS: Record<string, Subject> = {
  softmax: {
    dispatch: () => ({
      kernel: "softmax",
      buffers: [random(3 * 201, 1), new Float32Array(3 * 201), Uint32Array.of(201)],
      grid: 3,
      threads: 128,
    }),
    tolerance: 1e-6,
    // Any number near the largest does: exp(x - m) / sum of exp(x - m) is the same for all m.
    equivalent: ["simd_min instead of simd_max", "a step of 256 instead of 128u"],
  },
  matmul: {
    dispatch: () => ({
      kernel: "matmul",
      buffers: [random(32 * 32, 2), random(32 * 32, 3), new Float32Array(32 * 32), Uint32Array.of(32)],
      grid: [2, 2],
      threads: 64,
    }),
    tolerance: 1e-4,
    equivalent: [],
  },
  reduction: {
    dispatch: () => ({ kernel: "reduction", buffers: [random(600, 4), new Float32Array(3), Uint32Array.of(600)], grid: 3, threads: 256 }),
    tolerance: 1e-4,
    equivalent: [],
  },
  scan: {
    dispatch: () => ({
      kernel: "scan",
      buffers: [Uint32Array.from({ length: 256 }, (_, i) => (i * 7919) % 101), new Uint32Array(256), new Uint32Array(256)],
      grid: 2,
      threads: 128,
    }),
    tolerance: 0,
    equivalent: [],
  },
};

/** One kernel of the text with the header. */
function alone(kernel: string): string {
  const [header, ...parts] = text.split(/^\/\/ .*\n(?:\/\/ .*\n)*(?=kernel)/m);
  return header + parts.find((p) => p.startsWith(`kernel void ${kernel}(`))!;
}

function judge(subject: Subject, want: readonly ArrayLike<number>[], m: Mutant): Verdict {
  let library;
  try {
    library = compile(m.text);
  } catch {
    return "compiler";
  }
  const d = subject.dispatch();
  const findings = library.run(d);
  library.release();
  if (findings.length) return "checker";
  const wrong = want.some((w, k) =>
    Array.from(w).some((x, i) => !(Math.abs(x - (d.buffers as unknown as ArrayLike<number>[])[k][i]) <= subject.tolerance)),
  );
  return wrong ? "result" : "survived";
}

describe.skipIf(!host.available)("mutants", () => {
  afterAll(() => configure("limit=60"));
  test.each(Object.entries(SUBJECTS))(
    "of %s",
    (name, subject) => {
      const original = alone(name);
      const right = subject.dispatch();
      expect(compile(original, "checked order=forward limit=2").run(right)).toEqual([]);
      const list = mutants(original);
      const s = score(list, (m) => judge(subject, right.buffers as Float32Array[], m));
      const unexplained = s.survivors.filter((m) => !subject.equivalent.includes(m.description));
      console.log(summary(name, s));
      expect(unexplained.map((m) => `${m.line}: ${m.operator}: ${m.description}`)).toEqual([]);
    },
    120_000,
  );
});
