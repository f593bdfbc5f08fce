/**
 * Stock kernels' emitted text: passes the lint, and its mutants are found by the checker or by results that differ from the interpreter's. The
 * suite's comparison of all kernels is elsewhere (test/kernels); this measures what such a comparison is worth.
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
import { lint } from "./lint.ts";
import type { Verdict } from "./mutate.ts";
import { mutants, score, summary } from "./mutate.ts";
import { compile, configure } from "./run.ts";

const host = metalExecutor();
if (!host.available) console.log(host.why);
const SEED = 1;

/** The case of a kernel that says most, among the first few: the most programs. */
function caseOf(k: KernelCases): Case | undefined {
  let best: Case | undefined;
  let [count, most] = [0, 0];
  for (const c of k.cases(randomFrom(SEED), "gpu")) {
    const programs = c.grid[0] * c.grid[1] * c.grid[2];
    if (programs > most) [best, most] = [c, programs];
    if (++count === 6) break;
  }
  return best;
}

/** Kernels that exist once per weight type: one block format, one with scales of scales, one float. */
const ONE_OF_EACH = /_(q4_0|q4_1|q5_0|q5_1|q2_k|q3_k|q5_k|q6_k|iq4_nl|iq4_xs|mxfp4|bf16)$/;

test("the emitted text of stock kernels passes the lint", () => {
  const found: string[] = [];
  for (const k of KERNEL_CASES) {
    const c = ONE_OF_EACH.test(k.kernel.name) ? undefined : caseOf(k);
    if (!c) continue;
    const { text } = emitMetal(k.kernel.ir(c.constexprs), "k");
    found.push(
      ...lint(METAL_HEADER + text).map((f) => `${k.kernel.name}: ${f.rule}: ${f.text}: ${(METAL_HEADER + text).split("\n")[f.line - 1]}`),
    );
  }
  expect(found).toEqual([]);
}, 120_000);

/** Kernels that are mutated, and how many of every hundred mutants must be found. What is left changes nothing that can be seen, by and large. */
const SUBJECTS: Record<string, number> = { softmax_rows: 80, rms_norm: 80, rope_heads: 80, kv_store_f16: 80, matmul_q8_0: 80 };
const MOST = 20;

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
      const c = caseOf(k)!;
      const ir = k.kernel.ir(c.constexprs);
      const program = emitMetal(ir, "k");
      const want = copyArgs(c.args as Arrays);
      interpret(ir, c.grid, want as InterpreterArgs);
      const run = (text: string): Verdict => {
        let library;
        try {
          library = compile(text);
        } catch {
          return "compiler";
        }
        const got = copyArgs(c.args as Arrays);
        const findings = dispatch(library, ir, program, c.grid, got);
        library.release();
        if (findings.length) return "checker";
        const arrays = Object.entries(want).filter(([, v]) => ArrayBuffer.isView(v));
        const wrong = arrays.some(
          ([n, v]) => difference(v as unknown as ArrayLike<number>, got[n] as unknown as ArrayLike<number>) > 2 * k.tolerance,
        );
        return wrong ? "result" : "survived";
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
