/**
 * The kernels of GPUs: weights are read as they lie in the file and activations stay floats; programs are as large as a threadgroup of
 * several simdgroups likes them. How they work and what bounds them: docs/gpu-kernels.md.
 */
import type { KernelSet } from "../api.ts";
import { gpuSampling } from "../sample.ts";
import { gpuAttention, gpuPrefillTokens } from "./attention.ts";
import { gpuLinear } from "./linear.ts";
import { DEBUG_TUNING, GPU_TUNING, type GpuTuning } from "./tuning.ts";

const gpuSet = (tuning: GpuTuning): KernelSet => ({
  name: "gpu",
  batchTokens: 512,
  // Tiles of float16 weights are multiplied with float16 activations.
  exactTypes: ["f32", "bf16"],
  blocks: { elementwise: 1024, norm: 1024, rope: 32, kvStore: { lanes: 64, tokens: 1 } },
  sampling: gpuSampling,
  releasesPages: false,
  packs: () => 0,
  quantize: () => [],
  takesSources: () => false,
  quantizedBytes: () => 0,
  linear: (ctx, o) => gpuLinear(tuning, ctx, o),
  prefillTokens: gpuPrefillTokens,
  attention: (ctx, o) => gpuAttention(tuning, ctx, o),
});

export const gpuKernels = gpuSet(GPU_TUNING);
/** The same kernels in sizes that a CPU compiles and runs in reasonable time. */
export const gpuKernelsOnCpu = gpuSet(DEBUG_TUNING);
