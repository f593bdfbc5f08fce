/** What a kernel's parameters are declared as, and how the declarations look to TypeScript inside the body and at a launch. */
import type { ParamKind } from "../../runtime/device.ts";
import { AlloyError } from "../../support/errors.ts";
import type { HostMemory } from "../ir/memory.ts";
import type { DType } from "../ir/types.ts";

/** A tile or scalar value while a kernel is written. A number to TypeScript, so that operators type-check. */
export type Tile = number & { readonly __value?: "tile" };
/** A pointer to elements of a dtype: `p + offset` is one too. */
export type Pointer = number & { readonly __value?: "pointer" };

export interface DTypeObject<D extends DType = DType> {
  readonly kind: "dtype";
  readonly dtype: D;
}

const make = <D extends DType>(dtype: D): DTypeObject<D> => ({ kind: "dtype", dtype });
export const bool = make("bool");
export const i8 = make("i8");
export const u8 = make("u8");
export const i16 = make("i16");
export const u16 = make("u16");
export const i32 = make("i32");
export const u32 = make("u32");
export const i64 = make("i64");
export const u64 = make("u64");
export const f16 = make("f16");
export const bf16 = make("bf16");
export const f32 = make("f32");
export const f64 = make("f64");
export const DTYPES = { bool, i8, u8, i16, u16, i32, u32, i64, u64, f16, bf16, f32, f64 } as const;

export type Constexpr = number | string | boolean;

/** Arguments of a launch as a size function sees them. */
export type SizeArgs = Readonly<Record<string, unknown>>;

export interface PtrSpec<D extends DType = DType, Output extends boolean = boolean> {
  readonly kind: "ptr";
  readonly dtype: D;
  readonly output: Output;
  /** Elements to allocate when the caller leaves an output out; default: the product of the grid, times the threads of a threadgroup. */
  readonly size?: (args: SizeArgs) => number;
}
export interface DimSpec {
  readonly kind: "dim";
  readonly dtype: "i32" | "i64";
}
export interface ScalarSpec<D extends DType = DType> {
  readonly kind: "scalar";
  readonly dtype: D;
}
export interface ConstexprSpec<T extends Constexpr = Constexpr> {
  readonly kind: "constexpr";
  readonly default?: T;
}
export interface FunctionConstantSpec<D extends DType = DType> {
  readonly kind: "constant";
  readonly dtype: D;
  readonly default: number | boolean;
}
export type ParamSpec = PtrSpec | DimSpec | ScalarSpec | ConstexprSpec | FunctionConstantSpec;
export type Signature = Readonly<Record<string, ParamSpec>>;

/** Pointer to elements of `dtype`; read, and written if the body stores to it. */
export const ptr = <D extends DType>(dtype: DTypeObject<D>): PtrSpec<D, false> => ({ kind: "ptr", dtype: dtype.dtype, output: false });

/** Output pointer: allocated and returned when the caller leaves it out. `size` gives its elements (default: one per program, or thread). */
export const out = <D extends DType>(dtype: DTypeObject<D>, size?: (args: SizeArgs) => number): PtrSpec<D, true> => ({
  kind: "ptr",
  dtype: dtype.dtype,
  output: true,
  size,
});

/** Run-time size, i32. */
export const dim: DimSpec = { kind: "dim", dtype: "i32" };
/** Run-time size, i64: for products beyond 2^31. */
export const dim64: DimSpec = { kind: "dim", dtype: "i64" };

export type ScalarType = "i32" | "u32" | "i64" | "u64" | "f32" | "f64";
const SCALAR_TYPES: readonly string[] = ["i32", "u32", "i64", "u64", "f32", "f64"];

/** Run-time number. */
export function scalar<D extends ScalarType>(dtype: DTypeObject<D>): ScalarSpec<D> {
  if (!SCALAR_TYPES.includes(dtype.dtype)) {
    throw new AlloyError("kernel_error", `scalar(${dtype.dtype}) cannot be passed as an argument`, {
      hint: `Use one of ${SCALAR_TYPES.join(", ")} and cast in the body.`,
    });
  }
  return { kind: "scalar", dtype: dtype.dtype };
}

/** Compile-time number, string or boolean; without a default the caller must give it. */
export function constexpr(): ConstexprSpec<number>;
export function constexpr(value: number): ConstexprSpec<number>;
export function constexpr(value: string): ConstexprSpec<string>;
export function constexpr(value: boolean): ConstexprSpec<boolean>;
export function constexpr(value?: Constexpr): ConstexprSpec {
  return value === undefined ? { kind: "constexpr" } : { kind: "constexpr", default: value };
}

export type FunctionConstantType = "bool" | "i32" | "u32" | "f32";
const CONSTANT_TYPES: readonly string[] = ["bool", "i32", "u32", "f32"];

/**
 * A number or boolean that is fixed when a program is made, like a constexpr, but cannot be used in shapes: on Metal one compiled library
 * serves all its values ([[function_constant]]), elsewhere it is folded. Given and left out as constexprs are.
 */
export function functionConstant(dtype: DTypeObject<"bool">, value: boolean): FunctionConstantSpec<"bool">;
export function functionConstant<D extends "i32" | "u32" | "f32">(dtype: DTypeObject<D>, value: number): FunctionConstantSpec<D>;
export function functionConstant(dtype: DTypeObject, value: number | boolean): FunctionConstantSpec {
  if (!CONSTANT_TYPES.includes(dtype.dtype)) {
    throw new AlloyError("kernel_error", `functionConstant(${dtype.dtype}) is not possible`, {
      hint: `Use one of ${CONSTANT_TYPES.join(", ")} and cast in the body.`,
    });
  }
  return { kind: "constant", dtype: dtype.dtype, default: value };
}

/** How a declared parameter looks inside the body. */
export type BodyValue<S extends ParamSpec> = S extends PtrSpec ? Pointer : S extends ConstexprSpec<infer T> ? T : Tile;
export type BodyParams<S extends Signature> = { readonly [K in keyof S]: BodyValue<S[K]> };

/** Typed array that holds elements of a dtype. */
export interface HostArrays {
  bool: Uint8Array;
  i8: Int8Array;
  u8: Uint8Array;
  i16: Int16Array;
  u16: Uint16Array;
  i32: Int32Array;
  u32: Uint32Array;
  i64: BigInt64Array;
  u64: BigUint64Array;
  f16: Float16Array;
  bf16: Uint16Array;
  f32: Float32Array;
  f64: Float64Array;
}

type OptionalKeys<S extends Signature> = {
  [K in keyof S]: S[K] extends PtrSpec<DType, true> | ConstexprSpec | FunctionConstantSpec ? K : never;
}[keyof S];
type ArgumentValue<S extends ParamSpec, Lazy> = S extends PtrSpec
  ? HostMemory | Lazy
  : S extends ConstexprSpec<infer T>
    ? T
    : S extends FunctionConstantSpec<infer D>
      ? D extends "bool"
        ? boolean
        : number
      : number | bigint;
/** Arguments of a launch: outputs, function constants and constexprs with defaults may be left out. */
export type LaunchArgs<S extends Signature, Lazy = never> = {
  readonly [K in Exclude<keyof S, OptionalKeys<S>>]: ArgumentValue<S[K], Lazy>;
} & {
  readonly [K in OptionalKeys<S>]?: ArgumentValue<S[K], Lazy>;
};

type OutputKeys<S extends Signature> = { [K in keyof S]: S[K] extends PtrSpec<DType, true> ? K : never }[keyof S];
type IsUnion<T, U = T> = T extends unknown ? ([U] extends [T] ? false : true) : never;
type OutputArray<S extends ParamSpec> = S extends PtrSpec<infer D> ? HostArrays[D] : never;
/** What a launch gives: the array of the only output, or an object of those that were left out. */
export type LaunchResult<S extends Signature> = [OutputKeys<S>] extends [never]
  ? undefined
  : IsUnion<OutputKeys<S>> extends true
    ? { [K in OutputKeys<S>]: OutputArray<S[K]> }
    : OutputArray<S[OutputKeys<S>]>;

/** What a launch on lazy buffers gives: as LaunchResult, of lazy buffers. */
export type LazyResult<S extends Signature, Lazy> = [OutputKeys<S>] extends [never]
  ? undefined
  : IsUnion<OutputKeys<S>> extends true
    ? { [K in OutputKeys<S>]: Lazy }
    : Lazy;

/** How the run-time parameters (all but constexprs and function constants, in order) are passed. */
export function paramKinds(signature: Signature): ParamKind[] {
  return Object.values(signature).flatMap((p): ParamKind[] => {
    if (p.kind === "constexpr" || p.kind === "constant") return [];
    return [p.kind === "ptr" ? "ptr" : (p.dtype as ScalarType)];
  });
}
