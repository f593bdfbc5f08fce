/** Runs a kernel on host memory: `kernel.grid(…)(args)`, on the default device. */
import { ptr } from "bun:ffi";
import type { Device, DeviceBuffer } from "../runtime/device.ts";
import { createDevice } from "../runtime/index.ts";
import { AlloyError } from "../support/errors.ts";
import type { HostMemory } from "./ir/memory.ts";
import { allocate } from "./ir/memory.ts";
import { DTYPE_BYTES } from "./ir/types.ts";
import type { Constexprs, Kernel } from "./language/kernel.ts";
import { compileProgram } from "./program.ts";

/** Arguments by name; outputs may be left out. */
export type Arguments = Readonly<Record<string, unknown>>;

let device: Device | undefined;

/** The device that launches use, opened at the first one: ALLOY_DEVICE, else the best there is. */
export function defaultDevice(): Device {
  return (device ??= createDevice());
}

/**
 * Runs `grid` programs and returns the outputs that were left out: the array of the only one, or an object of several.
 * Throws `bad_argument` for an argument that is missing or does not fit its parameter, `kernel_error` for mistakes in the kernel.
 */
export async function launch(kernel: Kernel, grid: readonly [number, number, number], args: Arguments): Promise<unknown> {
  const unknown = Object.keys(args).find((name) => !Object.hasOwn(kernel.signature, name));
  if (unknown !== undefined) throw new AlloyError("bad_argument", `${kernel.name} has no parameter ${unknown}`);
  const constexprs: Record<string, Constexprs[string]> = {};
  const given: (number | DeviceBuffer)[] = [];
  const made: Record<string, HostMemory> = {};
  const d = defaultDevice();
  const memory = new LaunchMemory(d);
  for (const [name, spec] of Object.entries(kernel.signature)) {
    const arg = args[name];
    if (spec.kind === "constexpr" || spec.kind === "constant") {
      if (arg !== undefined) constexprs[name] = arg as Constexprs[string];
    } else if (spec.kind !== "ptr") {
      if (typeof arg !== "number" && typeof arg !== "bigint")
        throw mistake(kernel, name, arg === undefined ? "is missing" : `must be a number, got ${typeof arg}`);
      given.push(Number(arg));
    } else if (arg !== undefined) {
      given.push(memory.pass(kernel, name, spec.dtype, arg));
    } else if (spec.output) {
      const elements = spec.size ? spec.size(args) : grid[0] * grid[1] * grid[2];
      made[name] = (spec.dtype === "bf16" ? new Uint16Array(elements) : allocate(spec.dtype, elements)) as HostMemory;
      given.push(memory.pass(kernel, name, spec.dtype, made[name]));
    } else throw mistake(kernel, name, "is missing");
  }
  try {
    const plan = d.plan([{ program: compileProgram(d, kernel, constexprs), grid, args: given }], 0);
    await plan.submit();
    plan.free();
    memory.readBack();
  } finally {
    memory.free();
  }
  const outputs = Object.values(made);
  return outputs.length > 1 ? made : outputs[0];
}

const mistake = (kernel: Kernel, name: string, what: string): AlloyError =>
  new AlloyError("bad_argument", `${kernel.name}: argument ${name} ${what}`);

/** What a launch passes for its arrays: their own memory where the device can reach it, else copies. */
class LaunchMemory {
  /** Arrays are passed by address: they must live until the run is over. */
  private readonly arrays: NodeJS.TypedArray[] = [];
  /** One copy per array, so that parameters given the same array share memory as they do on the host. */
  private readonly copies = new Map<NodeJS.TypedArray, DeviceBuffer>();

  constructor(private readonly device: Device) {}

  pass(kernel: Kernel, name: string, dtype: keyof typeof DTYPE_BYTES, arg: unknown): number | DeviceBuffer {
    if (ArrayBuffer.isView(arg) && !(arg instanceof DataView)) {
      const array = arg as NodeJS.TypedArray;
      if (array.BYTES_PER_ELEMENT !== DTYPE_BYTES[dtype]) {
        throw mistake(kernel, name, `must hold ${dtype} (${DTYPE_BYTES[dtype]} bytes each), got ${array.constructor.name}`);
      }
      this.arrays.push(array);
      if (!this.device.properties.hostPointers) return this.copy(array);
      return array.byteLength ? Number(ptr(array)) : 0;
    }
    if (typeof arg === "object" && arg !== null && "address" in arg && typeof arg.address === "number") return arg as DeviceBuffer;
    throw mistake(kernel, name, `must be a typed array or a buffer, got ${typeof arg}`);
  }

  private copy(array: NodeJS.TypedArray): DeviceBuffer {
    let buffer = this.copies.get(array);
    if (!buffer) {
      buffer = this.device.allocate(array.byteLength);
      this.copies.set(array, buffer);
      buffer.view().set(bytesOf(array));
    }
    return buffer;
  }

  readBack(): void {
    for (const [array, buffer] of this.copies) bytesOf(array).set(buffer.view());
  }

  free(): void {
    for (const buffer of this.copies.values()) buffer.free();
  }
}

const bytesOf = (a: NodeJS.TypedArray): Uint8Array => new Uint8Array(a.buffer, a.byteOffset, a.byteLength);
