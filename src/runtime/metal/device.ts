/** A Metal GPU as a Device, by way of the shim: buffers that CPU and GPU share, pipelines from MSL, one command buffer per plan. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { AlloyError } from "../../support/errors.ts";
import { cacheDir } from "../../support/paths.ts";
import { VERSION } from "../../support/version.ts";
import type { Device, DeviceBuffer, DeviceProperties, Dispatch, Plan, Program, ProgramSource } from "../device.ts";
import { Buffers } from "./buffers.ts";
import type { MetalBuffer } from "./buffers.ts";
import type { PlanHost } from "./plan.ts";
import { MetalPlan } from "./plan.ts";
import type { MetalKernel } from "./programs.ts";
import { Programs } from "./programs.ts";
import type { PlanWords } from "./shim.ts";
import { FACT, Shim, shimPath } from "./shim.ts";

/** Of FACT.pressure: 1 normal, 2 warning, 4 critical. */
const PRESSURE_CRITICAL = 4;

/** Waits before the archive is written after new pipelines were made: more tend to follow. */
const SAVE_AFTER_MS = 2000;

/** The system's default GPU. Throws `device_error` when there is no Metal here. */
export function createMetalDevice(): Device {
  const path = shimPath();
  if (path === undefined) {
    const where = process.platform === "darwin" ? "This build holds no Metal shim" : `There is no Metal on ${process.platform}`;
    throw new AlloyError("device_error", where, {
      hint: process.platform === "darwin" ? "Build it with `bun build.ts`, or use --device cpu." : "Use --device cpu.",
    });
  }
  return new MetalDevice(new Shim(path));
}

class MetalDevice implements Device, PlanHost {
  readonly properties: DeviceProperties;
  private readonly buffers: Buffers;
  private readonly programs: Programs;
  private closed = false;
  private saving: ReturnType<typeof setTimeout> | undefined;
  private inFlight = 0;

  constructor(private readonly shim: Shim) {
    const { name, facts } = shim.facts();
    const family = facts[FACT.family];
    this.properties = {
      name,
      kind: "metal",
      isa: family > 0 ? `apple${family}` : "metal3",
      threads: facts[FACT.cores],
      memoryBytes: facts[FACT.workingSet],
      hostPointers: false,
    };
    this.buffers = new Buffers(shim);
    this.programs = new Programs(shim);
    this.openArchive(`${name}-${facts[FACT.osVersion]}`);
  }

  /** Compiled pipelines of earlier runs. Without a folder that can be written everything works, only starting takes longer. */
  private openArchive(machine: string): void {
    const folder = join(cacheDir(), "metal");
    try {
      mkdirSync(folder, { recursive: true });
    } catch {
      return;
    }
    this.shim.openArchive(join(folder, `${machine.replace(/\W+/g, "-")}-${VERSION}.metalarchive`));
  }

  /** What the GPU may have resident beside what it has; nothing while the system says that memory is critically short. */
  get freeBytes(): number {
    const { facts } = this.shim.facts();
    if (facts[FACT.pressure] >= PRESSURE_CRITICAL) return 0;
    return Math.max(0, facts[FACT.workingSet] - facts[FACT.allocated]);
  }

  allocate(bytes: number): DeviceBuffer {
    return this.buffers.allocate(bytes);
  }

  wrap(address: number, bytes: number): DeviceBuffer {
    return this.buffers.wrap(address, bytes);
  }

  program(source: ProgramSource): Program {
    return this.programs.get(source);
  }

  plan(dispatches: readonly Dispatch[], slots: number): Plan {
    this.open();
    if (this.programs.load(dispatches.map((d) => d.program as MetalKernel)) > 0) this.saveSoon();
    return new MetalPlan(this, dispatches, slots);
  }

  private saveSoon(): void {
    this.saving ??= setTimeout(() => {
      this.saving = undefined;
      this.shim.saveArchive();
    }, SAVE_AFTER_MS);
    this.saving.unref();
  }

  private open(): void {
    if (this.closed) throw new AlloyError("device_error", "The device is closed");
  }

  find(address: number): MetalBuffer {
    return this.buffers.find(address);
  }

  run(plan: PlanWords, slots: BigUint64Array): void {
    this.open();
    if (plan.count > 0) this.shim.wait(this.shim.submit(plan, slots));
  }

  async submit(plan: PlanWords, slots: BigUint64Array): Promise<void> {
    this.open();
    if (plan.count === 0) return;
    const submission = this.shim.submit(plan, slots);
    this.inFlight++;
    try {
      // A decoding step is over within a few turns of the event loop; a long prompt does not need to be watched closely.
      for (let turn = 0; !this.shim.poll(submission); turn++) {
        if (turn < 100) await new Promise((r) => setImmediate(r));
        else await Bun.sleep(turn < 200 ? 0.1 : 1);
      }
    } finally {
      this.inFlight--;
      if (this.closed && this.inFlight === 0) this.release();
    }
  }

  profile(plan: PlanWords, slots: BigUint64Array): Float64Array {
    this.open();
    return this.shim.profile(plan, slots);
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    // What was submitted still runs: the device goes when it is done.
    if (this.inFlight === 0) this.release();
  }

  private release(): void {
    if (this.saving) {
      clearTimeout(this.saving);
      this.shim.saveArchive();
    }
    this.programs.freeAll();
    this.buffers.freeAll();
    this.shim.close();
  }
}
