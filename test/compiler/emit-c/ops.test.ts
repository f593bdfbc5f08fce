/** Every elementwise op on every dtype it takes, on random shapes, against the interpreter, for each instruction set this machine runs. */
import { describe, expect, test } from "bun:test";
import { OP_CASES } from "../cases-ops.ts";
import { compare, MISSING, seed, TESTABLE } from "./harness.ts";

console.log(
  `emit-c ops: seed ${seed} (ALLOY_TEST_SEED), instruction sets ${TESTABLE.join(", ")}; not on this machine: ${MISSING.join(", ")}`,
);

describe.each([...TESTABLE])("elementwise ops on %s", (isa) => {
  test(`${OP_CASES.length} kernels agree with the interpreter`, () => {
    compare(isa, OP_CASES);
    expect(OP_CASES.length).toBeGreaterThan(250);
  }, 240_000);
});
