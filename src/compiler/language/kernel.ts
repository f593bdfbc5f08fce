/** `kernel()` and `fn()`: what users call, and the object that a kernel is afterwards. */
import type { ParamKind } from "../../runtime/device.ts";
import { AlloyError, suggest } from "../../support/errors.ts";
import type { DType, KernelIR, PrintSite } from "../ir/types.ts";
import { elements, SIMD_WIDTH } from "../ir/types.ts";
import type { LazyBuffer } from "../../lazy/buffer.ts";
import { launch } from "../launch.ts";
import { optimize } from "../passes/index.ts";
import type { Al } from "./al.ts";
import { lowerFunction } from "./compile.ts";
import { checkConvergence } from "./convergence.ts";
import type { BodyParams, Constexpr, LaunchArgs, LaunchResult, LazyResult, Signature } from "./signature.ts";
import { paramKinds } from "./signature.ts";
import type { Source } from "./source.ts";
import { callSite, parseFunction } from "./source.ts";

/** Values for a kernel's constexpr parameters. */
export type Constexprs = Readonly<Record<string, Constexpr>>;

/** What a kernel or helper may name from outside: helpers and host constants. */
export type UsedValue = Helper | Constexpr | readonly UsedValue[] | { readonly [key: string]: UsedValue };
export type Uses = Readonly<Record<string, UsedValue>>;

/** A helper function: inlined where kernels call it. To TypeScript it is the function it was made from. */
// oxlint-disable-next-line typescript/no-explicit-any -- a helper takes tiles, pointers and compile-time values alike, as its body decides
export interface Helper<A extends any[] = any[], R = any> {
  (...args: A): R;
  readonly kind: "helper";
  readonly source: Source;
  readonly uses: Uses;
}

/**
 * Makes a helper of `(al, …parameters) => value`. It may return one value, or an array or object of values. Names it takes
 * from outside are handed over in `uses`. Calling it anywhere but in a kernel throws.
 */
// oxlint-disable-next-line typescript/no-explicit-any -- see Helper
export function fn<A extends any[], R>(body: (al: Al, ...args: A) => R, options: { uses?: Uses } = {}): Helper<A, R> {
  return makeHelper(parseFunction("fn", body, callSite(fn)), options.uses ?? {});
}

/** A helper whose function was composed as text, `(al, …parameters) => value`: how kernels are fused at run time. */
export function helperFromText(text: string, uses: Uses = {}): Helper {
  return makeHelper(
    parseFunction(
      "fn",
      Object.assign(() => {}, { kernelSource: text }),
    ),
    uses,
  );
}

// oxlint-disable-next-line typescript/no-explicit-any -- see Helper
function makeHelper<A extends any[], R>(source: Source, uses: Uses): Helper<A, R> {
  const called = (): never => {
    throw new AlloyError("kernel_error", "a kernel helper was called outside of a kernel", {
      hint: "Hand it to a kernel with { uses: { helper } } and call it there.",
    });
  };
  return Object.assign(called, { kind: "helper" as const, source, uses });
}

type BodyUses<U extends Uses> = { readonly [K in keyof U]: U[K] };

/** Threads of a threadgroup: one to three sizes. */
export type Threads = number | readonly [number] | readonly [number, number] | readonly [number, number, number];

/** Compile-time values that `threads` and `simdgroups` may depend on. */
// oxlint-disable-next-line typescript/no-explicit-any -- constexprs are numbers, strings or booleans, as the signature says
type FromConstexprs<T> = T | ((constexprs: any) => T);

export interface KernelOptions<U extends Uses = Uses> {
  /** Helpers and host constants that the body names. */
  uses?: U;
  /** Makes it a thread-level kernel: every thread of a threadgroup of this size runs the body. May depend on the constexprs. */
  threads?: FromConstexprs<Threads>;
  /** Tile-level kernels: simdgroups of 32 threads that a GPU gives to one program. A hint; may depend on the constexprs. */
  simdgroups?: FromConstexprs<number>;
  /**
   * Promises that memory which is written is accessed through one pointer only (as C's restrict; more may be bound to it). GPUs then need no barriers between a
   * read through one pointer and a write through another.
   */
  distinct?: boolean;
}

/**
 * Declares a kernel. `body` is compiled from its source text: it sees its two parameters, its own variables, and the names in
 * `uses` (which are properties of the second parameter too). Compilation happens at the first use, per set of constexpr values.
 * With `threads` the body is what one thread does, else what one program does with whole tiles.
 */
export function kernel<S extends Signature, U extends Uses = Record<never, never>>(
  name: string,
  signature: S,
  body: (al: Al, params: BodyParams<S> & BodyUses<U>) => void,
  options: KernelOptions<U> = {},
): Kernel<S> {
  if (!/^[A-Za-z_]\w*$/.test(name))
    throw new AlloyError("kernel_error", `a kernel's name must be an identifier, got ${JSON.stringify(name)}`);
  const source = parseFunction(`kernel ${name}`, body, callSite(kernel));
  return new Kernel(name, signature, source, options);
}

/** How a kernel is specialised. */
export interface SpecializeOptions {
  /** Function constants stay parameters with a value of their own (targets that fix them after compilation) instead of being folded. */
  keepConstants?: boolean;
}

/** Threads a threadgroup may have: what every GPU of interest can run. */
export const MAX_THREADS = 1024;

export class Kernel<S extends Signature = Signature> {
  readonly paramKinds: readonly ParamKind[];
  private readonly cache = new Map<string, KernelIR>();
  private readonly uses: Uses;
  private mayPrint: boolean | undefined;

  constructor(
    readonly name: string,
    readonly signature: S,
    private readonly source: Source,
    private readonly options: KernelOptions,
  ) {
    this.uses = options.uses ?? {};
    this.paramKinds = paramKinds(signature);
  }

  /**
   * All constexpr values and function constants: the given ones over the defaults, in the order of the signature. Throws `kernel_error`
   * for unknown or missing ones.
   */
  constexprs(given: Constexprs = {}): Record<string, Constexpr> {
    const declared = Object.entries(this.signature).filter(([, p]) => p.kind === "constexpr" || p.kind === "constant");
    for (const key of Object.keys(given)) {
      if (declared.some(([name]) => name === key)) continue;
      const near = suggest(
        key,
        declared.map(([name]) => name),
      );
      throw new AlloyError("kernel_error", `kernel ${this.name} has no constexpr ${key}`, {
        hint: near
          ? `Did you mean ${near}?`
          : declared.length
            ? `Its constexprs are ${declared.map(([name]) => name).join(", ")}.`
            : "It has none.",
      });
    }
    return Object.fromEntries(
      declared.map(([name, p]) => {
        const value = given[name] ?? (p.kind === "constexpr" || p.kind === "constant" ? p.default : undefined);
        if (value === undefined) {
          throw new AlloyError("kernel_error", `kernel ${this.name}: constexpr ${name} has no default and was not given`, {
            hint: `Give it: { ${name}: … }.`,
          });
        }
        if (p.kind === "constant") checkConstant(this.name, name, p.dtype, value);
        return [name, value];
      }),
    );
  }

  /** The optimised IR for these constexpr values. Cached: do not change it. Throws `kernel_error` for mistakes in the body. */
  specialize(given: Constexprs = {}, options: SpecializeOptions = {}): KernelIR {
    const key = `${this.symbol(given)}${options.keepConstants ? " kept" : ""}`;
    let ir = this.cache.get(key);
    if (!ir) {
      ir = optimize(this.lower(given, options));
      checkConvergence(ir, this.source);
      this.cache.set(key, ir);
    }
    return ir;
  }

  /** The IR as written, before any pass; made anew each time, so that passes may be tried on it. Throws as `specialize` does. */
  lower(given: Constexprs = {}, options: SpecializeOptions = {}): KernelIR {
    const constexprs = this.constexprs(given);
    const level = { threads: this.threads(constexprs), simdgroups: this.simdgroups(constexprs), distinct: this.options.distinct };
    return lowerFunction(this.name, this.signature, this.source, this.uses, constexprs, level, options);
  }

  /**
   * The prints of this specialisation: with any, a launch passes a buffer for them behind the declared arguments (compiler/prints.ts). Kernels
   * whose text names no print are not compiled for this.
   */
  prints(given: Constexprs = {}): readonly PrintSite[] {
    this.mayPrint ??= namesPrint(this.source, this.uses);
    return this.mayPrint ? (this.specialize(given).prints ?? []) : [];
  }

  /** How a launch passes its arguments, in order: the declared ones, then the buffer of prints where there are any. */
  paramKindsOf(given: Constexprs = {}): readonly ParamKind[] {
    return this.prints(given).length ? [...this.paramKinds, "ptr"] : this.paramKinds;
  }

  /** Same as `specialize`: the name that documentation uses. */
  ir(given: Constexprs = {}): KernelIR {
    return this.specialize(given);
  }

  /**
   * C identifier, unique among kernels of different names and constexpr values, e.g. `matmul__BM64_BN64`. With `keepConstants` the
   * function constants are left out: one text serves all their values.
   */
  symbol(given: Constexprs = {}, options: SpecializeOptions = {}): string {
    const named = Object.entries(this.constexprs(given)).filter(
      ([name]) => !options.keepConstants || this.signature[name].kind === "constexpr",
    );
    const parts = named.map(([name, value]) => name + symbolText(value));
    return parts.length ? `${this.name}__${parts.join("_")}` : this.name;
  }

  /** Hash of everything that decides what this specialisation computes: its name with the constexpr values, and the texts of body and helpers. */
  fingerprint(given: Constexprs = {}): string {
    const hash = new Bun.CryptoHasher("sha256").update(this.symbol(given));
    const add = (source: Source, uses: Uses): void => {
      hash.update(`\0${source.text}`);
      for (const [name, value] of Object.entries(uses)) addUsed(name, value);
    };
    const addUsed = (name: string, value: UsedValue): void => {
      hash.update(`\0${name}`);
      if (typeof value === "function") add(value.source, value.uses);
      else if (typeof value === "object" && value !== null) for (const [key, inner] of Object.entries(value)) addUsed(key, inner);
      else hash.update(`\0${String(value)}`);
    };
    add(this.source, this.uses);
    return hash.digest("hex");
  }

  /** Prepares a launch of gx·gy·gz programs (thread-level kernels: threadgroups); call the result with the arguments. */
  grid(gx: number, gy = 1, gz = 1): Launch<S> {
    return ((args: LaunchArgs<S>) => launch(this as unknown as Kernel, [gx, gy, gz], args)) as Launch<S>;
  }

  /** Threads of a threadgroup; 1 at the tile level. */
  threadCount(given: Constexprs = {}): number {
    return elements(this.threads(this.constexprs(given)) ?? []);
  }

  private threads(constexprs: Constexprs): [number, number, number] | undefined {
    const { threads, simdgroups } = this.options;
    if (threads === undefined) return undefined;
    if (simdgroups !== undefined)
      throw this.mistake("threads and simdgroups exclude each other", "With threads, a thread-level kernel has its size already.");
    const given = typeof threads === "function" ? threads(constexprs) : threads;
    const sizes = (typeof given === "number" ? [given] : [...given]) as number[];
    const whole = sizes.length >= 1 && sizes.length <= 3 && sizes.every((n) => Number.isSafeInteger(n) && n >= 1);
    if (!whole)
      throw this.mistake(
        `threads must be one to three positive integers, got ${JSON.stringify(given)}`,
        "Write threads: 256 or threads: [16, 16].",
      );
    const count = sizes.reduce((a, b) => a * b, 1);
    if (count > MAX_THREADS)
      throw this.mistake(
        `a threadgroup has at most ${MAX_THREADS} threads, got ${count}`,
        "Use fewer threads and more threadgroups, or a loop in each thread.",
      );
    return [sizes[0], sizes[1] ?? 1, sizes[2] ?? 1];
  }

  private simdgroups(constexprs: Constexprs): number | undefined {
    const { simdgroups } = this.options;
    const n = typeof simdgroups === "function" ? simdgroups(constexprs) : simdgroups;
    if (n !== undefined && !(Number.isSafeInteger(n) && n >= 1 && n <= MAX_THREADS / SIMD_WIDTH))
      throw this.mistake(
        `simdgroups must be an integer from 1 to ${MAX_THREADS / SIMD_WIDTH}, got ${n}`,
        "It is a hint: leave it out if unsure.",
      );
    return n;
  }

  private mistake(what: string, hint: string): AlloyError {
    return new AlloyError("kernel_error", `kernel ${this.name}: ${what}`, { hint });
  }
}

/** A launch that waits for its arguments: on memory it runs now, on lazy buffers when one of its outputs is read. */
export interface Launch<S extends Signature> {
  (args: LaunchArgs<S>): Promise<LaunchResult<S>>;
  (args: LaunchArgs<S, LazyBuffer>): LazyResult<S, LazyBuffer>;
}

/** A kernel whatever its parameters: what tables of kernels and the code that compiles them handle. */
export type AnyKernel = Omit<Kernel, "grid">;

/** Whether the text of a kernel or of a helper it uses has the word print. */
function namesPrint(source: Source, uses: Uses): boolean {
  const inside = (v: UsedValue): boolean => {
    if (typeof v === "function") return namesPrint(v.source, v.uses);
    return typeof v === "object" && v !== null && Object.values(v).some(inside);
  };
  return /\bprint\b/.test(source.text) || Object.values(uses).some(inside);
}

function checkConstant(kernel: string, name: string, dtype: DType, value: Constexpr): void {
  const integer = dtype === "i32" || dtype === "u32";
  const ok =
    dtype === "bool"
      ? typeof value === "boolean"
      : typeof value === "number" && (!integer || Number.isInteger(value)) && !(dtype === "u32" && value < 0);
  if (ok) return;
  throw new AlloyError("kernel_error", `kernel ${kernel}: function constant ${name} is ${dtype}, got ${JSON.stringify(value)}`, {
    hint: `Give a value of ${dtype}.`,
  });
}

/** A constexpr value as part of an identifier; different values give different texts. */
function symbolText(value: Constexpr): string {
  if (typeof value === "boolean") return value ? "T" : "F";
  if (typeof value === "number") return String(value).replace("e+", "e").replaceAll("-", "m").replace(".", "p");
  return value.replace(/[^A-Za-z0-9]/g, (ch) => (ch === "_" ? "__" : `_x${ch.codePointAt(0)!.toString(16)}`));
}
