/** The CPU as a Device: buffers in ordinary memory, programs from the library or compiled on demand, plans walked by a native thread pool. */
import { readFileSync } from "node:fs";
import { availableParallelism, totalmem } from "node:os";
import { AlloyError } from "../../support/errors.ts";
import type { Device, DeviceBuffer, DeviceProperties, Dispatch, ParamKind, Plan, Program, ProgramSource, Slot } from "../device.ts";
import { compileAll } from "./cc.ts";
import type { Isa } from "./isa.ts";
import { isaByName, usableIsas } from "./isa.ts";
import { atOnce, readMachine, threadsFor } from "./machine.ts";
import type { NativeRuntime } from "./native.ts";
import { nativeRuntime } from "./native.ts";
import { checkWindow, viewOf } from "../host-memory.ts";
import { Encoding, isSlot } from "../words.ts";

export interface CpuOptions {
  /** Threads that run programs, the calling one included. Default: ALLOY_THREADS, else what suits the machine (machine.ts). */
  threads?: number;
  /** Instruction set. Default: ALLOY_ISA, else the best one. Throws `bad_argument` when the machine lacks it. */
  isa?: string;
}

/** A CPU device. Throws `bad_argument` for a thread count or instruction set that cannot be. */
export function createCpuDevice(options: CpuOptions = {}): Device {
  return new CpuDevice(nativeRuntime(), options);
}

class CpuBuffer implements DeviceBuffer {
  constructor(
    private base: number,
    readonly bytes: number,
    private readonly release?: (address: number) => void,
  ) {}

  get address(): number {
    return this.base;
  }

  slice(offset: number, bytes: number): DeviceBuffer {
    checkWindow(offset, bytes, this.bytes);
    return new CpuBuffer(this.base + offset, bytes);
  }

  view(offset = 0, bytes = this.bytes - offset): Uint8Array {
    checkWindow(offset, bytes, this.bytes);
    return viewOf(this.base + offset, bytes);
  }

  free(): void {
    if (this.release && this.base) this.release(this.base);
    if (this.release) this.base = 0;
  }
}

class CpuProgram implements Program {
  /** Address of the native function; 0 until it is loaded. */
  entry = 0;
  constructor(readonly source: ProgramSource) {}
  get symbol(): string {
    return this.source.symbol;
  }
  get params(): readonly ParamKind[] {
    return this.source.params;
  }
}

class CpuDevice implements Device {
  readonly properties: DeviceProperties;
  private readonly isa: Isa;
  private readonly pool: number;
  private readonly programs = new Map<string, CpuProgram>();
  private closed = false;
  /** Plans that run on the native runner thread; one at a time. */
  private last: Promise<void> = Promise.resolve();

  constructor(
    readonly native: NativeRuntime,
    options: CpuOptions,
  ) {
    this.isa = chooseIsa(native, options.isa ?? process.env.ALLOY_ISA);
    this.pool = native.poolCreate(...chooseThreads(native, options.threads));
    if (!this.pool) throw new AlloyError("out_of_memory", "There is no memory for the thread pool");
    this.properties = {
      name: cpuName(),
      kind: "cpu",
      isa: this.isa.name,
      threads: native.poolThreads(this.pool),
      memoryBytes: totalmem(),
      hostPointers: true,
    };
  }

  allocate(bytes: number): DeviceBuffer {
    if (!Number.isSafeInteger(bytes) || bytes < 0) throw new AlloyError("bad_argument", `A buffer cannot have ${bytes} bytes`);
    const address = this.native.alloc(bytes);
    if (!address) throw new AlloyError("out_of_memory", `There is no memory for a buffer of ${bytes} bytes`);
    return new CpuBuffer(address, bytes, (a) => this.native.free(a));
  }

  wrap(address: number, bytes: number): DeviceBuffer {
    return new CpuBuffer(address, bytes);
  }

  /** Compilation waits for the first plan that needs the program, so that everything missing is compiled together. */
  program(source: ProgramSource): Program {
    const known = this.programs.get(source.symbol);
    if (known) return known;
    const program = new CpuProgram(source);
    this.programs.set(source.symbol, program);
    return program;
  }

  plan(dispatches: readonly Dispatch[], slots: number): Plan {
    if (this.closed) throw new AlloyError("device_error", "The device is closed");
    this.load(dispatches.map((d) => d.program as CpuProgram));
    return new CpuPlan(this, dispatches, slots);
  }

  private load(programs: readonly CpuProgram[]): void {
    const waiting = [...new Set(programs)].filter((p) => !p.entry);
    const missing: CpuProgram[] = [];
    for (const p of waiting) {
      p.entry = this.native.library?.lookup(`${p.symbol}__${this.isa.suffix}`) ?? 0;
      if (!p.entry) missing.push(p);
    }
    if (!missing.length) return;
    const isa = this.isa.name;
    const units = compileAll(
      missing.map((p) => ({ symbol: p.symbol, text: p.source.text(isa) })),
      this.isa,
      () => missing.map((p) => ({ symbol: p.symbol, text: p.source.text("scalar") })),
    );
    for (const p of missing) {
      p.entry = units.get(p.symbol)!.lookup(p.symbol);
      if (!p.entry) throw new AlloyError("kernel_error", `The compiled unit lacks ${p.symbol}`);
    }
  }

  run(words: BigUint64Array, count: number, slots: BigUint64Array, ns: Float64Array | null): void {
    if (this.closed) throw new AlloyError("device_error", "The device is closed");
    this.check(this.native.run(this.pool, words, count, slots, ns));
  }

  /** Runs after what was submitted before, on this thread. Resolves with the milliseconds that it took. */
  async runInTurn(words: BigUint64Array, count: number, slots: BigUint64Array): Promise<number> {
    await this.last;
    const started = performance.now();
    this.run(words, count, slots, null);
    return performance.now() - started;
  }

  /** Runs after what was submitted before, on other threads. Resolves with the milliseconds that it took. */
  submit(words: BigUint64Array, count: number, slots: BigUint64Array): Promise<number> {
    const go = async (): Promise<number> => {
      if (this.closed) throw new AlloyError("device_error", "The device is closed");
      const started = performance.now();
      this.native.submit(this.pool, words, count, slots);
      for (;;) {
        const result = this.native.wait(this.pool, SLICE_US);
        if (result >= 0) {
          this.check(result);
          return performance.now() - started;
        }
        await new Promise((r) => setImmediate(r));
      }
    };
    const mine = this.last.then(go);
    this.last = mine.then(
      () => {},
      () => {},
    );
    return mine;
  }

  private check(result: number): void {
    if (result > 0) throw new AlloyError("device_error", `The grid of dispatch ${result - 1} has more than 2^32 - 1 programs`);
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    // A submitted plan still runs on the pool: the pool goes when it is done.
    void this.last.then(() => this.native.poolDestroy(this.pool));
  }
}

/** Plans that took less than this are run on the calling thread: a timer of the event loop would see their end a millisecond late. */
const BRIEF_MS = 20;
/**
 * Longer plans are waited for in slices with a turn of the event loop between them. Within a slice their end is seen at once, as no timer would, and
 * the waiting thread takes no time from those that work.
 */
const SLICE_US = 2000;

class CpuPlan implements Plan {
  private words: BigUint64Array;
  private slots: BigUint64Array;
  private floats: Float64Array;
  /** What the last submitted run took. */
  private lastMs = Infinity;

  constructor(
    private readonly device: CpuDevice,
    private readonly dispatches: readonly Dispatch[],
    slots: number,
  ) {
    this.slots = new BigUint64Array(Math.max(1, slots));
    this.floats = new Float64Array(this.slots.buffer);
    const words: bigint[] = [];
    for (const d of dispatches) this.encode(d, words, slots);
    this.words = BigUint64Array.from(words.length ? words : [0n]);
  }

  private encode(d: Dispatch, words: bigint[], slots: number): void {
    const e = new Encoding(d, slots);
    const { params } = d.program;
    words.push(BigInt((d.program as CpuProgram).entry), ...e.grid(), BigInt(params.length), d.parallel === "serial" ? 1n : 0n);
    d.args.forEach((arg, i) => {
      if (typeof arg === "object" && !isSlot(arg) && params[i] === "ptr") words.push(0n, BigInt(arg.address));
      else words.push(...e.number(i));
    });
  }

  setInt(slot: Slot, value: number): void {
    this.slots[slot.slot] = BigInt.asUintN(64, BigInt(value));
  }

  setFloat(slot: Slot, value: number): void {
    this.floats[slot.slot] = value;
  }

  setPointer(slot: Slot, address: number): void {
    this.slots[slot.slot] = BigInt(address);
  }

  run(): void {
    this.device.run(this.words, this.dispatches.length, this.slots, null);
  }

  async submit(): Promise<void> {
    // The native side reads slots while it runs: it gets its own copy, so that the next step's values may be set meanwhile.
    const slots = this.slots.slice();
    const brief = this.lastMs < BRIEF_MS;
    const count = this.dispatches.length;
    this.lastMs = await (brief ? this.device.runInTurn(this.words, count, slots) : this.device.submit(this.words, count, slots));
  }

  profile(): { label: string; symbol: string; ms: number }[] {
    const ns = new Float64Array(Math.max(1, this.dispatches.length));
    this.device.run(this.words, this.dispatches.length, this.slots, ns);
    return this.dispatches.map((d, i) => ({ label: d.label ?? d.program.symbol, symbol: d.program.symbol, ms: ns[i] / 1e6 }));
  }

  free(): void {
    this.words = new BigUint64Array(1);
  }
}

function chooseIsa(native: NativeRuntime, wanted: string | undefined): Isa {
  if (native.tiny) return isaByName("scalar");
  const usable = usableIsas(native.features());
  if (!wanted) return usable[0];
  const isa = isaByName(wanted);
  if (!usable.includes(isa)) {
    throw new AlloyError("bad_argument", `This machine cannot run instruction set "${wanted}"`, {
      hint: `It can run ${usable.map((i) => i.name).join(", ")}.`,
    });
  }
  return isa;
}

/** How many threads run programs, and how many of them can run at the same moment. */
function chooseThreads(native: NativeRuntime, wanted: number | undefined): [threads: number, cpus: number] {
  const machine = process.platform === "linux" ? readMachine() : undefined;
  const text = process.env.ALLOY_THREADS;
  const n = wanted ?? (text ? Number(text) : machine ? threadsFor(machine) : native.cpus());
  if (!Number.isInteger(n) || n < 1 || n > 1024)
    throw new AlloyError("bad_argument", `The number of threads must be 1 to 1024, got ${wanted ?? text}`);
  return [n, machine ? atOnce(machine) : availableParallelism()];
}

function cpuName(): string {
  if (process.platform !== "linux") return `${process.arch} CPU`;
  const line = /^model name\s*:\s*(.*)$/m.exec(readFileSync("/proc/cpuinfo", "utf8"));
  return line?.[1].trim() ?? `${process.arch} CPU`;
}
