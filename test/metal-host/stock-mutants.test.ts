/**
 * Mutants of stock kernels' emitted text are found by the checker, or by results that differ from the interpreter's. The comparison of all kernels is in
 * test/kernels; this measures what such a comparison is worth.
 */
import { afterAll, describe, expect, test } from "bun:test";
import type { Case, KernelCases } from "../../kernels/selftest/case.ts";
import { randomFrom } from "../../kernels/selftest/case.ts";
import { KERNEL_CASES } from "../../kernels/selftest/index.ts";
import { emitMetal } from "../../src/compiler/emit/metal/index.ts";
import type { InterpreterArgs } from "../../src/compiler/ir/interpret.ts";
import { interpret } from "../../src/compiler/ir/interpret.ts";
import { METAL_HEADER } from "../../src/runtime/metal/programs.ts";
import type { Arrays } from "../compiler/emit-metal/harness.ts";
import { copyArgs, dispatch } from "../compiler/emit-metal/harness.ts";
import { metalExecutor } from "./build.ts";
import type { Verdict } from "./mutate.ts";
import { mutants, score, summary } from "./mutate.ts";
import { compile, configure } from "./run.ts";

const host = metalExecutor();
if (!host.available) console.log(host.why);
const SEED = 1;

/** Cases of a kernel with the same constexprs, as the comparison of kernels runs them: one text, several shapes. */
function casesOf(k: KernelCases): Case[] {
  const groups = new Map<string, Case[]>();
  let count = 0;
  for (const c of k.cases(randomFrom(SEED), "gpu")) {
    if (c.grid.some((g) => g === 0)) continue;
    const key = JSON.stringify(c.constexprs);
    groups.set(key, [...(groups.get(key) ?? []), c]);
    if (++count === 24) break;
  }
  const best = [...groups.values()].reduce((x, y) => (y.length > x.length ? y : x));
  return best.slice(0, 5);
}

/**
 * Kernels that are mutated, and how many of every hundred mutants must be found. What is left changes nothing that these shapes show: a barrier where
 * each thread reads what it wrote itself, a mask at an edge that no shape has. Their lines are printed.
 */
const SUBJECTS: Record<string, number> = { softmax_rows: 50, rms_norm: 60, rope_heads: 40, kv_store_f16: 60, matmul_q8_0: 60 };
const MOST = 12;

const difference = (want: ArrayLike<number>, got: ArrayLike<number>): number => {
  let [largest, scale] = [0, 1];
  for (let i = 0; i < want.length; i++) {
    if (Number.isFinite(want[i])) scale = Math.max(scale, Math.abs(want[i]));
    const d = Object.is(want[i], got[i]) || want[i] === got[i] ? 0 : Math.abs(want[i] - got[i]);
    if (!(d <= largest)) largest = Number.isNaN(d) ? Infinity : d;
  }
  return largest / scale;
};

describe.skipIf(!host.available)("mutants of emitted text", () => {
  afterAll(() => configure("checked limit=60"));
  test.each(Object.entries(SUBJECTS))(
    "%s",
    (name, least) => {
      const k = KERNEL_CASES.find((x) => x.kernel.name === name)!;
      const cases = casesOf(k);
      const ir = k.kernel.ir(cases[0].constexprs);
      const program = emitMetal(ir, "k");
      const wants = cases.map((c) => {
        const want = copyArgs(c.args as Arrays);
        interpret(ir, c.grid, want as InterpreterArgs);
        return want;
      });
      const run = (text: string): Verdict => {
        let library;
        try {
          library = compile(text);
        } catch {
          return "compiler";
        }
        try {
          for (const [i, c] of cases.entries()) {
            const got = copyArgs(c.args as Arrays);
            if (dispatch(library, ir, program, c.grid, got).length) return "checker";
            const arrays = Object.entries(wants[i]).filter(([, v]) => ArrayBuffer.isView(v));
            const error = (n: string, v: unknown): number => difference(v as ArrayLike<number>, got[n] as unknown as ArrayLike<number>);
            if (arrays.some(([n, v]) => error(n, v) > 2 * k.tolerance)) return "result";
          }
          return "survived";
        } finally {
          library.release();
        }
      };
      configure("checked order=forward limit=2");
      const text = METAL_HEADER + program.text;
      expect(run(text)).toBe("survived");
      const all = mutants(text);
      // Evenly over the text.
      const chosen = all.length <= MOST ? all : Array.from({ length: MOST }, (_, i) => all[Math.floor((i * all.length) / MOST)]);
      const s = score(chosen, (m) => run(m.text));
      console.log(summary(name, s));
      for (const m of s.survivors) console.log(`  survived: line ${m.line}: ${m.description}`);
      expect(((chosen.length - s.survivors.length) / chosen.length) * 100).toBeGreaterThanOrEqual(least);
    },
    120_000,
  );
});
