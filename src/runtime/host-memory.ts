/** Windows of host memory: what the buffers of every device that shares it have in common. */
import { toArrayBuffer } from "bun:ffi";
import type { Pointer } from "bun:ffi";
import { AlloyError } from "../support/errors.ts";

/** Throws `device_error` for a window that leaves a buffer of `size` bytes. */
export function checkWindow(offset: number, bytes: number, size: number): void {
  if (offset < 0 || bytes < 0 || offset + bytes > size)
    throw new AlloyError("device_error", `[${offset}, ${offset + bytes}) is outside a buffer of ${size} bytes`);
}

/** The bytes at an address as an array that shares them. Throws `device_error` beyond 4 GiB. */
export function viewOf(address: number, bytes: number): Uint8Array {
  if (bytes > 0xffffffff) {
    throw new AlloyError("device_error", `A view of ${bytes} bytes is beyond the 4 GiB that JavaScript can address`, {
      hint: "View a part of the buffer.",
    });
  }
  return bytes === 0 ? new Uint8Array(0) : new Uint8Array(toArrayBuffer(address as Pointer, 0, bytes));
}
