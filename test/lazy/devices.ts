/** The devices that lazy buffers and examples are tried on, and how a test uses one. */
import { useDevice } from "../../src/compiler/default-device.ts";
import { InterpreterDevice } from "../../src/compiler/interpreter-device.ts";
import type { Device } from "../../src/runtime/device.ts";
import { createDevice } from "../../src/runtime/index.ts";
import { metalHost } from "../metal-host/build.ts";

/** Metal as it ships, on the Metal host; undefined, with a line that says why, where that cannot be. */
function metalDevice(): Device | undefined {
  const host = metalHost();
  if (!host.available) {
    console.log(`without Metal: ${host.why}`);
    return undefined;
  }
  const before = process.env.ALLOY_METAL_SHIM;
  process.env.ALLOY_METAL_SHIM = host.shim;
  try {
    return createDevice("metal");
  } finally {
    if (before === undefined) delete process.env.ALLOY_METAL_SHIM;
    else process.env.ALLOY_METAL_SHIM = before;
  }
}

const metal = metalDevice();
export const DEVICES: readonly { name: string; device: Device }[] = [
  { name: "cpu", device: createDevice("cpu") },
  { name: "interpreter", device: new InterpreterDevice() },
  ...(metal ? [{ name: "metal", device: metal }] : []),
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
