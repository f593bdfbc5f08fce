/** The vocabulary as editors and the type checker see it. What each operation does: docs/kernel-language.md. */
import type { DTYPES, DTypeObject, Pointer, Tile } from "./signature.ts";

/** A number, a tile or a comparison's result. */
export type Operand = number | boolean;
/** Compile-time size or sizes. */
export type Shape = number | readonly number[];
export type Axis = number | { axis?: number };

type Unary = (x: Operand) => Tile;
type DTypes = typeof DTYPES;

export interface Al extends DTypes {
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
  /** acc + Σ over four bytes of u8(a)·i8(b) (signedA: i8·i8), wrapping i32. smallA promises that a's bytes are at most 127, which some machines multiply faster. */
  dot4(a: Operand, b: Operand, acc: Operand, options?: { signedA?: boolean; smallA?: boolean }): Tile;
  /** Each byte 0…15 of x replaced by its entry of the table. */
  byteLookup(table: readonly number[], x: Operand): Tile;
  /** The low bytes of four integers as one i32, a lowest. */
  pack4(a: Operand, b: Operand, c: Operand, d: Operand): Tile;

  /** Compile-time repetition: `for (const u of al.unroll(n))`. */
  unroll(n: number): Iterable<number>;
  unroll(start: number, end: number, step?: number): Iterable<number>;
  /** Fails the compilation with `message` unless the compile-time condition holds. */
  staticAssert(condition: boolean, message?: string): void;
  /** Whether a value is known at compile time. */
  isConst(x: unknown): boolean;
}
