/** Model files that cannot run: each must say which file, which field and what to do. */
import { afterAll, expect, test } from "bun:test";
import { cpuKernels } from "../../kernels/cpu.ts";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type GgufTensor, type GgufValue, writeGguf } from "../../src/formats/gguf-write.ts";
import { openModel } from "../../src/formats/open.ts";
import { buildModel } from "../../src/models/build.ts";
import { describeModel } from "../../src/models/registry.ts";
import { WeightStore } from "../../src/graph/weights.ts";
import type { Device } from "../../src/runtime/device.ts";
import { AlloyError } from "../../src/support/errors.ts";

const folder = mkdtempSync(join(tmpdir(), "alloy-bad-models-"));
afterAll(() => rmSync(folder, { recursive: true }));

const GOOD: Record<string, GgufValue> = {
  "general.architecture": "llama",
  "llama.block_count": 1,
  "llama.context_length": 128,
  "llama.embedding_length": 32,
  "llama.feed_forward_length": 64,
  "llama.attention.head_count": 2,
  "llama.attention.head_count_kv": 1,
};
const SHAPES: Record<string, number[]> = {
  "token_embd.weight": [100, 32],
  "output_norm.weight": [32],
  "blk.0.attn_norm.weight": [32],
  "blk.0.attn_q.weight": [32, 32],
  "blk.0.attn_k.weight": [16, 32],
  "blk.0.attn_v.weight": [16, 32],
  "blk.0.attn_output.weight": [32, 32],
  "blk.0.ffn_norm.weight": [32],
  "blk.0.ffn_gate.weight": [64, 32],
  "blk.0.ffn_up.weight": [64, 32],
  "blk.0.ffn_down.weight": [32, 64],
};

let count = 0;
/** Describes and builds a file made of the good parts and the changes; undefined leaves a part out. */
function build(metadata: Record<string, GgufValue | undefined>, shapes: Record<string, number[] | undefined> = {}): void {
  const path = join(folder, `model-${count++}.gguf`);
  const kept = Object.entries({ ...GOOD, ...metadata }).filter((e): e is [string, GgufValue] => e[1] !== undefined);
  const tensors: GgufTensor[] = [];
  for (const [name, shape] of Object.entries({ ...SHAPES, ...shapes }))
    if (shape) tensors.push({ name, type: "f32", shape, data: new Uint8Array(4 * shape.reduce((a, b) => a * b, 1)) });
  writeGguf(path, { metadata: Object.fromEntries(kept), tensors });
  const file = openModel(path);
  try {
    // Building a graph asks the store for shapes only, never the device.
    buildModel(describeModel(file), new WeightStore({} as Device, cpuKernels, file, false), "f16");
  } finally {
    file.close();
  }
}

const errorOf = (f: () => void): AlloyError => {
  try {
    f();
  } catch (e) {
    if (e instanceof AlloyError) return e;
    throw e;
  }
  throw new Error("expected an error");
};

test("the good file builds", () => build({}));

test.each([
  ["unknown architecture", { "general.architecture": "lama" }, {}, "unsupported_model", 'architecture "lama" is not supported'],
  ["no architecture", { "general.architecture": undefined }, {}, "bad_file", "general.architecture is missing"],
  ["missing key", { "llama.embedding_length": undefined }, {}, "bad_file", "llama.embedding_length should be a number, found nothing"],
  ["key of the wrong type", { "llama.block_count": "many" }, {}, "bad_file", 'llama.block_count should be a number, found "many"'],
  [
    "absurd layer count",
    { "llama.block_count": 4000000000 },
    {},
    "bad_file",
    "block_count is 4000000000, expected a whole number from 1 to 4096",
  ],
  ["no heads", { "llama.attention.head_count": 0 }, {}, "bad_file", "head_count is 0"],
  [
    "heads that do not divide",
    { "llama.attention.head_count": 3, "llama.attention.key_length": 16, "llama.attention.head_count_kv": 2 },
    {},
    "bad_file",
    "3 query heads do not divide",
  ],
  [
    "unknown rope scaling",
    { "llama.rope.scaling.type": "ntk", "llama.rope.scaling.factor": 2 },
    {},
    "unsupported_model",
    'rope scaling "ntk" is not known',
  ],
  ["missing tensor", {}, { "blk.0.attn_k.weight": undefined }, "bad_file", '"blk.0.attn_k.weight" is missing'],
  ["no embedding", {}, { "token_embd.weight": undefined }, "bad_file", '"token_embd.weight" is missing'],
  [
    "tensor of another shape",
    {},
    { "blk.0.ffn_up.weight": [63, 32] },
    "bad_file",
    'tensor "blk.0.ffn_up.weight" has shape [63,32], the model\'s configuration asks for [64,32]',
  ],
] as const)("%s", (_, metadata, shapes, code, message) => {
  const e = errorOf(() => build(metadata, shapes as unknown as Record<string, number[] | undefined>));
  expect(e.code).toBe(code);
  expect(e.message).toContain(message);
  expect(e.message).toContain(".gguf");
});

test("an unknown architecture suggests the nearest known one", () => {
  expect(errorOf(() => build({ "general.architecture": "qwen33" })).hint).toContain("nearest is qwen");
});
