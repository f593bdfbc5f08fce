/** Reductions, views, memory forms, products and control flow against the interpreter, and random programs made of all of them. */
import { describe, expect, test } from "bun:test";
import { SHAPE_CASES } from "../cases-shapes.ts";
import { compare, seed, TESTABLE } from "./harness.ts";

console.log(`emit-c shapes: seed ${seed} (ALLOY_TEST_SEED)`);

describe.each([...TESTABLE])("on %s", (isa) => {
  test.each(SHAPE_CASES.map(([name]) => name))(
    "%s agree with the interpreter",
    (name) => {
      const cases = SHAPE_CASES.find(([n]) => n === name)![1];
      compare(isa, cases);
      expect(cases.length).toBeGreaterThan(5);
    },
    240_000,
  );
});
