/** Random thread-level kernels: passes change nothing, and every instruction set of this machine computes what the interpreter does. */
import { describe, expect, test } from "bun:test";
import { interpret } from "../../../src/compiler/ir/interpret.ts";
import { parse } from "../../../src/compiler/ir/parse.ts";
import { print } from "../../../src/compiler/ir/print.ts";
import { verify } from "../../../src/compiler/ir/verify.ts";
import { lockstepForm, optimize } from "../../../src/compiler/passes/index.ts";
import type { Case } from "../emit-c/harness.ts";
import { compare, TESTABLE } from "../emit-c/harness.ts";
import { compareCases, METAL } from "../emit-metal/harness.ts";
import { Random, seed } from "../random-kernels.ts";
import { GROUPS, randomThreadArguments, randomThreads } from "../random-threads.ts";

console.log(`random threads: seed ${seed} (ALLOY_TEST_SEED)`);
const COUNT = Number(process.env.ALLOY_TEST_COUNT ?? 4);
const cases: Case[] = [];
const sources: string[] = [];

test("random kernels run without races, the same after every pass", () => {
  const r = new Random(seed);
  for (let i = 0; i < COUNT; i++) {
    const { source, threads, kernel } = randomThreads(r, `random${i}`);
    const args = randomThreadArguments(r, threads);
    let wanted: string | undefined;
    try {
      optimize(kernel.lower(), (ir, stage) => {
        verify(ir, stage);
        const own = Object.fromEntries(Object.entries(args).map(([k, v]) => [k, typeof v === "number" ? v : v.slice()]));
        interpret(ir, [GROUPS], own);
        const got = JSON.stringify(own);
        wanted ??= got;
        if (got !== wanted) throw new Error(`differs after ${stage}`);
      });
      const ir = kernel.specialize();
      expect(print(parse(print(ir)))).toBe(print(ir));
      lockstepForm(ir, (form, stage) => verify(form, stage));
      cases.push({ ir, grid: [GROUPS, 1, 1], args: args as unknown as Case["args"] });
      sources.push(source);
    } catch (cause) {
      throw new Error(`seed ${seed}, kernel ${i} with ${threads.join()} threads:\n${source}\n${String(cause)}`, { cause });
    }
  }
}, 120_000);

describe.each([...TESTABLE])("on %s", (isa) => {
  test(`${COUNT} random kernels`, () => {
    try {
      compare(isa, cases);
    } catch (cause) {
      const which = /random(\d+)/.exec(String(cause))?.[1];
      throw new Error(
        `${String(cause)}\n${which === undefined ? "" : `threads ${cases[Number(which)].ir.threads!.join()}\n${sources[Number(which)]}`}`,
        { cause },
      );
    }
  }, 240_000);
});

test.skipIf(!METAL.available)(
  `${COUNT} random kernels on the Metal host`,
  () => {
    const { failures } = compareCases(cases);
    expect(failures, `${sources.join("\n")}`).toEqual([]);
  },
  120_000,
);
