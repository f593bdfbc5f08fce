/** The vocabulary as editors and the type checker see it. What each operation does: docs/kernel-language.md. */
import type { DTYPES, DTypeObject, Pointer, Tile } from "./signature.ts";

/** A number, a tile or a comparison's result. */
export type Operand = number | boolean;
/** Compile-time size or sizes. */
export type Shape = number | readonly number[];
export type Axis = number | { axis?: number };

type Unary = (x: Operand) => Tile;
type DTypes = typeof DTYPES;

/** Options of scans: the axis (default: the last), from the end, and without the element itself. */
export interface ScanOptions {
  axis?: number;
  reverse?: boolean;
  exclusive?: boolean;
}
type Cumulative = (x: Operand, axis?: number | ScanOptions) => Tile;
/** Changes memory in one indivisible step and gives the value before (0 where the mask is off). */
type Atomic = (p: Pointer, value: Operand, options?: { mask?: Operand }) => Tile;
/** Combines the x of all 32 lanes; every lane gets the result. */
type Combine = (x: Operand) => Tile;
type ReduceKind = "sum" | "prod" | "min" | "max" | "and" | "or" | "xor" | "any" | "all";

export interface Al extends DTypes, ThreadLevel, Simd {
  /** Position of this program on an axis of the grid, i32. */
  programId(axis?: 0 | 1 | 2): Tile;
  /** Size of the grid on an axis, i32. */
  numPrograms(axis?: 0 | 1 | 2): Tile;

  /** 0 … n-1, or a … b-1, as i32 [n]. Bounds are compile-time. */
  arange(n: number): Tile;
  arange(a: number, b: number): Tile;
  /** Zeros, f32 unless a type is given. */
  zeros(shape: Shape, dtype?: DTypeObject): Tile;
  /** One value everywhere. */
  full(shape: Shape, value: Operand, dtype?: DTypeObject): Tile;

  /** [n] → [n, 1]. */
  col(x: Operand): Tile;
  /** [n] → [1, n]. */
  row(x: Operand): Tile;
  /** Same elements in another shape, row-major. */
  reshape(x: Operand, shape: Shape): Tile;
  /** A new axis of size 1. */
  expand(x: Operand, axis: number): Tile;
  /** NumPy broadcast to a shape. */
  broadcast(x: Operand, shape: Shape): any;
  /** Swaps the axes of a 2-D tile. */
  trans(x: Operand): Tile;
  /** Joins on the last axis. */
  cat(a: Operand, b: Operand): Tile;
  /** `size` elements of one axis from a compile-time `start`. */
  slice(x: Operand, axis: number, start: number, size: number): Tile;
  /** One element, by compile-time index, as a scalar. */
  extract(x: Operand, ...index: number[]): Tile;

  /** Elements at the pointer's addresses; where mask is false `other` (default 0), and memory is not touched. */
  load(p: Pointer, options?: { mask?: Operand; other?: Operand }): Tile;
  /** Writes value (converted to the pointer's type) where mask is true. */
  store(p: Pointer, value: Operand, options?: { mask?: Operand }): void;
  /** Hint that the addresses will be read soon. */
  prefetch(p: Pointer): void;

  exp: Unary;
  exp2: Unary;
  log: Unary;
  log2: Unary;
  sin: Unary;
  cos: Unary;
  tanh: Unary;
  sqrt: Unary;
  /** 1 / sqrt(x) */
  rsqrt: Unary;
  abs: Unary;
  floor: Unary;
  ceil: Unary;
  /** To nearest, half to even. */
  round: Unary;
  trunc: Unary;
  erf: Unary;
  /** 1 / (1 + exp(-x)) */
  sigmoid: Unary;
  pow(x: Operand, y: Operand): Tile;
  /** Smallest of several numbers or tiles, elementwise; of one tile: over all elements, or over `{ axis }`. */
  min(x: Operand, axis: { axis: number }): Tile;
  min(x: Operand, ...more: Operand[]): Tile;
  /** Largest of several numbers or tiles, elementwise; of one tile: over all elements, or over `{ axis }`. */
  max(x: Operand, axis: { axis: number }): Tile;
  max(x: Operand, ...more: Operand[]): Tile;
  /** a·b + c */
  fma(a: Operand, b: Operand, c: Operand): Tile;
  clamp(x: Operand, low: Operand, high: Operand): Tile;
  /** Integer division, truncating. */
  idiv(a: Operand, b: Operand): Tile;
  /** Integer division rounding up, for non-negative a and positive b. */
  cdiv(a: Operand, b: Operand): Tile;

  /** a where c is true, else b. */
  where(c: Operand, a: Operand, b: Operand): Tile;
  /** Float → int truncates and saturates (NaN → 0); to narrower floats rounds to nearest even. */
  cast(x: Operand, dtype: DTypeObject): Tile;
  /** Same bits as a type of the same width. */
  bitcast(x: Operand, dtype: DTypeObject): Tile;

  sum(x: Operand, axis?: Axis): Tile;
  /** Lowest index of the largest element. */
  argmax(x: Operand, axis?: Axis): Tile;
  argmin(x: Operand, axis?: Axis): Tile;
  any(x: Operand, axis?: Axis): any;
  all(x: Operand, axis?: Axis): any;

  /** Matrix product a [M,K] · b [K,N] + acc, f32. */
  dot(a: Operand, b: Operand, options: { transposeA?: boolean; transposeB?: boolean }): Tile;
  dot(a: Operand, b: Operand, acc?: Operand, options?: { transposeA?: boolean; transposeB?: boolean }): Tile;
  /**
   * acc + Σ over four bytes of u8(a)·i8(b) (signedA: i8·i8), wrapping i32. maxA and maxB promise that no byte is larger in size, which machines
   * without an instruction for it multiply faster: sums of as many products as then fit 16 bits are made there.
   */
  dot4(a: Operand, b: Operand, acc: Operand, options?: { signedA?: boolean; maxA?: number; maxB?: number }): Tile;
  /** acc + the products of the two signed 16-bit halves of a and b, wrapping i32. */
  dot2(a: Operand, b: Operand, acc: Operand): Tile;
  /**
   * Each 16-bit half by itself: acc's half + Σ over its two bytes of u8(a)·i8(b), wrapping 16 bits. What is added at a time must fit them (bytes
   * of a up to 128, those of b above -128). `dot2` with the same number in both halves multiplies and adds up what comes out.
   */
  dotPairs(a: Operand, b: Operand, acc: Operand): Tile;
  /** Each signed byte of x times the sign (-1, 0, 1) of that of s. byteSign(x, x) is the bytes' sizes, 128 unsigned. */
  byteSign(x: Operand, s: Operand): Tile;
  /** Each byte 0…15 of x replaced by its entry of the table. */
  byteLookup(table: readonly number[], x: Operand): Tile;
  /** The low bytes of four integers as one i32, a lowest. */
  pack4(a: Operand, b: Operand, c: Operand, d: Operand): Tile;

  /** Running value along an axis: sum unless a kind is given. */
  scan(x: Operand, options?: ScanOptions & { kind?: "sum" | "prod" | "max" | "min" }): Tile;
  cumsum: Cumulative;
  cumprod: Cumulative;
  cummax: Cumulative;
  cummin: Cumulative;

  /** i32, u32, f32 (i64 and u64 where the target has them); and, or, xor: integers. */
  atomicAdd: Atomic;
  atomicMin: Atomic;
  atomicMax: Atomic;
  atomicAnd: Atomic;
  atomicOr: Atomic;
  atomicXor: Atomic;
  /** Writes the value whatever is there. */
  atomicExchange: Atomic;
  /** Writes the value where memory holds `compared` (the same bits); gives what it held. */
  atomicCas(p: Pointer, compared: Operand, value: Operand, options?: { mask?: Operand }): Tile;

  /** Writes a line to stderr after the run: kernel, program, thread, label and values. */
  print(label: string, ...values: Operand[]): void;

  /** Compile-time repetition: `for (const u of al.unroll(n))`. */
  unroll(n: number): Iterable<number>;
  unroll(start: number, end: number, step?: number): Iterable<number>;
  /** Fails the compilation with `message` unless the compile-time condition holds. */
  staticAssert(condition: boolean, message?: string): void;
  /** Whether a value is known at compile time. */
  isConst(x: unknown): boolean;
}

/** Operations of kernels that declare `threads`: what one thread of a threadgroup does. */
export interface ThreadLevel {
  /** Position of this thread in its threadgroup, i32. */
  threadId(axis?: 0 | 1 | 2): Tile;
  /** Threads of a threadgroup on an axis, known at compile time. */
  numThreads(axis?: 0 | 1 | 2): number;
  /** programId(axis) * numThreads(axis) + threadId(axis) */
  globalId(axis?: 0 | 1 | 2): Tile;
  /** Position in the simdgroup, 0 … 31. */
  laneId(): Tile;
  /** Which simdgroup of the threadgroup this thread is in. */
  simdgroupId(): Tile;

  /** Memory that the threads of a threadgroup share, f32 unless a type is given. What it holds before the first store is undefined. */
  shared(shape: Shape, dtype?: DTypeObject): Pointer;
  /** Memory of one thread, for arrays with run-time indices. */
  local(shape: Shape, dtype?: DTypeObject): Pointer;
  /** Waits for all threads of the threadgroup; what they wrote to `memory` (default: both) before is visible after. */
  barrier(options?: { memory?: "shared" | "device" | "both" }): void;
  /**
   * All threads together copy rows × cols elements from `source` (rows `stride` apart, default cols) to shared memory (rows `pitch` apart, default
   * cols). Elements at and beyond validRows, validCols are not read and become `other` (0). A barrier before and after is the caller's.
   */
  cooperativeLoad(
    target: Pointer,
    source: Pointer,
    options: { rows?: number; cols: number; stride?: Operand; pitch?: Operand; validRows?: Operand; validCols?: Operand; other?: Operand },
  ): void;
  /** n elements that lie side by side, as a tile [n]. */
  loadVector(p: Pointer, n: number, options?: { mask?: Operand; other?: Operand }): Tile;
  /** Writes a tile [n] side by side. */
  storeVector(p: Pointer, value: Operand, options?: { mask?: Operand }): void;
}

/** Operations among the 32 threads of a simdgroup, which all reach them together. */
export interface Simd {
  /** Waits for the simdgroup, with its writes to memory. */
  simdBarrier(): void;
  /** x of another lane; where there is none, the thread's own. */
  simdShuffle(x: Operand, lane: Operand): Tile;
  /** x of the lane `delta` below. */
  simdShuffleUp(x: Operand, delta: Operand): Tile;
  /** x of the lane `delta` above. */
  simdShuffleDown(x: Operand, delta: Operand): Tile;
  /** x of the lane whose number differs in the bits of `mask`. */
  simdShuffleXor(x: Operand, mask: Operand): Tile;
  /** x of one lane, in all. */
  simdBroadcast(x: Operand, lane: Operand): Tile;
  simdSum: Combine;
  simdProd: Combine;
  simdMin: Combine;
  simdMax: Combine;
  simdAnd: Combine;
  simdOr: Combine;
  simdXor: Combine;
  /** A vote: true if the condition holds in any lane. */
  simdAny(c: Operand): any;
  simdAll(c: Operand): any;
  /** u32 whose bit l is lane l's condition. */
  simdBallot(c: Operand): Tile;
  simdReduce(x: Operand, kind: ReduceKind): Tile;
  /** Sum of x over the lanes up to this one; exclusive: before it. */
  simdPrefixSum(x: Operand, options?: { exclusive?: boolean }): Tile;
  simdPrefixProd(x: Operand, options?: { exclusive?: boolean }): Tile;

  /** A thread's part, a tile [2], of an 8×8 matrix with one value everywhere (0.0). */
  simdMatrix(value?: Operand, dtype?: DTypeObject): Tile;
  /** A thread's part of the 8×8 matrix at p, whose rows are `stride` (8) elements apart; transposed: its columns. */
  simdLoad(p: Pointer, options?: { stride?: Operand; transpose?: boolean }): Tile;
  simdStore(p: Pointer, matrix: Operand, options?: { stride?: Operand; transpose?: boolean }): void;
  /** a · b + c of 8×8 matrices; c is f32. */
  simdMma(a: Operand, b: Operand, c?: Operand): Tile;
}
