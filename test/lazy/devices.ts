/** The devices that lazy buffers and examples are tried on, and how a test uses one. */
import { useDevice } from "../../src/compiler/default-device.ts";
import { InterpreterDevice } from "../../src/compiler/interpreter-device.ts";
import type { Device } from "../../src/runtime/device.ts";
import { createDevice } from "../../src/runtime/index.ts";

export const DEVICES: readonly { name: string; device: Device }[] = [
  { name: "cpu", device: createDevice("cpu") },
  { name: "interpreter", device: new InterpreterDevice() },
];

/** Runs `f` with launches and lazy buffers on `device`. */
export async function on<T>(device: Device, f: () => Promise<T>): Promise<T> {
  useDevice(device);
  try {
    return await f();
  } finally {
    useDevice(undefined);
  }
}
