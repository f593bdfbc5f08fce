/** Passes keep the IR well formed and what it computes, to the last bit. */
import { describe, expect, test } from "bun:test";
import { INSTANCES } from "../../../kernels/instances.ts";
import { interpret } from "../../../src/compiler/ir/interpret.ts";
import type { HostMemory, InterpreterArgs } from "../../../src/compiler/ir/interpret.ts";
import { allocate } from "../../../src/compiler/ir/memory.ts";
import { print } from "../../../src/compiler/ir/print.ts";
import type { KernelIR } from "../../../src/compiler/ir/types.ts";
import { verify } from "../../../src/compiler/ir/verify.ts";
import { walk } from "../../../src/compiler/ir/walk.ts";
import { optimize } from "../../../src/compiler/passes/index.ts";
import { AlloyError } from "../../../src/support/errors.ts";
import { kernelOf, Random, randomArguments, randomSource, seed } from "../random-kernels.ts";

console.log(`passes: seed ${seed} (ALLOY_TEST_SEED)`);

/** Runs a copy of the arguments and returns what memory holds afterwards, or the error. */
function outcome(ir: KernelIR, grid: readonly number[], args: InterpreterArgs): string {
  const own = Object.fromEntries(Object.entries(args).map(([k, v]) => [k, typeof v === "object" ? (v as Uint8Array).slice() : v]));
  try {
    interpret(ir, grid, own as InterpreterArgs);
  } catch (e) {
    if (e instanceof AlloyError) return `${e.code}: ${e.message.split(" (program")[0]}`;
    throw e;
  }
  return Object.values(own)
    .map((v) => (typeof v === "object" ? Bun.hash(bytesOf(v)).toString(16) : ""))
    .join(" ");
}

/** NaNs count as one value. */
function bytesOf(v: InterpreterArgs[string]): Uint8Array {
  const a = v as Float32Array;
  if (v instanceof Float32Array || v instanceof Float16Array || v instanceof Float64Array)
    for (let i = 0; i < a.length; i++) if (Number.isNaN(a[i])) a[i] = NaN;
  return new Uint8Array(a.buffer, a.byteOffset, a.byteLength);
}

describe("random programs", () => {
  test("verify and compute the same after every pass", () => {
    const r = new Random(seed);
    let compiled = 0;
    for (let i = 0; i < 250; i++) {
      const source = randomSource(r);
      const k = kernelOf(source);
      let ir: KernelIR;
      try {
        ir = k.lower();
      } catch (e) {
        if (e instanceof AlloyError && e.code === "kernel_error") continue;
        throw e;
      }
      compiled++;
      const args = randomArguments(r);
      let wanted: string | undefined;
      optimize(ir, (now, stage) => {
        verify(now, stage);
        const got = outcome(now, [3], args);
        wanted ??= got;
        if (got !== wanted) throw new Error(`seed ${seed}, program ${i} differs after ${stage}:\n${source}\n${print(now)}`);
      });
    }
    expect(compiled).toBeGreaterThan(120);
  }, 120_000);
});

/** Room for every pointer, filled with small numbers so that loaded indices stay in range. */
function smallArguments(ir: KernelIR, r: Random): InterpreterArgs {
  const args: Record<string, InterpreterArgs[string]> = {};
  for (const p of ir.params) {
    if (p.kind === "ptr") {
      const memory =
        p.dtype === "bf16" ? new Uint16Array(1 << 15) : (allocate(p.dtype, 1 << 15) as HostMemory & Record<number, number | bigint>);
      for (let i = 0; i < 1 << 15; i++) {
        const n = r.int(0, 3);
        (memory as Record<number, number | bigint>)[i] =
          p.dtype.endsWith("64") && p.dtype[0] !== "f" ? BigInt(n) : p.dtype === "f16" || p.dtype === "f32" ? n / 4 : n;
      }
      args[p.name] = memory as HostMemory;
    } else if (p.name === "blocks")
      args[p.name] = 8; // of 32 columns: k types have 256
    else
      args[p.name] =
        p.dtype[0] === "f" ? 0.5 : p.dtype === "i64" || p.dtype === "u64" ? 2n : p.name === p.name.toUpperCase() ? r.pick([2, 3]) : 1;
  }
  return args;
}

test("stock kernels compute the same after every pass", () => {
  const r = new Random(seed);
  let ran = 0;
  // Several instruction sets may have the same kernel.
  const different = new Map(INSTANCES.map((i) => [i.kernel.symbol(i.constexprs), i]));
  for (const { kernel, constexprs } of different.values()) {
    const ir = kernel.lower(constexprs);
    const args = smallArguments(ir, r);
    let wanted: string | undefined;
    optimize(ir, (now, stage) => {
      verify(now, stage);
      const got = outcome(now, [2, 1, 1], args);
      wanted ??= got;
      if (got !== wanted) throw new Error(`seed ${seed}, ${kernel.symbol(constexprs)} differs after ${stage}: ${got}, before ${wanted}`);
    });
    if (!wanted!.startsWith("kernel_error")) ran++;
  }
  expect(ran).toBeGreaterThan(different.size * 0.8);
}, 120_000);

test("passes shrink the stock kernels", () => {
  let [before, after] = [0, 0];
  const count = (ir: KernelIR): number => {
    let n = 0;
    walk(ir.body, () => n++);
    return n;
  };
  for (const { kernel, constexprs } of INSTANCES) {
    before += count(kernel.lower(constexprs));
    after += count(kernel.specialize(constexprs));
  }
  expect(after / before).toBeLessThan(0.6);
}, 120_000);
