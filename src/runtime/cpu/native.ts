/** The native half of the CPU driver (runtime.c) as TypeScript functions, from the embedded library, a fresh one in dist/, or compiled now. */
import { CFunction } from "bun:ffi";
import type { Pointer } from "bun:ffi";
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { AlloyError } from "../../support/errors.ts";
import type { NativeUnit } from "./cc.ts";
import { compileAll, openUnit, systemCompiler, tinyUnit } from "./cc.ts";
import { developmentLibrary } from "./development.ts";
import { isaByName } from "./isa.ts";
import { embeddedLibrary } from "./library.ts";

/** FFI functions of runtime.c. Pointers are numbers, 0 for null. */
export interface NativeRuntime {
  /** `cpus`: how many of them can run at the same moment. */
  poolCreate(threads: number, cpus: number): number;
  poolThreads(pool: number): number;
  poolDestroy(pool: number): void;
  run(pool: number, words: NodeJS.TypedArray, count: number, slots: NodeJS.TypedArray, ns: NodeJS.TypedArray | null): number;
  submit(pool: number, words: NodeJS.TypedArray, count: number, slots: NodeJS.TypedArray): number;
  /** Blocks for so long at most: -1 while the submitted plan runs. */
  wait(pool: number, microseconds: number): number;
  alloc(bytes: number): number;
  free(address: number): void;
  features(): number;
  cpus(): number;
  /** Programs that were compiled ahead of time; undefined when there is no library. */
  library?: NativeUnit;
  /** True when made by TinyCC: one thread only. */
  tiny: boolean;
}

/** Must equal ALLOY_RUNTIME_VERSION in runtime.c. */
const VERSION = 2;

const SYMBOLS = [
  "alloy_pool_create",
  "alloy_pool_threads",
  "alloy_pool_destroy",
  "alloy_plan_run",
  "alloy_plan_submit",
  "alloy_plan_wait",
  "alloy_alloc",
  "alloy_free",
  "alloy_cpu_features",
  "alloy_available_cpus",
  "alloy_runtime_version",
] as const;

export const RUNTIME_SYMBOLS: readonly string[] = SYMBOLS;

/** Path of runtime.c in a checkout. */
export const runtimeSource = (): string => fileURLToPath(new URL("./runtime.c", import.meta.url));

let loaded: NativeRuntime | undefined;

/** Loads the native runtime once per process. Throws `device_error` when the library is of another version. */
export function nativeRuntime(): NativeRuntime {
  return (loaded ??= load());
}

function load(): NativeRuntime {
  const path = embeddedLibrary ?? developmentLibrary();
  if (path) {
    const library = openUnit(path);
    return bind(library, false, library);
  }
  const file = runtimeSource();
  if (!existsSync(file))
    throw new AlloyError("device_error", "This executable holds no kernels library for its platform", { hint: "Install it again." });
  const text = readFileSync(file, "utf8");
  if (!systemCompiler()) return bind(tinyUnit(text, SYMBOLS), true);
  const unit = compileAll([{ symbol: "alloy_runtime_version", text, exports: SYMBOLS }], isaByName("baseline"), undefined, [
    "-pthread",
    "-O2",
  ]).get("alloy_runtime_version")!;
  return bind(unit, false);
}

function bind(unit: NativeUnit, tiny: boolean, library?: NativeUnit): NativeRuntime {
  const at = (symbol: (typeof SYMBOLS)[number]): Pointer => {
    const address = unit.lookup(symbol);
    if (!address)
      throw new AlloyError("device_error", `The kernels library has no ${symbol}`, { hint: "Build it again with `bun build.ts`." });
    return address as Pointer;
  };
  const f = (symbol: (typeof SYMBOLS)[number], args: ("ptr" | "i32" | "u32" | "u64")[], returns: "ptr" | "i32" | "void") =>
    CFunction({ ptr: at(symbol), args, returns }) as unknown as (...args: unknown[]) => number;
  const version = f("alloy_runtime_version", [], "i32")();
  if (version !== VERSION)
    throw new AlloyError("device_error", `The kernels library is of version ${version}, this program needs ${VERSION}`, {
      hint: "Build it again with `bun build.ts`.",
    });
  const create = f("alloy_pool_create", ["i32", "i32"], "ptr");
  const alloc = f("alloy_alloc", ["u64"], "ptr");
  return {
    poolCreate: (threads, cpus) => Number(create(threads, cpus) ?? 0),
    poolThreads: f("alloy_pool_threads", ["ptr"], "i32"),
    poolDestroy: f("alloy_pool_destroy", ["ptr"], "void"),
    run: f("alloy_plan_run", ["ptr", "ptr", "u32", "ptr", "ptr"], "i32") as NativeRuntime["run"],
    submit: f("alloy_plan_submit", ["ptr", "ptr", "u32", "ptr"], "i32") as NativeRuntime["submit"],
    wait: f("alloy_plan_wait", ["ptr", "u32"], "i32"),
    alloc: (bytes) => Number(alloc(bytes) ?? 0),
    free: f("alloy_free", ["ptr"], "void"),
    features: f("alloy_cpu_features", [], "i32"),
    cpus: f("alloy_available_cpus", [], "i32"),
    library,
    tiny,
  };
}
