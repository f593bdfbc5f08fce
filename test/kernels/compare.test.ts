/** Every stock kernel on the CPU and through the Metal stand-in, compared with the interpreter. */
import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { GPU_INSTANCES } from "../../kernels/gpu/instances.ts";
import { INSTANCES } from "../../kernels/instances.ts";
import { KERNEL_CASES, type KernelReport, selftest } from "../../kernels/selftest/index.ts";
import { metalHost } from "../metal-host/build.ts";
import type { Device } from "../../src/runtime/device.ts";
import { createDevice } from "../../src/runtime/index.ts";
import { SEED } from "./runners.ts";

const host = metalHost();
// Kernels that no library holds are compiled when they are first used.
setDefaultTimeout(600_000);

test("every stock kernel has cases, once", () => {
  const names = [...new Set([...INSTANCES, ...GPU_INSTANCES].map((i) => i.kernel.name))].sort();
  const compared = KERNEL_CASES.map((c) => c.kernel.name).sort();
  expect(names.filter((n) => !compared.includes(n))).toEqual([]);
  expect(compared).toEqual([...new Set(compared)]);
});

async function compareAll(device: Device): Promise<void> {
  const reports: KernelReport[] = [];
  for await (const r of selftest(device, { seed: SEED, only: process.env.ALLOY_TEST_ONLY })) reports.push(r);
  const cases = reports.reduce((n, r) => n + r.cases, 0);
  const seconds = reports.reduce((s, r) => s + r.ms, 0) / 1000;
  console.log(`${device.properties.kind}: ${reports.length} kernels, ${cases} cases, ${seconds.toFixed(1)} s`);
  for (const r of reports) {
    if (r.worst > 0) console.log(`  ${r.kernel.padEnd(24)} ${r.worst.toExponential(1)} of ${r.tolerance.toExponential(0)} (${r.why})`);
  }
  expect(reports.flatMap((r) => r.failures.map((f) => `${r.kernel}: ${f}`))).toEqual([]);
  expect(reports.every((r) => r.cases > 0)).toBe(true);
}

describe("compared with the interpreter", () => {
  const device = createDevice("cpu", { threads: 2 });
  afterAll(() => device.close());
  test("cpu", () => compareAll(device));

  // With every access checked: races, bounds, what was never written, in the text that goes to Macs.
  test.skipIf(!host.available)(host.available ? "metal" : `metal: ${host.why}`, async () => {
    const before = process.env.ALLOY_METAL_SHIM;
    if (host.available) process.env.ALLOY_METAL_SHIM = host.shim;
    const metal = createDevice("metal");
    if (before === undefined) delete process.env.ALLOY_METAL_SHIM;
    else process.env.ALLOY_METAL_SHIM = before;
    try {
      await compareAll(metal);
    } finally {
      metal.close();
    }
  });
});
