/**
 * The Device contract: everything above this line (graph, models, engine) drives any hardware through it.
 * A device knows buffers, programs and plans; it knows nothing of kernels' sources in TypeScript, graphs or models.
 */

/** Memory on a device. On the CPU `address` is an ordinary pointer; on unified-memory GPUs it is the CPU's view of the same pages. */
export interface DeviceBuffer {
  readonly bytes: number;
  readonly address: number;
  /** A window of [offset, offset+bytes) that shares the memory. Freeing a window is a no-op. */
  slice(offset: number, bytes: number): DeviceBuffer;
  /** Host view; throws beyond 4 GiB. The view dies with the buffer. */
  view(offset?: number, bytes?: number): Uint8Array;
  free(): void;
}

/** How one kernel parameter is passed. All arguments travel as 8 bytes. */
export type ParamKind = "ptr" | "i32" | "i64" | "u32" | "u64" | "f32" | "f64";

export interface ProgramSource {
  /** Symbol, unique for kernel + constexpr values; identifies an ahead-of-time compiled program too. */
  symbol: string;
  params: readonly ParamKind[];
  /** C for an instruction set, made only if the program is not in the ahead-of-time library. */
  text: (isa: string) => string;
  /** The program for a Metal GPU. */
  metal?: () => MetalProgram;
}

/** A value that is fixed when a pipeline is made rather than in the text: `[[function_constant(index)]]`. */
export interface FunctionConstant {
  index: number;
  name: string;
  type: "bool" | "i32" | "u32" | "f32";
  value: number | boolean;
}

/**
 * A kernel as Metal Shading Language, and how it is launched. Its arguments: pointers are buffers 0 … P-1 in order; buffer P is constant
 * bytes: the grid as three u32, four bytes of padding, then 8 bytes per dim or scalar in order.
 */
export interface MetalProgram {
  /** Name of the kernel function. */
  entry: string;
  /** What the function needs beside the header that all texts of a library share. */
  text: string;
  /** Threads of a threadgroup. */
  threads: readonly [number, number, number];
  /** True: a program is one thread of the grid. False: a program is a threadgroup. */
  perThread: boolean;
  constants: readonly FunctionConstant[];
  /** Per argument: a pointer that the kernel writes through. */
  writes: readonly boolean[];
  /** Bytes of threadgroup memory that the text declares. */
  sharedBytes: number;
}

export interface Program {
  readonly symbol: string;
  readonly params: readonly ParamKind[];
}

/** A value that changes from run to run: set on the plan before it runs. */
export interface Slot {
  readonly slot: number;
}

export type GridSize = number | Slot;
export type Argument = DeviceBuffer | number | Slot;

export interface Dispatch {
  program: Program;
  /** Number of programs on each axis; a zero anywhere skips the dispatch. */
  grid: readonly [GridSize, GridSize, GridSize];
  /** In the order of the program's params. A Slot for a ptr param holds an address. */
  args: readonly Argument[];
  /** For profiles and traces, e.g. "layers.3.q_proj". */
  label?: string;
  /** "serial" runs it on the calling thread, for work too small to share. Default "auto". */
  parallel?: "auto" | "serial";
}

/** A flat list of dispatches that native code walks in one call. Dispatches run in order, each seeing the results of those before it. */
export interface Plan {
  setInt(slot: Slot, value: number): void;
  setFloat(slot: Slot, value: number): void;
  setPointer(slot: Slot, address: number): void;
  /** Runs to completion before it returns. */
  run(): void;
  /** Runs without blocking the JavaScript thread where the device can. Slots are read now; plans of a device run in the order of their submission. */
  submit(): Promise<void>;
  /** Runs once, timing every dispatch; milliseconds by dispatch in order. */
  profile(): { label: string; symbol: string; ms: number }[];
  free(): void;
}

export interface DeviceProperties {
  name: string;
  kind: "cpu" | "metal" | "cuda";
  /** Instruction set or GPU family in use, e.g. "avx512-vnni". */
  isa: string;
  /** Threads of a CPU device, cores of a GPU (0: unknown). */
  threads: number;
  memoryBytes: number;
  /** Programs may be given any address of host memory. Otherwise only buffers of this device and windows of them. */
  hostPointers: boolean;
}

export interface Device {
  readonly properties: DeviceProperties;
  /** Bytes that may still be allocated and wrapped, where the device has a limit of its own beside the system's free memory. */
  readonly freeBytes?: number;
  allocate(bytes: number): DeviceBuffer;
  /** Uses host memory in place (mapped weights). The caller keeps it alive. */
  wrap(address: number, bytes: number): DeviceBuffer;
  program(source: ProgramSource): Program;
  plan(dispatches: readonly Dispatch[], slots: number): Plan;
  close(): void;
}
