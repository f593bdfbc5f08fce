/** GGUF files with the shapes of well-known models and random weights: speed does not depend on what weights say. */
import { existsSync } from "node:fs";
import { type GgufTensor, ggufNumber, writeGguf } from "../src/formats/gguf-write.ts";
import { quantize, typeBytes } from "../src/formats/quant/table.ts";
import type { TensorType } from "../src/formats/weights.ts";

export interface Shape {
  architecture: "qwen3" | "llama";
  layers: number;
  hidden: number;
  ffn: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  vocab: number;
  ropeBase: number;
  qkNorm: boolean;
}

export const SHAPES: Readonly<Record<string, Shape>> = {
  "qwen3-0.6b": {
    architecture: "qwen3",
    layers: 28,
    hidden: 1024,
    ffn: 3072,
    heads: 16,
    kvHeads: 8,
    headDim: 128,
    vocab: 151936,
    ropeBase: 1e6,
    qkNorm: true,
  },
  "llama-3.2-1b": {
    architecture: "llama",
    layers: 16,
    hidden: 2048,
    ffn: 8192,
    heads: 32,
    kvHeads: 8,
    headDim: 64,
    vocab: 128256,
    ropeBase: 5e5,
    qkNorm: false,
  },
};

/** Type of a tensor in llama.cpp's mixes: Q4_K_M keeps half of the attn_v and ffn_down matrices, and the output, in Q6_K. */
function tensorType(mix: string, name: string, layer: number, layers: number): TensorType {
  if (mix !== "q4_k_m") return mix as TensorType;
  const more = layer < Math.floor(layers / 8) || layer >= Math.floor((7 * layers) / 8) || (layer - Math.floor(layers / 8)) % 3 === 2;
  if (name === "token_embd" || ((name === "attn_v" || name === "ffn_down") && more)) return "q6_k";
  return "q4_k";
}

/** Writes the file unless it is there already. `mix`: q4_k_m or a plain tensor type such as q8_0, f16. */
export function makeModel(path: string, s: Shape, mix: string, seed = 1): void {
  if (existsSync(path)) return;
  const random = generator(seed);
  const tensors: GgufTensor[] = [];
  const vector = (name: string, n: number): void => {
    tensors.push({
      name,
      type: "f32",
      shape: [n],
      data: new Uint8Array(Float32Array.from({ length: n }, () => 1 + 0.1 * random()).buffer),
    });
  };
  const matrix = (name: string, stem: string, layer: number, n: number, k: number): void => {
    const type = tensorType(mix, stem, layer, s.layers);
    tensors.push({ name, type, shape: [n, k], data: () => randomBlocks(type, n, k, random) });
  };
  matrix("token_embd.weight", "token_embd", 0, s.vocab, s.hidden);
  for (let i = 0; i < s.layers; i++) {
    vector(`blk.${i}.attn_norm.weight`, s.hidden);
    matrix(`blk.${i}.attn_q.weight`, "attn_q", i, s.heads * s.headDim, s.hidden);
    matrix(`blk.${i}.attn_k.weight`, "attn_k", i, s.kvHeads * s.headDim, s.hidden);
    matrix(`blk.${i}.attn_v.weight`, "attn_v", i, s.kvHeads * s.headDim, s.hidden);
    if (s.qkNorm) for (const w of ["q", "k"]) vector(`blk.${i}.attn_${w}_norm.weight`, s.headDim);
    matrix(`blk.${i}.attn_output.weight`, "attn_output", i, s.hidden, s.heads * s.headDim);
    vector(`blk.${i}.ffn_norm.weight`, s.hidden);
    matrix(`blk.${i}.ffn_gate.weight`, "ffn_gate", i, s.ffn, s.hidden);
    matrix(`blk.${i}.ffn_up.weight`, "ffn_up", i, s.ffn, s.hidden);
    matrix(`blk.${i}.ffn_down.weight`, "ffn_down", i, s.hidden, s.ffn);
  }
  vector("output_norm.weight", s.hidden);
  const a = s.architecture;
  writeGguf(path, {
    metadata: {
      "general.architecture": a,
      "general.name": "random weights for benchmarks",
      [`${a}.block_count`]: s.layers,
      [`${a}.context_length`]: 32768,
      [`${a}.embedding_length`]: s.hidden,
      [`${a}.feed_forward_length`]: s.ffn,
      [`${a}.attention.head_count`]: s.heads,
      [`${a}.attention.head_count_kv`]: s.kvHeads,
      [`${a}.attention.key_length`]: s.headDim,
      [`${a}.attention.value_length`]: s.headDim,
      [`${a}.attention.layer_norm_rms_epsilon`]: ggufNumber("f32", 1e-6),
      [`${a}.rope.freq_base`]: ggufNumber("f32", s.ropeBase),
      [`${a}.rope.dimension_count`]: s.headDim,
      [`${a}.vocab_size`]: s.vocab,
      "tokenizer.ggml.model": "gpt2",
      "tokenizer.ggml.pre": "qwen2",
      "tokenizer.ggml.tokens": Array.from({ length: s.vocab }, (_, i) => (i < 256 ? byteToken(i) : `tok${i}`)),
      "tokenizer.ggml.token_type": Int32Array.from({ length: s.vocab }, () => 1),
      "tokenizer.ggml.merges": ["a b"],
      "tokenizer.ggml.eos_token_id": s.vocab - 1,
      "tokenizer.ggml.add_bos_token": false,
    },
    tensors,
  });
}

/** The printable stand-ins of GPT-2's byte alphabet. */
function byteToken(b: number): string {
  const printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  return printable ? String.fromCharCode(b) : String.fromCharCode(256 + b);
}

/** Well-formed random blocks: a few megabytes are quantised and repeated, since quantising gigabytes says nothing new. */
function* randomBlocks(type: TensorType, n: number, k: number, random: () => number): Iterable<Uint8Array> {
  const rows = Math.min(n, Math.max(1, Math.floor(262144 / k)));
  const spread = 1.7 / Math.sqrt(k);
  const piece = quantize(
    type,
    Float32Array.from({ length: rows * k }, () => random() * spread),
  );
  for (let done = 0; done < n; done += rows) yield n - done >= rows ? piece : piece.subarray(0, typeBytes(type, (n - done) * k));
}

/** Uniform in [-1, 1), mulberry32. */
function generator(seed: number): () => number {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2147483648 - 1;
  };
}
