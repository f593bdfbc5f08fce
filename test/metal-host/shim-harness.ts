/** A shim on the fake Metal for a test file: opened before and closed after each test, with a look at what was found and what leaked. */
import { afterEach, beforeEach, expect } from "bun:test";
import { toArrayBuffer } from "bun:ffi";
import type { Pointer } from "bun:ffi";
import { METAL_HEADER } from "../../src/runtime/metal/programs.ts";
import { Shim } from "../../src/runtime/metal/shim.ts";
import { AlloyError } from "../../src/support/errors.ts";
import type { Frameworks } from "./frameworks.ts";
import { plan, slots } from "./plans.ts";

/** Kernels in the buffer ABI of the Metal target: pointers, then a block of grid, padding and 8 bytes per scalar. */
export const TEXT = `${METAL_HEADER}
struct Args { uint grid[3]; uint pad; int n; uint pad1; float x; uint pad2; };

kernel void add(const device float *a [[buffer(0)]], const device float *b [[buffer(1)]], device float *c [[buffer(2)]],
                constant Args &args [[buffer(3)]], uint i [[thread_position_in_grid]]) {
  if (i < uint(args.n)) c[i] = a[i] + b[i] * args.x;
}

kernel void sum(const device float *a [[buffer(0)]], device float *out [[buffer(1)]], constant Args &args [[buffer(2)]],
                uint p [[threadgroup_position_in_grid]], uint t [[thread_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]],
                uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup float parts[32];
  float v = 0.0f;
  for (uint i = t; i < uint(args.n); i += 128u) v += a[p * uint(args.n) + i];
  v = simd_sum(v);
  if (lane == 0u) parts[simdgroup] = v;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (t == 0u) out[p] = parts[0] + parts[1] + parts[2] + parts[3];
}

kernel void args(device uint *out [[buffer(0)]], constant uint *words [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  if (i < 12u) out[i] = words[i];
}

constant int FACTOR [[function_constant(0)]];
constant bool NEGATE [[function_constant(1)]];
constant float BIAS [[function_constant(2)]];
constant uint SHIFT [[function_constant(3)]];
kernel void scale(device float *a [[buffer(0)]], constant uint *words [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  float v = a[i] * float(FACTOR) + BIAS + float(1u << SHIFT);
  a[i] = NEGATE ? -v : v;
}
`;

type Constants = Parameters<Shim["pipeline"]>[2];

export interface OpenShim {
  /** The shim of the running test. */
  readonly gpu: Shim;
  /** Makes a pipeline of TEXT. */
  pipeline(name: string, constants?: Constants): number;
  floats(values: ArrayLike<number>): { handle: number; address: number; view: Float32Array };
  /** Frees a buffer of the test's own making after it. */
  keep(buffer: number): void;
  /** Runs dispatches to their end. */
  run(...dispatches: Parameters<typeof plan>): void;
}

/** The shim's code of the error that `f` ends in, 0 if it ends well, and its text. */
export function failure(f: () => unknown): [code: number, words: string] {
  try {
    f();
  } catch (error) {
    const e = AlloyError.from(error);
    return [(e.data as { metal: number } | undefined)?.metal ?? 0, e.message];
  }
  return [0, ""];
}

/** Registers the hooks. After each test nothing may be found that it did not take, and no object may be left. */
export function useShim(path: string, fake: Frameworks): OpenShim {
  let gpu: Shim;
  let library: number;
  const pipelines: number[] = [];
  const buffers: number[] = [];
  /** Other test files of the process may have left something. */
  let before: Record<string, number>;

  beforeEach(() => {
    fake.inject("reset");
    fake.all();
    before = fake.live();
    gpu = new Shim(path);
    library = gpu.library(TEXT);
  });

  afterEach(() => {
    for (const b of buffers.splice(0)) gpu.free(b);
    for (const p of pipelines.splice(0)) gpu.freePipeline(p);
    gpu.freeLibrary(library);
    gpu.close();
    fake.inject("reset");
    expect(fake.all()).toEqual([]);
    expect(fake.live()).toEqual(before);
  });

  return {
    get gpu() {
      return gpu;
    },
    pipeline(name, constants = []) {
      const { handle } = gpu.pipeline(library, name, constants);
      pipelines.push(handle);
      return handle;
    },
    floats(values) {
      const made = gpu.create(4 * values.length);
      buffers.push(made.handle);
      const view = new Float32Array(toArrayBuffer(made.address as Pointer, 0, 4 * values.length));
      view.set(values);
      return { ...made, view };
    },
    keep: (buffer) => void buffers.push(buffer),
    run: (...dispatches) => gpu.wait(gpu.submit(plan(...dispatches), slots())),
  };
}
