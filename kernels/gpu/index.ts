/** The kernels of GPUs. */
import type { KernelSet } from "../api.ts";
import { cpuKernels } from "../cpu.ts";

export const gpuKernels: KernelSet = { ...cpuKernels, name: "gpu", batchTokens: 512, releasesPages: false };
