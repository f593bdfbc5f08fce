/** `kernel()` and `fn()`: what users call, and the object that a kernel is afterwards. */
import type { ParamKind } from "../../runtime/device.ts";
import { AlloyError, suggest } from "../../support/errors.ts";
import type { KernelIR } from "../ir/types.ts";
import { launch } from "../launch.ts";
import { optimize } from "../passes/index.ts";
import type { Al } from "./al.ts";
import { lowerFunction } from "./compile.ts";
import type { BodyParams, Constexpr, LaunchArgs, LaunchResult, Signature } from "./signature.ts";
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
  const source = parseFunction("fn", body, callSite(fn));
  const called = (): never => {
    throw new AlloyError("kernel_error", "a kernel helper was called outside of a kernel", {
      hint: "Hand it to a kernel with { uses: { helper } } and call it there.",
    });
  };
  return Object.assign(called, { kind: "helper" as const, source, uses: options.uses ?? {} });
}

type BodyUses<U extends Uses> = { readonly [K in keyof U]: U[K] };

/**
 * Declares a kernel. `body` is compiled from its source text: it sees its two parameters, its own variables, and the names in
 * `uses` (which are properties of the second parameter too). Compilation happens at the first use, per set of constexpr values.
 */
export function kernel<S extends Signature, U extends Uses = Record<never, never>>(
  name: string,
  signature: S,
  body: (al: Al, params: BodyParams<S> & BodyUses<U>) => void,
  options: { uses?: U } = {},
): Kernel<S> {
  if (!/^[A-Za-z_]\w*$/.test(name))
    throw new AlloyError("kernel_error", `a kernel's name must be an identifier, got ${JSON.stringify(name)}`);
  const source = parseFunction(`kernel ${name}`, body, callSite(kernel));
  return new Kernel(name, signature, source, options.uses ?? {});
}

export class Kernel<S extends Signature = Signature> {
  readonly paramKinds: readonly ParamKind[];
  private readonly cache = new Map<string, KernelIR>();

  constructor(
    readonly name: string,
    readonly signature: S,
    private readonly source: Source,
    private readonly uses: Uses,
  ) {
    this.paramKinds = paramKinds(signature);
  }

  /** All constexpr values: the given ones over the defaults, in the order of the signature. Throws `kernel_error` for unknown or missing ones. */
  constexprs(given: Constexprs = {}): Record<string, Constexpr> {
    const declared = Object.entries(this.signature).filter(([, p]) => p.kind === "constexpr");
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
        const value = given[name] ?? (p.kind === "constexpr" ? p.default : undefined);
        if (value === undefined) {
          throw new AlloyError("kernel_error", `kernel ${this.name}: constexpr ${name} has no default and was not given`, {
            hint: `Give it: { ${name}: … }.`,
          });
        }
        return [name, value];
      }),
    );
  }

  /** The optimised IR for these constexpr values. Cached: do not change it. Throws `kernel_error` for mistakes in the body. */
  specialize(given: Constexprs = {}): KernelIR {
    const symbol = this.symbol(given);
    let ir = this.cache.get(symbol);
    if (!ir) {
      ir = optimize(this.lower(given));
      this.cache.set(symbol, ir);
    }
    return ir;
  }

  /** The IR as written, before any pass; made anew each time, so that passes may be tried on it. Throws as `specialize` does. */
  lower(given: Constexprs = {}): KernelIR {
    return lowerFunction(this.name, this.signature, this.source, this.uses, this.constexprs(given));
  }

  /** Same as `specialize`: the name that documentation uses. */
  ir(given: Constexprs = {}): KernelIR {
    return this.specialize(given);
  }

  /** C identifier, unique among kernels of different names and constexpr values, e.g. `matmul__BM64_BN64`. */
  symbol(given: Constexprs = {}): string {
    const parts = Object.entries(this.constexprs(given)).map(([name, value]) => name + symbolText(value));
    return parts.length ? `${this.name}__${parts.join("_")}` : this.name;
  }

  /** Prepares a launch of gx·gy·gz programs; call the result with the arguments. */
  grid(gx: number, gy = 1, gz = 1): (args: LaunchArgs<S>) => Promise<LaunchResult<S>> {
    return (args) => launch(this as unknown as Kernel, [gx, gy, gz], args) as Promise<LaunchResult<S>>;
  }
}

/** A kernel whatever its parameters: what tables of kernels and the code that compiles them handle. */
export type AnyKernel = Omit<Kernel, "grid">;

/** A constexpr value as part of an identifier; different values give different texts. */
function symbolText(value: Constexpr): string {
  if (typeof value === "boolean") return value ? "T" : "F";
  if (typeof value === "number") return String(value).replace("e+", "e").replaceAll("-", "m").replace(".", "p");
  return value.replace(/[^A-Za-z0-9]/g, (ch) => (ch === "_" ? "__" : `_x${ch.codePointAt(0)!.toString(16)}`));
}
