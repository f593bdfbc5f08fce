/** Tensors on a device: in place where the file's address allows it, copied where it does not. */
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { kernelsFor } from "../../kernels/choice.ts";
import { mapFile } from "../../src/formats/mmap.ts";
import type { ModelFile, TensorType } from "../../src/formats/weights.ts";
import { WeightStore } from "../../src/graph/weights.ts";
import { createDevice } from "../../src/runtime/index.ts";

const folder = mkdtempSync(join(tmpdir(), "alloy-weights-"));
const device = createDevice("cpu", { threads: 1 });
afterAll(() => {
  device.close();
  rmSync(folder, { recursive: true });
});

/** A file with one [1, columns] tensor that begins at byte `offset`. */
function store(type: TensorType, offset: number, bytes: Uint8Array, columns: number): { weights: WeightStore; address: number } {
  const path = join(folder, `${type}-${offset}`);
  writeFileSync(path, Buffer.concat([Buffer.alloc(offset), bytes]));
  const map = mapFile(path);
  const address = map.address + offset;
  const tensors = new Map([["w", { name: "w", type, shape: [1, columns], address, bytes: bytes.length }]]);
  const file: ModelFile = {
    format: "huggingface",
    path,
    metadata: new Map(),
    tensors,
    fileBytes: map.bytes,
    close: () => map.close(),
  };
  return { weights: new WeightStore(device, kernelsFor({ kind: "cpu", isa: "baseline" }, "gpu"), file, false), address };
}

test.each([
  ["f16", 8, true],
  ["f16", 7, false],
  ["bf16", 9, false],
  ["f32", 4, true],
  ["f32", 6, false],
  ["q8_0", 2, true],
  ["q8_0", 5, false],
  ["mxfp4", 3, true],
] as const)("%s at byte %i: in place %p", (type, offset, inPlace) => {
  const columns = 32;
  const bytes = { f16: 64, bf16: 64, f32: 128, q8_0: 34, mxfp4: 17 }[type];
  const data = Uint8Array.from({ length: bytes }, (_, i) => i * 7);
  const { weights, address } = store(type, offset, data, columns);
  const m = weights.matrix({ name: "w" });
  expect(m.packed).toBe(false);
  expect(m.buffer.address === address).toBe(inPlace);
  expect([...m.buffer.view(0, bytes)]).toEqual([...data]);
  expect(weights.ownedBytes).toBe(inPlace ? 0 : bytes);
  weights.free();
});
