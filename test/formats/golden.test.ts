/** The same checkpoints as safetensors and as GGUF: the weights must be equal to the last bit. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { openModel } from "../../src/formats/open.ts";
import { readTensor, tensorBytes } from "../../src/formats/read.ts";
import type { ModelFile } from "../../src/formats/weights.ts";
import { FIXTURES } from "./tools.ts";

/** Parts of tensor names, Hugging Face's and GGUF's. */
const NAMES: [string, string][] = [
  ["model.embed_tokens", "token_embd"],
  ["model.norm", "output_norm"],
  ["lm_head", "output"],
  ["model.layers.", "blk."],
  ["input_layernorm", "attn_norm"],
  ["self_attn.o_proj", "attn_output"],
  ["self_attn.sinks", "attn_sinks.weight"],
  ["self_attn.", "attn_"],
  ["mlp.router", "ffn_gate_inp"],
  ["mlp.experts.down_proj_bias", "ffn_down_exps.bias"],
  ["mlp.", "ffn_"],
  ["_proj", ""],
];

function ggufName(name: string, norm: string): string {
  const renamed = NAMES.reduce((text, [from, to]) => text.replace(from, to), name);
  return renamed.replace("post_attention_layernorm", norm);
}

/** Compare every tensor whose name has a counterpart; gives the number compared. */
function compare(hf: ModelFile, gguf: ModelFile, norm: string): number {
  let compared = 0;
  for (const [name, tensor] of hf.tensors) {
    const other = gguf.tensors.get(ggufName(name, norm));
    if (!other) continue;
    expect(other.shape).toEqual(tensor.shape);
    expect(readTensor(other)).toEqual(readTensor(tensor));
    compared++;
  }
  return compared;
}

test("qwen2: F32 safetensors against F16 GGUF", () => {
  const hf = openModel(join(FIXTURES, "qwen2/tiny/hf"));
  const gguf = openModel(join(FIXTURES, "qwen2/tiny/model-f16.gguf"));
  expect(hf.format).toBe("huggingface");
  expect(hf.config?.config.model_type).toBe("qwen2");
  expect(hf.config?.tokenizer?.model).toBeDefined();
  expect(gguf.metadata.get("general.architecture")).toBe("qwen2");
  expect(new Set([...gguf.tensors.values()].map(({ type }) => type))).toEqual(new Set(["f16", "f32"]));
  expect(compare(hf, gguf, "ffn_norm")).toBe(hf.tensors.size);
  expect(gguf.tensors.size).toBe(hf.tensors.size);
  hf.close();
  gguf.close();
});

test("gpt-oss: BF16 safetensors against F32 GGUF, and MXFP4 experts in both layouts", () => {
  const hf = openModel(join(FIXTURES, "gpt_oss/mxfp4/hf"));
  const gguf = openModel(join(FIXTURES, "gpt_oss/mxfp4/model-mxfp4.gguf"));
  expect(compare(hf, gguf, "post_attention_norm")).toBeGreaterThan(40);
  let experts = 0;
  for (const [name, blocks] of hf.tensors) {
    if (!name.endsWith("down_proj_blocks")) continue;
    const scales = hf.tensors.get(name.replace("_blocks", "_scales"))!;
    const expected = unpackMxfp4(tensorBytes(blocks), tensorBytes(scales));
    const other = gguf.tensors.get(name.replace("model.layers.", "blk.").replace("mlp.experts.down_proj_blocks", "ffn_down_exps.weight"))!;
    expect(other.type).toBe("mxfp4");
    expect(readTensor(other)).toEqual(expected);
    experts++;
  }
  expect(experts).toBeGreaterThan(0);
  hf.close();
  gguf.close();
});

/** Hugging Face's layout: scales apart, and value 2j and 2j + 1 in byte j of a block. */
function unpackMxfp4(blocks: Uint8Array, scales: Uint8Array): Float32Array {
  const magnitudes = [0, 0.5, 1, 1.5, 2, 3, 4, 6];
  const value = (nibble: number) => (nibble & 8 ? -1 : 1) * magnitudes[nibble & 7];
  return Float32Array.from({ length: blocks.length * 2 }, (_, i) => {
    const byte = blocks[i >> 1];
    return value(i & 1 ? byte >> 4 : byte & 15) * 2 ** (scales[i >> 5] - 127);
  });
}
