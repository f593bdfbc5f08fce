/** Devices by name. */
import { AlloyError, suggest } from "../support/errors.ts";
import { createCpuDevice } from "./cpu/device.ts";
import type { Device } from "./device.ts";
import { createMetalDevice } from "./metal/device.ts";

export interface DeviceOptions {
  /** Threads of a CPU device. */
  threads?: number;
}

const DEVICES: Readonly<Record<string, (options: DeviceOptions) => Device>> = {
  cpu: createCpuDevice,
  metal: createMetalDevice,
  cuda: () => {
    throw new AlloyError("device_error", "The cuda device is not part of this build", { hint: "Use --device cpu." });
  },
};

/**
 * Opens a device: "cpu", "metal" or "cuda"; "auto" takes Metal on Apple silicon and the CPU elsewhere. Default: ALLOY_DEVICE, else auto.
 * Throws `bad_argument` for another name, `device_error` when it is not there.
 */
export function createDevice(name = process.env.ALLOY_DEVICE || "auto", options: DeviceOptions = {}): Device {
  if (name === "auto") return firstDevice(preferredDevices(process.platform, process.arch), options);
  const make = Object.hasOwn(DEVICES, name) ? DEVICES[name] : undefined;
  if (!make) {
    const names = ["auto", ...Object.keys(DEVICES)];
    const near = suggest(name, names);
    throw new AlloyError("bad_argument", `There is no device "${name}"`, {
      hint: near ? `Did you mean ${near}?` : `Devices are ${names.join(", ")}.`,
    });
  }
  return make(options);
}

/** Devices that "auto" tries, in order: Metal first on Apple silicon, the CPU alone elsewhere. */
export const preferredDevices = (platform: string, arch: string): readonly string[] =>
  platform === "darwin" && arch === "arm64" ? ["metal", "cpu"] : ["cpu"];

/** The first of these devices that is there. A virtual machine may have no GPU; whoever names the device gets the error. */
export function firstDevice(names: readonly string[], options: DeviceOptions = {}): Device {
  const [name, ...rest] = names;
  try {
    return createDevice(name, options);
  } catch (error) {
    if (rest.length === 0 || AlloyError.from(error).code !== "device_error") throw error;
    return firstDevice(rest, options);
  }
}
