/** One of the workers of shim-life.test.ts: opens a device, runs 300 plans and tells how many came out right. */
import { toArrayBuffer } from "bun:ffi";
import type { Pointer } from "bun:ffi";
import { Shim } from "../../src/runtime/metal/shim.ts";
import { plan, slots } from "./plans.ts";
import { TEXT } from "./shim-harness.ts";

declare const self: Worker;

self.onmessage = async ({ data: { path, seed } }: MessageEvent<{ path: string; seed: number }>) => {
  const gpu = new Shim(path);
  const library = gpu.library(TEXT);
  const { handle } = gpu.pipeline(library, "add", []);
  const buffer = gpu.create(256);
  const view = new Float32Array(toArrayBuffer(buffer.address as Pointer, 0, 256));
  const buffers = [buffer.handle, buffer.handle, buffer.handle];
  const p = plan({ pipeline: handle, perThread: true, grid: [64], threads: [32], buffers, scalars: [64, { slot: 0, as: "float" }] });
  let right = 0;
  for (let i = 0; i < 300; i++) {
    view.fill(i + seed);
    const submission = gpu.submit(p, slots({ double: 2 }));
    while (!gpu.poll(submission)) await new Promise((r) => setImmediate(r));
    if (view.every((x) => x === 3 * (i + seed))) right++;
    if (i % 50 === 0) Bun.gc(true);
  }
  gpu.free(buffer.handle);
  gpu.freePipeline(handle);
  gpu.freeLibrary(library);
  gpu.close();
  postMessage(right);
};
