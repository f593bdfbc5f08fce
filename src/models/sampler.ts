/** Sampling on the device: owns the sampling kernels' buffers and one plan per logits buffer. */
import type { KernelSet } from "../../kernels/api.ts";
import { listEntries, maskedRows, type SampleBuffers, sampleBytes, sampleDispatches, writeSampling } from "../../kernels/sample.ts";
import { compileProgram } from "../compiler/program.ts";
import type { Device, DeviceBuffer, Dispatch, Plan, Slot } from "../runtime/device.ts";
import type { RowSampling } from "./api.ts";

const ROWS: Slot = { slot: 0 };

interface Prepared {
  buffers: SampleBuffers;
  rows: number;
  entries: number;
  masked: number;
  dispatches: readonly Dispatch[];
  plan: Plan;
}

export class Sampler {
  /** Bytes of device memory held. */
  bytes = 0;
  readonly #device: Device;
  readonly #kernels: KernelSet;
  readonly #vocab: number;
  readonly #prepared = new Map<DeviceBuffer, Prepared>();

  constructor(device: Device, kernels: KernelSet, vocab: number) {
    this.#device = device;
    this.#kernels = kernels;
    this.#vocab = vocab;
  }

  /**
   * A token for each row of `logits` ([rows, vocab] float32), -1 where the row asks for none, and the log of each row's softmax sum.
   * The result is a copy.
   */
  async sample(logits: DeviceBuffer, rows: readonly (RowSampling | null)[]): Promise<{ tokens: Int32Array; logSumExp: Float32Array }> {
    const { buffers, plan } = this.#prepare(logits, listEntries(rows), maskedRows(rows));
    writeSampling(rows, buffers);
    plan.setInt(ROWS, rows.length);
    await plan.submit();
    const tokens = buffers.tokens.view(0, rows.length * 4).slice();
    const sums = buffers.logSumExp.view(0, rows.length * 4).slice();
    return { tokens: new Int32Array(tokens.buffer), logSumExp: new Float32Array(sums.buffer) };
  }

  /** Samples the last rows of `logits` again, timing both dispatches. */
  profile(logits: DeviceBuffer): { dispatches: readonly Dispatch[]; times: ReturnType<Plan["profile"]> } {
    const { dispatches, plan } = this.#prepared.get(logits)!;
    return { dispatches, times: plan.profile() };
  }

  /** Buffers grow when a step has more penalties or biases than any before, or the first mask. */
  #prepare(logits: DeviceBuffer, entries: number, masks: number): Prepared {
    const known = this.#prepared.get(logits);
    if (known && known.entries >= entries && known.masked >= masks) return known;
    if (known) this.#free(known);
    const rows = Math.floor(logits.bytes / (4 * this.#vocab));
    const room = Math.max(1024, 2 ** Math.ceil(Math.log2(entries + 1)));
    const masked = masks > 0 || (known && known.masked > 0) ? rows : 0;
    const sizes = sampleBytes(rows, this.#vocab, room, masked);
    const names = Object.keys(sizes) as (keyof SampleBuffers)[];
    const buffers = Object.fromEntries(names.map((n) => [n, this.#allocate(sizes[n])])) as unknown as SampleBuffers;
    const program = compileProgram.bind(null, this.#device);
    const dispatches = sampleDispatches(program, this.#kernels.sampling, { logits, buffers, V: this.#vocab, rows: ROWS });
    const prepared = { buffers, rows, entries: room, masked, dispatches, plan: this.#device.plan(dispatches, 1) };
    this.#prepared.set(logits, prepared);
    return prepared;
  }

  #allocate(bytes: number): DeviceBuffer {
    this.bytes += bytes;
    return this.#device.allocate(bytes);
  }

  #free(p: Prepared): void {
    p.plan.free();
    for (const b of Object.values(p.buffers) as DeviceBuffer[]) {
      this.bytes -= b.bytes;
      b.free();
    }
  }

  close(): void {
    for (const p of this.#prepared.values()) this.#free(p);
    this.#prepared.clear();
  }
}
