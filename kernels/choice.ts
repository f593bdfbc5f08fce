/** Which kernels a device uses. The one place that knows: everything else asks the set that it was given. */
import type { DeviceProperties } from "../src/runtime/device.ts";
import type { KernelSet } from "./api.ts";
import { cpuKernels } from "./cpu.ts";
import { gpuKernels, gpuKernelsOnCpu } from "./gpu/index.ts";

const BY_KIND: Readonly<Record<DeviceProperties["kind"], KernelSet>> = { cpu: cpuKernels, metal: gpuKernels, cuda: gpuKernels };

/** The kernels for a kind of device; `forced` takes those of the other kind, to debug GPU kernels without a GPU. */
export function kernelsFor(kind: DeviceProperties["kind"], forced?: KernelSet["name"]): KernelSet {
  if (forced === undefined) return BY_KIND[kind];
  if (forced === "cpu") return cpuKernels;
  return kind === "cpu" ? gpuKernelsOnCpu : gpuKernels;
}
