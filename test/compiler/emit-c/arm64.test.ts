/** What ops.test.ts and shapes.test.ts compare, for NEON under qemu-user; with light optimisation, which halves the time to compile. */
import { afterAll, describe, expect, test } from "bun:test";
import { createArm64Device, WITHOUT_ARM64 } from "../../arm64/device.ts";
import type { Device } from "../../../src/runtime/device.ts";
import { OP_CASES } from "../cases-ops.ts";
import { SHAPE_CASES } from "../cases-shapes.ts";
import { compareOn, seed } from "./harness.ts";

console.log(`emit-c on arm64: seed ${seed} (ALLOY_TEST_SEED)`);

describe.skipIf(WITHOUT_ARM64 !== undefined)(`NEON under qemu${WITHOUT_ARM64 ? `: skipped, ${WITHOUT_ARM64}` : ""}`, () => {
  let device: Device | undefined;
  const arm64 = (): Device => (device ??= createArm64Device("neon-dotprod", ["-O1"]));
  afterAll(() => device?.close());

  test.each([["elementwise ops", OP_CASES] as const, ...SHAPE_CASES])(
    "%s agree with the interpreter",
    (_, cases) => {
      compareOn(arm64(), cases);
      expect(cases.length).toBeGreaterThan(5);
    },
    600_000,
  );
});
