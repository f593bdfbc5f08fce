/** Runs small thread-level kernels on the interpreter, as written and after the passes; the results must be the same. */
import type { HostMemory } from "../../../src/compiler/ir/interpret.ts";
import { interpret } from "../../../src/compiler/ir/interpret.ts";
import { verify } from "../../../src/compiler/ir/verify.ts";
import { f32, i32, kernel, out, ptr } from "../../../src/compiler/language/index.ts";
import type { Uses } from "../../../src/compiler/language/index.ts";
import { lockstepForm } from "../../../src/compiler/passes/index.ts";
import type { Threads } from "../../../src/compiler/language/kernel.ts";

import type { Case } from "../emit-c/harness.ts";

// oxlint-disable-next-line typescript/no-explicit-any -- bodies of many kinds
export type Body = (al: any, p: any) => void;

export interface Setup {
  threads?: Threads;
  /** Threadgroups. */
  grid?: readonly number[];
  size?: number;
  uses?: Uses;
}

const SIGNATURE = { x: ptr(f32), n: ptr(i32), y: out(f32), z: out(i32) };

/** What was run, to be compared on the CPU: there is a name for each. */
export const ran: Case[] = [];

/** What a body leaves in y (f32) and z (i32); x is i / 2 - 4, n is i - 8, for 1024 elements. */
export function run(body: Body, { threads = 64, grid = [1], size = 64, uses = {} }: Setup = {}): { y: number[]; z: number[] } {
  const k = kernel("test", SIGNATURE, body as never, { threads, uses });
  const results = [k.lower(), k.specialize()].map((ir) => {
    verify(ir);
    const [y, z] = [new Float32Array(size), new Int32Array(size)];
    const x: HostMemory = Float32Array.from({ length: 1024 }, (_, i) => i / 2 - 4);
    interpret(ir, grid, { x, n: Int32Array.from({ length: 1024 }, (_, i) => i - 8), y, z });
    return { y: [...y], z: [...z] };
  });
  if (JSON.stringify(results[0]) !== JSON.stringify(results[1])) throw new Error(`differs after the passes: ${JSON.stringify(results)}`);
  const input = { x: Float32Array.from({ length: 1024 }, (_, i) => i / 2 - 4), n: Int32Array.from({ length: 1024 }, (_, i) => i - 8) };
  const ir = Object.assign(k.specialize(), { name: `test${ran.length}` });
  lockstepForm(ir, (form, stage) => verify(form, stage));
  const args = { ...input, y: new Float32Array(size), z: new Int32Array(size) } as unknown as Case["args"];
  ran.push({ ir, grid: [grid[0], grid[1] ?? 1, grid[2] ?? 1], args, ulp: 2 });
  return results[1];
}
