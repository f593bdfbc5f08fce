/** Devices by name. */
import { AlloyError, suggest } from "../support/errors.ts";
import { createCpuDevice } from "./cpu/device.ts";
import type { Device } from "./device.ts";

export interface DeviceOptions {
  /** Threads of a CPU device. */
  threads?: number;
}

const unavailable =
  (name: string): ((options: DeviceOptions) => Device) =>
  () => {
    throw new AlloyError("device_error", `The ${name} device is not part of this build`, { hint: "Use --device cpu." });
  };

const DEVICES: Readonly<Record<string, (options: DeviceOptions) => Device>> = {
  cpu: createCpuDevice,
  metal: unavailable("metal"),
  cuda: unavailable("cuda"),
};

/** Opens a device: "cpu" (default), "metal" or "cuda". Throws `bad_argument` for another name, `device_error` when it is not there. */
export function createDevice(name = "cpu", options: DeviceOptions = {}): Device {
  const make = Object.hasOwn(DEVICES, name) ? DEVICES[name] : undefined;
  if (!make) {
    const near = suggest(name, Object.keys(DEVICES));
    throw new AlloyError("bad_argument", `There is no device "${name}"`, {
      hint: near ? `Did you mean ${near}?` : `Devices are ${Object.keys(DEVICES).join(", ")}.`,
    });
  }
  return make(options);
}
