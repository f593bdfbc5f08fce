/** Two ways to run dispatches in tests: on the interpreter, which checks every address, and on the CPU device. */
import { ptr as addressOf } from "bun:ffi";
import type { AnyKernel } from "../../src/compiler/language/index.ts";
import { interpret } from "../../src/compiler/ir/interpret.ts";
import type { KernelIR } from "../../src/compiler/ir/types.ts";
import { compileProgram } from "../../src/compiler/program.ts";
import type { Device, DeviceBuffer, Dispatch, Program, Slot } from "../../src/runtime/device.ts";

type Constexprs = Record<string, number | string | boolean>;

export interface Runner {
  name: string;
  ctx: {
    program(kernel: AnyKernel, constexprs: Constexprs): Program;
    slot(key: string, f: (sizes: Readonly<Record<string, number>>) => number): Slot;
    scratch(bytes: number): DeviceBuffer;
  };
  /** A buffer that holds a copy of `data`, or zeros. */
  buffer(data: ArrayBufferView | number): DeviceBuffer;
  run(dispatches: readonly Dispatch[]): void;
}

const noSlots = (): Slot => {
  throw new Error("tests give sizes as numbers");
};

const bytesOf = (v: ArrayBufferView): Uint8Array => new Uint8Array(v.buffer, v.byteOffset, v.byteLength);

class HostBuffer implements DeviceBuffer {
  readonly bytes: number;
  constructor(private readonly data: Uint8Array) {
    this.bytes = data.byteLength;
  }
  get address(): number {
    return Number(addressOf(this.data));
  }
  slice(offset: number, bytes: number): DeviceBuffer {
    return new HostBuffer(this.data.subarray(offset, offset + bytes));
  }
  view(offset = 0, bytes = this.bytes - offset): Uint8Array {
    return this.data.subarray(offset, offset + bytes);
  }
  free(): void {}
}

export function interpreterRunner(): Runner {
  const irs = new Map<string, KernelIR>();
  return {
    name: "interpreter",
    ctx: {
      program(kernel, constexprs) {
        const symbol = `${kernel.name}|${JSON.stringify(constexprs)}`;
        if (!irs.has(symbol)) irs.set(symbol, kernel.ir(constexprs));
        return { symbol, params: [] };
      },
      slot: noSlots,
      scratch: (bytes) => new HostBuffer(new Uint8Array(bytes)),
    },
    buffer(data) {
      return new HostBuffer(typeof data === "number" ? new Uint8Array(data) : bytesOf(data).slice());
    },
    run(dispatches) {
      for (const d of dispatches) {
        const ir = irs.get(d.program.symbol)!;
        const args = Object.fromEntries(ir.params.map((p, i) => [p.name, d.args[i] as number | HostBuffer]));
        interpret(ir, d.grid.map(Number), args);
      }
    },
  };
}

export function deviceRunner(device: Device): Runner {
  return {
    name: device.properties.isa,
    ctx: {
      program: (kernel, constexprs) => compileProgram(device, kernel, constexprs),
      slot: noSlots,
      scratch: (bytes) => device.allocate(bytes),
    },
    buffer(data) {
      const b = device.allocate(Math.max(64, typeof data === "number" ? data : data.byteLength));
      if (typeof data !== "number") b.view(0, data.byteLength).set(bytesOf(data));
      return b;
    },
    run(dispatches) {
      const plan = device.plan(dispatches, 0);
      plan.run();
      plan.free();
    },
  };
}

/** Numbers in [0, 1) from a seed (mulberry32). */
export function random(seed: number): () => number {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Seed of this run, printed so that a failure can be repeated: ALLOY_TEST_SEED=… */
export const SEED = Number(process.env.ALLOY_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
console.log(`seed ${SEED}`);

export const uniform = (next: () => number, n: number, scale = 1): Float32Array =>
  Float32Array.from({ length: n }, () => (next() * 2 - 1) * scale);

/** A copy of n floats. */
export const floats = (b: DeviceBuffer, n: number): Float32Array => {
  const v = b.view(0, n * 4);
  return new Float32Array(v.buffer, v.byteOffset, n).slice();
};
export const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/** Largest difference relative to the larger of 1 and the value. */
export function error(got: Float32Array, want: ArrayLike<number>): number {
  let worst = 0;
  for (let i = 0; i < got.length; i++) {
    const d = Math.abs(got[i] - want[i]) / Math.max(1, Math.abs(want[i]));
    worst = Number.isNaN(d) ? Infinity : Math.max(worst, d);
  }
  return worst;
}
