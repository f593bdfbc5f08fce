/** Runs a kernel on host memory: `kernel.grid(…)(args)`, on the default device. */
import { ptr } from "bun:ffi";
import type { Argument, Device, DeviceBuffer } from "../runtime/device.ts";
import { AlloyError } from "../support/errors.ts";
import { defaultDevice } from "./default-device.ts";
import type { HostMemory } from "./ir/memory.ts";
import { allocate } from "./ir/memory.ts";
import { DTYPE_BYTES, elements } from "./ir/types.ts";
import type { Constexprs, Kernel } from "./language/kernel.ts";
import { PrintLog } from "./prints.ts";
import { compileProgram } from "./program.ts";

/** Arguments by name; outputs may be left out. */
export type Arguments = Readonly<Record<string, unknown>>;
export type Grid = readonly [number, number, number];

/** The method by which an argument takes a launch over, instead of memory that is there already: how lazy buffers join in. */
export const DEFER: unique symbol = Symbol("alloy.defer");
export interface Deferring {
  [DEFER](kernel: Kernel, grid: Grid, args: Arguments): unknown;
}

const isDeferring = (x: unknown): x is Deferring => typeof x === "object" && x !== null && DEFER in x;

/**
 * Runs `grid` programs and returns the outputs that were left out: the array of the only one, or an object of several. With a lazy buffer among
 * the arguments nothing runs yet, and the outputs are lazy buffers.
 * Throws `bad_argument` for an argument that is missing or does not fit its parameter, `kernel_error` for mistakes in the kernel.
 */
export function launch(kernel: Kernel, grid: Grid, args: Arguments): unknown {
  const lazy = Object.values(args).find(isDeferring);
  return lazy ? lazy[DEFER](kernel, grid, args) : launchNow(kernel, grid, args);
}

/** Arguments sorted by what they are for. Throws `bad_argument` for unknown and missing ones. */
export function sortArguments(kernel: Kernel, grid: Grid, args: Arguments) {
  const unknown = Object.keys(args).find((name) => !Object.hasOwn(kernel.signature, name));
  if (unknown !== undefined) throw new AlloyError("bad_argument", `${kernel.name} has no parameter ${unknown}`);
  const constexprs: Record<string, Constexprs[string]> = {};
  for (const [name, spec] of Object.entries(kernel.signature)) {
    const given = spec.kind === "constexpr" || spec.kind === "constant" ? args[name] : undefined;
    if (given !== undefined) constexprs[name] = given as Constexprs[string];
  }
  const run: ({ name: string } & ({ number: number } | { memory: unknown; dtype: DTypeName } | { elements: number; dtype: DTypeName }))[] =
    [];
  for (const [name, spec] of Object.entries(kernel.signature)) {
    const arg = args[name];
    if (spec.kind === "constexpr" || spec.kind === "constant") continue;
    if (spec.kind !== "ptr") {
      if (typeof arg !== "number" && typeof arg !== "bigint")
        throw mistake(kernel, name, arg === undefined ? "is missing" : `must be a number, got ${typeof arg}`);
      run.push({ name, number: Number(arg) });
    } else if (arg !== undefined) run.push({ name, memory: arg, dtype: spec.dtype });
    else if (spec.output)
      run.push({ name, elements: spec.size ? spec.size(args) : elements(grid) * kernel.threadCount(constexprs), dtype: spec.dtype });
    else throw mistake(kernel, name, "is missing");
  }
  return { constexprs, run };
}
type DTypeName = keyof typeof DTYPE_BYTES;

async function launchNow(kernel: Kernel, grid: Grid, args: Arguments): Promise<unknown> {
  const { constexprs, run } = sortArguments(kernel, grid, args);
  const made: Record<string, HostMemory> = {};
  const device = defaultDevice();
  const memory = new LaunchMemory(device);
  const given = run.map((a): Argument => {
    if ("number" in a) return a.number;
    if ("memory" in a) return memory.pass(kernel, a.name, a.dtype, a.memory);
    made[a.name] = (a.dtype === "bf16" ? new Uint16Array(a.elements) : allocate(a.dtype, a.elements)) as HostMemory;
    return memory.pass(kernel, a.name, a.dtype, made[a.name]);
  });
  const prints = new PrintLog(device);
  try {
    const program = compileProgram(device, kernel, constexprs);
    const plan = device.plan([{ program, grid, args: [...given, ...prints.arguments(kernel, constexprs)] }], 0);
    await plan.submit();
    plan.free();
    memory.readBack();
    prints.flush();
  } finally {
    memory.free();
    prints.free();
  }
  const outputs = Object.values(made);
  return outputs.length > 1 ? made : outputs[0];
}

/** What a launch passes for its arrays: their own memory where the device can reach it, else copies. */
class LaunchMemory {
  /** Arrays are passed by address: they must live until the run is over. */
  private readonly arrays: NodeJS.TypedArray[] = [];
  /** One copy per array, so that parameters given the same array share memory as they do on the host. */
  private readonly copies = new Map<NodeJS.TypedArray, DeviceBuffer>();

  constructor(private readonly device: Device) {}

  pass(kernel: Kernel, name: string, dtype: DTypeName, arg: unknown): DeviceBuffer {
    if (typeof arg === "object" && arg !== null && "address" in arg && typeof arg.address === "number") return arg as DeviceBuffer;
    const array = checkedArray(kernel, name, dtype, arg);
    this.arrays.push(array);
    if (!this.device.properties.hostPointers) return this.copy(array);
    return this.device.wrap(array.byteLength ? Number(ptr(array)) : 0, array.byteLength);
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

const mistake = (kernel: Kernel, name: string, what: string): AlloyError =>
  new AlloyError("bad_argument", `${kernel.name}: argument ${name} ${what}`);

/** The argument as a typed array of elements of that size. Throws `bad_argument`. */
export function checkedArray(kernel: Kernel, name: string, dtype: DTypeName, arg: unknown): NodeJS.TypedArray {
  if (!ArrayBuffer.isView(arg) || arg instanceof DataView)
    throw mistake(kernel, name, `must be a typed array or a buffer, got ${typeof arg}`);
  const array = arg as NodeJS.TypedArray;
  if (array.BYTES_PER_ELEMENT !== DTYPE_BYTES[dtype])
    throw mistake(kernel, name, `must hold ${dtype} (${DTYPE_BYTES[dtype]} bytes each), got ${array.constructor.name}`);
  return array;
}
