/** What a comparison of a kernel between two targets is made of, and random data for it. */
import type { AnyKernel } from "../../src/compiler/language/index.ts";
import type { ConstexprValues } from "../api.ts";

export type Data = Float32Array | Float16Array | Int32Array | Uint16Array | Uint8Array | Int8Array;
export type CaseArgs = Readonly<Record<string, Data | number>>;

/** One launch. Arrays that share an ArrayBuffer share memory on the device; every array covers its buffer. */
export interface Case {
  /** Shapes, for reports. */
  what: string;
  constexprs: ConstexprValues;
  grid: readonly [number, number, number];
  args: CaseArgs;
  /**
   * What is compared, by name; default: every array as it is after the run, so that a write to where none belongs shows. Integers have to be
   * equal, floats within the tolerance.
   */
  results?: (args: CaseArgs) => Readonly<Record<string, Data>>;
}

/** All that is compared of a kernel. */
export interface KernelCases {
  kernel: AnyKernel;
  /** Largest difference of floats, relative to the largest magnitude in the result (at least 1). */
  tolerance: number;
  /** Why the tolerance is not 0. */
  why?: string;
  /** Set for a kernel that is written for one kind of device and that the other has no form of. */
  only?: "cpu" | "gpu";
  /** Cases for CPUs, with values that their kernels are compiled for, or for GPUs. `isa`: instruction set of a CPU. */
  cases(next: Random, target: "cpu" | "gpu", isa?: string): Iterable<Case>;
}

/** Numbers in [0, 1). */
export type Random = () => number;

/** Numbers from a seed (mulberry32). */
export function randomFrom(seed: number): Random {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export const below = (next: Random, n: number): number => Math.floor(next() * n);
export const floats = (next: Random, n: number, scale = 1): Float32Array =>
  Float32Array.from({ length: n }, () => (next() * 2 - 1) * scale);
export const ints = (next: Random, n: number, end: number): Int32Array => Int32Array.from({ length: n }, () => below(next, end));

/** Why sums of floats differ: targets add in different orders. */
export const SUMS = "sums in another order";
/** Why values of functions differ. */
export const FUNCTIONS = "exp, tanh and their like differ in the last bits";
