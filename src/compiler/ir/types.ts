/**
 * The tile IR: SSA values typed (dtype, shape), structured regions, explicit memory operations.
 * What each op means is defined by the interpreter (./interpret.ts); which ops exist and how they type by the table in ./ops.ts.
 */

export type DType = "bool" | "i8" | "u8" | "i16" | "u16" | "i32" | "u32" | "i64" | "u64" | "f16" | "bf16" | "f32" | "f64";

/** shape [] is a scalar; every dimension is a compile-time constant, not necessarily a power of two. Tiles are row-major. */
export interface ValueType {
  dtype: DType;
  shape: readonly number[];
}

/** Position in the user's source, for errors and for comments in emitted code. Line is 1-based, column 0-based. */
export interface Loc {
  line: number;
  column: number;
}

export interface Value {
  id: number;
  type: ValueType;
  /** The user's variable name where there is one; printers add the id to make it unique. */
  name?: string;
}

/** ptr, dim, scalar: arguments of a launch. shared, local: memory of a threadgroup or thread, made by its declaration. constant: fixed when a program is made. */
export type ParamRole = "ptr" | "dim" | "scalar" | "shared" | "local" | "constant";

export interface Param {
  name: string;
  kind: ParamRole;
  /** Element type of memory; type of a dim (i32 unless declared i64), scalar or constant. */
  dtype: DType;
  /** True for outputs, which the caller may leave out. */
  output: boolean;
  /** The SSA value of a dim, scalar or constant. Memory is no value: loads, stores and atomics name the parameter and an offset. */
  value?: Value;
  /** Elements of shared (per threadgroup) or local (per thread) memory. */
  elements?: number;
  /** What a kept function constant is in this specialisation; code must work for every value of the type. */
  constant?: number | boolean;
}

/** True for memory that loads and stores name: a buffer, or memory of a threadgroup or thread. */
export const isMemory = (p: Param): boolean => p.kind === "ptr" || p.kind === "shared" || p.kind === "local";
/** True for what a launch passes, in order of the parameters. */
export const isArgument = (p: Param): boolean => p.kind === "ptr" || p.kind === "dim" || p.kind === "scalar";

/** An `al.print` of the kernel: how its records in the hidden buffer `__print` read (language/print.ts has the layout). */
export interface PrintSite {
  label: string;
  /** Types of the values, in order; shapes are per thread. */
  types: readonly ValueType[];
  line: number;
}

/** Name of the hidden pointer parameter (u32) that records of `al.print` are written to: the last one that a launch passes. */
export const PRINT_PARAM = "__print";

/** Threads of a simdgroup, on every target. */
export const SIMD_WIDTH = 32;

export type Attr = number | bigint | string | boolean | readonly number[] | readonly string[];

export interface Op {
  op: string;
  args: Value[];
  results: Value[];
  attrs: Record<string, Attr>;
  /** for: [body]; if: [then, else]; while: [condition, body]. Each ends with a `yield` op. */
  regions: Block[];
  loc?: Loc;
}

export interface Block {
  /** for: [induction variable, ...carried]; while: [...carried]; if and function body: []. */
  args: Value[];
  ops: Op[];
}

export interface KernelIR {
  name: string;
  params: Param[];
  body: Block;
  /**
   * Threads of a threadgroup on its three axes: set for a thread-level kernel, whose body every thread runs and whose values, tiles
   * included, are private to a thread. Linear index x + X·(y + Y·z); 32 consecutive threads are a simdgroup.
   */
  threads?: readonly [number, number, number];
  /** Tile-level kernels: how many simdgroups of 32 threads a GPU should give to one program. A hint. */
  simdgroups?: number;
  /** No memory that the kernel writes is accessed through two of its pointers: targets need no order between accesses through different ones. */
  distinct?: boolean;
  /** Lockstep form of a thread-level kernel (passes/lockstep.ts): the last axis of a varying value is the thread; this many threads. */
  lanes?: number;
  /** The kernel's prints, by the number that their records carry. */
  prints?: readonly PrintSite[];
  /** The constexpr values this IR was specialised with, folded function constants included. */
  constexprs: Record<string, number | string | boolean>;
  /** The user's source text, for error messages and source comments. */
  source?: string;
  /** Next free value id. */
  nextId: number;
}

export const DTYPE_BYTES: Record<DType, number> = {
  bool: 1,
  i8: 1,
  u8: 1,
  i16: 2,
  u16: 2,
  i32: 4,
  u32: 4,
  i64: 8,
  u64: 8,
  f16: 2,
  bf16: 2,
  f32: 4,
  f64: 8,
};

export const isFloat = (d: DType): boolean => d === "f16" || d === "bf16" || d === "f32" || d === "f64";
export const isSigned = (d: DType): boolean => d === "i8" || d === "i16" || d === "i32" || d === "i64";
export const isInt = (d: DType): boolean => !isFloat(d) && d !== "bool";
export const elements = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
