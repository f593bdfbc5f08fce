/** Which kernels a device uses. The one place that knows: everything else asks the set that it was given. */
import type { DeviceProperties } from "../src/runtime/device.ts";
import type { KernelSet } from "./api.ts";
import { isIsa } from "../src/runtime/cpu/isa.ts";
import { cpuKernelsFor } from "./cpu.ts";
import { gpuKernels, gpuKernelsOnCpu } from "./gpu/index.ts";

type Chosen = Pick<DeviceProperties, "kind" | "isa">;

const cpu = ({ isa }: Chosen): KernelSet => cpuKernelsFor(isIsa(isa) ? isa : "baseline");
const BY_KIND: Readonly<Record<DeviceProperties["kind"], (d: Chosen) => KernelSet>> = {
  cpu,
  metal: () => gpuKernels,
  cuda: () => gpuKernels,
};

/** The kernels for a device; `forced` takes those of the other kind, to debug GPU kernels without a GPU. */
export function kernelsFor(device: Chosen, forced?: KernelSet["name"]): KernelSet {
  if (forced === undefined) return BY_KIND[device.kind](device);
  if (forced === "cpu") return cpu(device);
  return device.kind === "cpu" ? gpuKernelsOnCpu : gpuKernels;
}
