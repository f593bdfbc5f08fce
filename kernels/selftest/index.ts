/**
 * Every stock kernel on a device, compared with the interpreter that defines what its operations mean: what `alloy doctor --selftest` and
 * test/kernels/compare.test.ts run. A kernel without a case here fails that test.
 */
import { interpret } from "../../src/compiler/ir/interpret.ts";
import { compileProgram } from "../../src/compiler/program.ts";
import type { Device, DeviceBuffer, Dispatch } from "../../src/runtime/device.ts";
import { attentionCases } from "./attention.ts";
import { builtinCases } from "./builtins.ts";
import { type Case, type CaseArgs, type Data, type KernelCases, randomFrom } from "./case.ts";
import { sampleCases } from "./sample.ts";
import { simpleCases } from "./simple.ts";
import { weightCases } from "./weights.ts";

export type { Case, KernelCases } from "./case.ts";

export const KERNEL_CASES: readonly KernelCases[] = [...simpleCases, ...weightCases, ...attentionCases, ...sampleCases, ...builtinCases];

export interface KernelReport {
  kernel: string;
  cases: number;
  /** Largest error found, and the largest allowed (both relative to the largest magnitude of a result, at least 1). */
  worst: number;
  tolerance: number;
  why?: string;
  /** What went wrong, at most one line per case. */
  failures: readonly string[];
  ms: number;
}

export interface SelftestOptions {
  seed?: number;
  /** Part of the kernels' names, or what matches them. */
  only?: string | RegExp;
}

/** Compares kernel after kernel; the caller prints as they come. Errors of a device are failures of the kernel. */
export async function* selftest(device: Device, options: SelftestOptions = {}): AsyncGenerator<KernelReport> {
  const { kind, isa } = device.properties;
  const target = kind === "cpu" ? "cpu" : "gpu";
  const { only } = options;
  const wanted = (name: string): boolean => only === undefined || (typeof only === "string" ? name.includes(only) : only.test(name));
  const chosen = KERNEL_CASES.filter((k) => (k.only === undefined || k.only === target) && wanted(k.kernel.name));
  const seed = options.seed ?? 1;
  if (target === "cpu") compileTogether(device, chosen, seed);
  for (const k of chosen) {
    const started = performance.now();
    const failures: string[] = [];
    let [count, worst] = [0, 0];
    for (const c of k.cases(randomFrom(seed), target, isa)) {
      count++;
      try {
        const error = await compare(device, k, c);
        worst = Math.max(worst, error.error);
        if (!(error.error <= k.tolerance)) failures.push(`${c.what}: ${error.where} differs by ${error.error.toExponential(1)}`);
      } catch (e) {
        failures.push(`${c.what}: ${e instanceof Error ? e.message : String(e)}`);
      }
    }
    const { tolerance, why } = k;
    yield { kernel: k.kernel.name, cases: count, worst, tolerance, why, failures, ms: performance.now() - started };
  }
}

/** A C compiler per core is quicker than one for kernel after kernel. What does not compile shows when its turn comes. */
function compileTogether(device: Device, kernels: readonly KernelCases[], seed: number): void {
  const any = device.allocate(LEAST_BYTES);
  try {
    const dispatches = kernels.flatMap((k) =>
      Array.from(k.cases(randomFrom(seed), "cpu", device.properties.isa), ({ constexprs, args }): Dispatch => {
        const names = Object.entries(k.kernel.signature).filter(([, p]) => p.kind !== "constexpr");
        const program = compileProgram(device, k.kernel, constexprs);
        return { program, grid: [0, 0, 0], args: names.map(([name]) => (typeof args[name] === "number" ? args[name] : any)) };
      }),
    );
    device.plan(dispatches, 0).free();
  } catch {
    return;
  } finally {
    any.free();
  }
}

async function compare(device: Device, k: KernelCases, c: Case): Promise<{ error: number; where: string }> {
  const got = await runOn(device, k, c);
  const want = copied(c.args);
  interpret(k.kernel.ir(c.constexprs), c.grid, want);
  return difference(resultsOf(c, got), resultsOf(c, want));
}

const resultsOf = (c: Case, args: CaseArgs): Readonly<Record<string, Data>> =>
  c.results ? c.results(args) : (Object.fromEntries(Object.entries(args).filter(([, v]) => typeof v !== "number")) as Record<string, Data>);

/** The same arguments over a copy of every buffer; views that shared one share its copy. */
function copied(args: CaseArgs, contents?: (buffer: ArrayBufferLike) => ArrayBufferLike): CaseArgs {
  const copies = new Map<ArrayBufferLike, ArrayBufferLike>();
  const view = (v: Data): Data => {
    const buffer = copies.get(v.buffer) ?? (contents ? contents(v.buffer) : v.buffer.slice(0));
    copies.set(v.buffer, buffer);
    return new (v.constructor as new (b: ArrayBufferLike, at: number, n: number) => Data)(buffer, v.byteOffset, v.length);
  };
  return Object.fromEntries(Object.entries(args).map(([name, v]) => [name, typeof v === "number" ? v : view(v)]));
}

/** Smallest buffer that is made: no kernel may touch that of an empty array. */
const LEAST_BYTES = 16;

async function runOn(device: Device, k: KernelCases, c: Case): Promise<CaseArgs> {
  const buffers = new Map<ArrayBufferLike, DeviceBuffer>();
  const bufferOf = (v: Data): DeviceBuffer => {
    let b = buffers.get(v.buffer);
    if (!b) {
      buffers.set(v.buffer, (b = device.allocate(Math.max(LEAST_BYTES, v.buffer.byteLength))));
      b.view(0, v.buffer.byteLength).set(new Uint8Array(v.buffer));
    }
    return b.slice(0, Math.max(LEAST_BYTES, v.buffer.byteLength));
  };
  const names = Object.entries(k.kernel.signature).filter(([, p]) => p.kind !== "constexpr");
  const args = names.map(([name]) => {
    const v = c.args[name];
    if (v === undefined) throw new Error(`the case has no argument ${name}`);
    return typeof v === "number" ? v : bufferOf(v);
  });
  try {
    const dispatch: Dispatch = { program: compileProgram(device, k.kernel, c.constexprs), grid: c.grid, args };
    const plan = device.plan([dispatch], 0);
    try {
      await plan.submit();
    } finally {
      plan.free();
    }
    return copied(c.args, (b) => buffers.get(b)?.view(0, b.byteLength).slice().buffer ?? b.slice(0));
  } finally {
    for (const b of buffers.values()) b.free();
  }
}

/** Largest difference over all results; integers that differ, and numbers beside NaN, are infinitely far apart. */
function difference(got: Readonly<Record<string, Data>>, want: Readonly<Record<string, Data>>): { error: number; where: string } {
  let [error, where] = [0, ""];
  for (const [name, w] of Object.entries(want)) {
    const g = got[name];
    const exact = !(w instanceof Float32Array || w instanceof Float16Array);
    let scale = 1;
    if (!exact) for (const v of w) if (Number.isFinite(v) && Math.abs(v) < 1e30) scale = Math.max(scale, Math.abs(v));
    for (let i = 0; i < w.length; i++) {
      if (Object.is(g[i], w[i]) || g[i] === w[i]) continue;
      const d = exact || !Number.isFinite(g[i]) || !Number.isFinite(w[i]) ? Infinity : Math.abs(g[i] - w[i]) / scale;
      if (d > error) [error, where] = [d, `${name}[${i}] (${g[i]}, not ${w[i]})`];
    }
  }
  return { error, where };
}
