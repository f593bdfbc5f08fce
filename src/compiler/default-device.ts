/** Which device launches and lazy buffers use when nobody says. */
import type { Device } from "../runtime/device.ts";
import { createDevice } from "../runtime/index.ts";
import { InterpreterDevice } from "./interpreter-device.ts";

let device: Device | undefined;

/** The device that launches use, opened at the first one: ALLOY_DEVICE, else the best there is. */
export function defaultDevice(): Device {
  return (device ??= openDevice());
}

/** Makes launches from now on use this device; undefined: the default again. What was made on another device stays there. */
export function useDevice(chosen: Device | undefined): void {
  device = chosen;
}

/** A device by name (default: ALLOY_DEVICE): those of `createDevice`, and "interpreter". */
export function openDevice(name?: string): Device {
  return (name ?? process.env.ALLOY_DEVICE) === "interpreter" ? new InterpreterDevice() : createDevice(name);
}
