/**
 * The interpreter as a device: slow, and the most careful one. Every access is checked against its buffer, and an error names the program and
 * the line of the kernel. `ALLOY_DEVICE=interpreter` runs kernels on it.
 */
import { ptr } from "bun:ffi";
import { AlloyError } from "../support/errors.ts";
import type {
  Argument,
  Device,
  DeviceBuffer,
  DeviceProperties,
  Dispatch,
  GridSize,
  ParamKind,
  Plan,
  Program,
  Slot,
} from "../runtime/device.ts";
import { checkWindow, viewOf } from "../runtime/host-memory.ts";
import { interpret } from "./ir/interpret.ts";
import type { HostMemory } from "./ir/memory.ts";
import { isArgument } from "./ir/types.ts";
import type { AnyKernel, Constexprs } from "./language/kernel.ts";

/** Memory as a range of addresses; `owner` keeps what was allocated alive. */
class HostBuffer implements DeviceBuffer {
  constructor(
    readonly address: number,
    readonly bytes: number,
    private owner?: Uint8Array,
  ) {}

  slice(offset: number, bytes: number): DeviceBuffer {
    checkWindow(offset, bytes, this.bytes);
    return new HostBuffer(this.address + offset, bytes, this.owner);
  }

  view(offset = 0, bytes = this.bytes - offset): Uint8Array {
    checkWindow(offset, bytes, this.bytes);
    return viewOf(this.address + offset, bytes);
  }

  free(): void {
    this.owner = undefined;
  }
}

class InterpretedProgram implements Program {
  readonly params: readonly ParamKind[];
  constructor(
    readonly symbol: string,
    readonly kernel: AnyKernel,
    readonly constexprs: Constexprs,
  ) {
    this.params = kernel.paramKindsOf(constexprs);
  }
}

export class InterpreterDevice implements Device {
  readonly properties: DeviceProperties = {
    name: "interpreter",
    kind: "cpu",
    isa: "interpreter",
    threads: 1,
    memoryBytes: 2 ** 32,
    hostPointers: true,
  };

  allocate(bytes: number): DeviceBuffer {
    const memory = new Uint8Array(bytes);
    return new HostBuffer(bytes ? Number(ptr(memory)) : 0, bytes, memory);
  }

  wrap(address: number, bytes: number): DeviceBuffer {
    return new HostBuffer(address, bytes);
  }

  /** The kernel itself is the program: there is no text to compile. */
  kernelProgram(kernel: AnyKernel, constexprs: Constexprs): Program {
    return new InterpretedProgram(kernel.symbol(constexprs), kernel, constexprs);
  }

  program(): Program {
    throw new AlloyError("device_error", "The interpreter runs kernels, not texts for other targets", {
      hint: "Make programs with compileProgram.",
    });
  }

  plan(dispatches: readonly Dispatch[], slots: number): Plan {
    return new InterpretedPlan(dispatches, slots);
  }

  close(): void {}
}

const isSlot = (x: GridSize | Argument): x is Slot => typeof x === "object" && "slot" in x;

class InterpretedPlan implements Plan {
  private readonly values: number[];

  constructor(
    private readonly dispatches: readonly Dispatch[],
    slots: number,
  ) {
    this.values = Array.from({ length: slots }, () => 0);
    for (const d of dispatches) {
      if (d.args.length !== d.program.params.length)
        throw new AlloyError("device_error", `${d.program.symbol} takes ${d.program.params.length} arguments, got ${d.args.length}`);
      (d.program as InterpretedProgram).kernel.specialize((d.program as InterpretedProgram).constexprs);
    }
  }

  setInt(slot: Slot, value: number): void {
    this.values[slot.slot] = value;
  }

  setFloat(slot: Slot, value: number): void {
    this.values[slot.slot] = value;
  }

  setPointer(): void {
    throw new AlloyError("device_error", "The interpreter takes buffers, not addresses: it checks where they end");
  }

  run(): void {
    for (const d of this.dispatches) this.dispatch(d);
  }

  async submit(): Promise<void> {
    this.run();
  }

  profile(): { label: string; symbol: string; ms: number }[] {
    return this.dispatches.map((d) => {
      const started = performance.now();
      this.dispatch(d);
      return { label: d.label ?? d.program.symbol, symbol: d.program.symbol, ms: performance.now() - started };
    });
  }

  free(): void {}

  private dispatch(d: Dispatch): void {
    const number = (x: GridSize): number => (isSlot(x) ? this.values[x.slot] : x);
    const { kernel, constexprs } = d.program as InterpretedProgram;
    const ir = kernel.specialize(constexprs);
    const names = ir.params.filter(isArgument).map((p) => p.name);
    const args = d.args.map((a, i): HostMemory | number => {
      if (d.program.params[i] !== "ptr") return number(a as GridSize);
      if (typeof a === "number" || isSlot(a))
        throw new AlloyError("device_error", `${kernel.name}: argument ${names[i]} must be a buffer here`);
      return a as DeviceBuffer;
    });
    interpret(ir, d.grid.map(number), Object.fromEntries(names.map((name, i) => [name, args[i]])));
  }
}
