/** GPT-2: learned positions, LayerNorm with biases, a plain GELU MLP; Hugging Face stores its matrices transposed (Conv1D). */
import type { ModelFile } from "../../formats/weights.ts";
import type { AttentionConfig, LayerNames, ModelDescription, ModelNames, ProjectionNames } from "../config.ts";
import type { Family } from "../registry.ts";
import { vocabulary } from "./decoder.ts";
import { ggufFields, hfFields, size, type Fields } from "./fields.ts";
import { ggufNames } from "./names.ts";

export const gpt2: Family = {
  gguf: ["gpt2"],
  huggingface: ["gpt2"],
  describe: (file, architecture) => (file.format === "gguf" ? fromGguf(file, architecture) : fromHf(file, architecture)),
};

function fromGguf(file: ModelFile, architecture: string): ModelDescription {
  const f = ggufFields(file, architecture);
  const layers = size(f, "block_count", f.number("block_count"), 4096);
  const hidden = f.number("embedding_length");
  const ffn = f.number("feed_forward_length", 4 * hidden);
  return describe(
    f,
    ggufNames(file, layers),
    layers,
    hidden,
    f.number("attention.head_count"),
    ffn,
    f.number("context_length"),
    f.number("attention.layer_norm_epsilon", 1e-5),
  );
}

function fromHf(file: ModelFile, architecture: string): ModelDescription {
  const f = hfFields(file, architecture);
  const layers = size(f, "n_layer", f.number("n_layer"), 4096);
  const hidden = f.number("n_embd");
  // Checkpoints of the bare model lack the "transformer." prefix.
  const root = file.tensors.has("transformer.wte.weight") ? "transformer." : "";
  const conv = (stem: string): ProjectionNames => ({ weight: `${stem}.weight`, bias: `${stem}.bias`, transpose: true });
  const names: ModelNames = {
    embedding: `${root}wte.weight`,
    positions: `${root}wpe.weight`,
    finalNorm: `${root}ln_f.weight`,
    finalNormBias: `${root}ln_f.bias`,
    output: file.tensors.has("lm_head.weight") ? { weight: "lm_head.weight" } : undefined,
    layers: Array.from({ length: layers }, (_, i): LayerNames => {
      const p = `${root}h.${i}`;
      return {
        mixerNorm: `${p}.ln_1.weight`,
        mixerNormBias: `${p}.ln_1.bias`,
        ffnNorm: `${p}.ln_2.weight`,
        ffnNormBias: `${p}.ln_2.bias`,
        qkv: conv(`${p}.attn.c_attn`),
        o: conv(`${p}.attn.c_proj`),
        up: conv(`${p}.mlp.c_fc`),
        down: conv(`${p}.mlp.c_proj`),
      };
    }),
  };
  const ffn = f.optional("n_inner") ?? 4 * hidden;
  return describe(f, names, layers, hidden, f.number("n_head"), ffn, f.number("n_positions", 1024), f.number("layer_norm_epsilon", 1e-5));
}

function describe(
  f: Fields,
  names: ModelNames,
  layers: number,
  hidden: number,
  heads: number,
  ffn: number,
  contextLength: number,
  eps: number,
): ModelDescription {
  size(f, "hidden size", hidden, 1 << 20);
  size(f, "heads", heads, hidden);
  const headDim = size(f, "head size", hidden / heads, hidden);
  const mixer: AttentionConfig = {
    kind: "attention",
    heads,
    kvHeads: heads,
    headDim,
    scale: 1 / Math.sqrt(headDim),
    window: 0,
    interleaved: false,
    softcap: 0,
  };
  return {
    config: {
      architecture: f.architecture,
      hidden,
      vocab: vocabulary(f, names.embedding),
      contextLength: size(f, "context length", contextLength, 2 ** 31 - 1),
      layers: Array.from({ length: layers }, () => ({ mixer, ffn: { kind: "mlp" as const, size: ffn, act: "gelu_tanh" as const } })),
      norm: { kind: "layer", eps },
      learnedPositions: true,
      embeddingScale: 1,
      residualScale: 1,
      logitScale: 1,
      logitSoftcap: 0,
    },
    names,
  };
}
