/** A plan of a Metal device: the words of objc-shim/alloy_metal.h, with barriers where dispatches depend on each other. */
import type { Argument, Dispatch, Plan, Slot } from "../device.ts";
import { Encoding, isSlot, SLOT_FLAG } from "../words.ts";
import { MetalBuffer } from "./buffers.ts";
import { type Access, ANYWHERE, placeBarriers } from "./hazards.ts";
import type { MetalKernel } from "./programs.ts";
import type { PlanWords } from "./shim.ts";

const PER_THREAD = 1n;
const BARRIER = 2n;

/** What a plan needs of its device. */
export interface PlanHost {
  find(address: number): MetalBuffer;
  run(plan: PlanWords, slots: BigUint64Array): void;
  submit(plan: PlanWords, slots: BigUint64Array): Promise<void>;
  profile(plan: PlanWords, slots: BigUint64Array): Float64Array;
}

/** Every slot takes two of the shim's: an address becomes a buffer and an offset. */
const pair = (slot: bigint): bigint => slot * 2n;

export class MetalPlan implements Plan {
  private plan: PlanWords;
  private readonly slots: BigUint64Array;
  private readonly floats: Float64Array;

  constructor(
    private readonly host: PlanHost,
    private readonly dispatches: readonly Dispatch[],
    slots: number,
  ) {
    this.slots = new BigUint64Array(2 * slots);
    this.floats = new Float64Array(this.slots.buffer);
    const barriers = placeBarriers(dispatches.map((d) => this.accesses(d)));
    const words = dispatches.flatMap((d, i) => this.encode(d, slots, barriers[i]));
    this.plan = { words: BigUint64Array.from(words), count: dispatches.length };
  }

  /** The memory of a pointer argument; undefined when only the run's slots tell. */
  private buffer(arg: Argument): MetalBuffer | undefined {
    if (arg instanceof MetalBuffer) return arg;
    if (isSlot(arg)) return undefined;
    return this.host.find(typeof arg === "number" ? arg : arg.address);
  }

  private accesses({ program, args }: Dispatch): Access[] {
    const { writes } = (program as MetalKernel).metal;
    return program.params.flatMap((kind, i) => {
      if (kind !== "ptr") return [];
      const b = this.buffer(args[i]);
      return [{ ...(b ? { start: b.address, end: b.address + b.bytes } : ANYWHERE), write: writes[i] }];
    });
  }

  private encode(d: Dispatch, slots: number, barrier: boolean): bigint[] {
    const e = new Encoding(d, slots);
    const { metal, pipeline, params } = d.program as MetalKernel;
    const pointers: bigint[] = [];
    const scalars: bigint[] = [];
    d.args.forEach((arg, i) => {
      if (params[i] === "ptr") {
        const b = this.buffer(arg);
        if (b) pointers.push(BigInt(b.root.handle), BigInt(b.offset));
        else pointers.push(SLOT_FLAG | pair(e.slot(arg as Slot)), 0n);
      } else {
        const [tag, value] = e.number(i);
        scalars.push(tag, tag === 0n ? value : pair(value));
      }
    });
    const [x, y, z] = metal.threads.map(BigInt);
    return [
      BigInt(pipeline!.handle),
      (metal.perThread ? PER_THREAD : 0n) | (barrier ? BARRIER : 0n),
      ...e.grid().map((g) => (g & SLOT_FLAG ? SLOT_FLAG | pair(g & ~SLOT_FLAG) : g)),
      x | (y << 16n) | (z << 32n),
      BigInt(pointers.length / 2) | (BigInt(scalars.length / 2) << 32n),
      ...pointers,
      ...scalars,
    ];
  }

  setInt(slot: Slot, value: number): void {
    this.slots[2 * slot.slot] = BigInt.asUintN(64, BigInt(value));
  }

  setFloat(slot: Slot, value: number): void {
    this.floats[2 * slot.slot] = value;
  }

  setPointer(slot: Slot, address: number): void {
    const b = this.host.find(address);
    this.slots[2 * slot.slot] = BigInt(b.root.handle);
    this.slots[2 * slot.slot + 1] = BigInt(b.offset);
  }

  run(): void {
    this.host.run(this.plan, this.slots);
  }

  submit(): Promise<void> {
    return this.host.submit(this.plan, this.slots);
  }

  profile(): { label: string; symbol: string; ms: number }[] {
    const ns = this.host.profile(this.plan, this.slots);
    return this.dispatches.map((d, i) => ({ label: d.label ?? d.program.symbol, symbol: d.program.symbol, ms: ns[i] / 1e6 }));
  }

  free(): void {
    this.plan = { words: new BigUint64Array(0), count: 0 };
  }
}
