/** Stock kernels as arm64 code, under qemu-user, compared with the interpreter; the features that the native runtime sees there. */
import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { arm64Features, createArm64Device, WITHOUT_ARM64 } from "../arm64/device.ts";
import { type KernelReport, selftest } from "../../kernels/selftest/index.ts";
import type { Device } from "../../src/runtime/device.ts";
import { SEED } from "./runners.ts";

// Kernels are compiled when they are first used.
setDefaultTimeout(600_000);

/**
 * Kernels that CPUs run, and two of those for GPUs, which are most of the text to compile; with light optimisation, which halves
 * the time that takes. ALLOY_TEST_ARM64=all: every kernel as it is compiled for releases.
 */
const everything = process.env.ALLOY_TEST_ARM64 === "all";
const CPU = /^(?!matmul_|matvec_|flash_)/;
const GPU = /^(matvec_q4_0|matmul_f16)$/;

async function failures(device: Device, only: RegExp): Promise<string[]> {
  const reports: KernelReport[] = [];
  for await (const r of selftest(device, { seed: SEED, only })) reports.push(r);
  const { name, isa } = device.properties;
  const cases = reports.reduce((n, r) => n + r.cases, 0);
  console.log(`${isa} on a ${name}: ${reports.length} kernels, ${cases} cases`);
  expect(reports.length).toBeGreaterThan(0);
  expect(reports.every((r) => r.cases > 0)).toBe(true);
  return reports.flatMap((r) => r.failures.map((f) => `${r.kernel}: ${f}`));
}

describe.skipIf(WITHOUT_ARM64 !== undefined)(`arm64 under qemu${WITHOUT_ARM64 ? `: skipped, ${WITHOUT_ARM64}` : ""}`, () => {
  const devices: Device[] = [];
  const device = (isa: "neon-dotprod" | "baseline"): Device => {
    const d = createArm64Device(isa, everything ? [] : ["-O1"]);
    devices.push(d);
    return d;
  };
  afterAll(() => devices.forEach((d) => d.close()));

  test("the dot product is seen where it is", () => {
    expect(arm64Features("neon-dotprod")).toBe(16);
    expect(arm64Features("baseline")).toBe(0);
  });

  test("CPU kernels with NEON and its dot product", async () => {
    expect(await failures(device("neon-dotprod"), everything ? /./ : CPU)).toEqual([]);
  });

  test.skipIf(everything)("thread-level kernels with NEON", async () => {
    expect(await failures(device("neon-dotprod"), GPU)).toEqual([]);
  });

  // Portable vectors, which compilers make NEON instructions of too.
  test("some of everything without the dot product", async () => {
    expect(await failures(device("baseline"), /^(quantize|linear_f16|rms_norm|embed_q6_k|kv_store_f16)/)).toEqual([]);
  });
});
