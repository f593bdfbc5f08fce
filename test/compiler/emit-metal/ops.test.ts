/** Elementwise ops, reductions, views, memory forms, products, control flow and random programs on the Metal host, against the interpreter. */
import { describe, expect, test } from "bun:test";
import { OP_CASES, SPECIAL_POWERS } from "../cases-ops.ts";
import { SHAPE_CASES } from "../cases-shapes.ts";
import { Random, seed } from "../emit-c/harness.ts";
import { randomArguments, randomSource, kernelOf } from "../random-kernels.ts";
import type { Case } from "../emit-c/harness.ts";
import { compareCases, METAL, onMetal } from "./harness.ts";

console.log(`emit-metal: seed ${seed} (ALLOY_TEST_SEED)`);
const r = new Random(seed + 2);
/** Compiling is slow: a part of the cases each time, all of them with ALLOY_TEST_ALL. */
const some = (cases: readonly Case[], n: number): Case[] => {
  const all = cases.filter((c) => onMetal(c.ir));
  if (process.env.ALLOY_TEST_ALL) return all;
  const out = new Set<Case>();
  while (out.size < Math.min(n, all.length)) out.add(r.pick(all));
  return [...out];
};

function expectEqual(cases: readonly Case[]): void {
  const { ran, failures } = compareCases(cases);
  expect(failures.map((f) => `seed ${seed}: ${f}`)).toEqual([]);
  expect(ran).toBe(cases.length);
}

/** Kernels in the language whose loads, stores and loops are drawn at random; stores of one tile that meet in one place have no order here. */
function languageCases(n: number): Case[] {
  const out: Case[] = [];
  while (out.length < n) {
    try {
      const ir = kernelOf(randomSource(r as never)).specialize({ B: 8 });
      out.push({
        ir: Object.assign(ir, { name: `written${out.length}` }),
        grid: [1, 1, 1],
        args: randomArguments(r as never) as never,
        ulp: 16,
        absolute: 1e-5,
      });
    } catch {
      // The random types clash: not a kernel.
    }
  }
  return out;
}

describe.skipIf(!METAL.available)("on the Metal host", () => {
  test("elementwise ops and conversions", () => expectEqual(some(OP_CASES, 96)), 120_000);
  test("powers of and to special values", () => expectEqual([SPECIAL_POWERS]), 120_000);
  test.each(SHAPE_CASES.map(([name]) => name))(
    "%s",
    (name) => expectEqual(some(SHAPE_CASES.find(([n]) => n === name)![1], name === "random programs" ? 24 : name === "products" ? 8 : 16)),
    120_000,
  );
  test("kernels in the language", () => {
    const { ran, failures } = compareCases(languageCases(12));
    expect(failures.filter((f) => !/: race: /.test(f)).map((f) => `seed ${seed}: ${f}`)).toEqual([]);
    expect(ran).toBe(12);
  }, 120_000);
});
