/** What llama, qwen, mistral, phi3, smollm3 and granite share: a pre-norm decoder of attention and a gated feed-forward. */
import type { ModelFile } from "../../formats/weights.ts";
import { AlloyError } from "../../support/errors.ts";
import type { AttentionConfig, LayerConfig, ModelConfig, ModelDescription, ModelNames } from "../config.ts";
import { type Fields, ggufFields, hfFields, size } from "./fields.ts";
import { ggufNames, hfNames } from "./names.ts";
import { ggufRope, hfRope } from "./rope-fields.ts";

/** What a family changes in the common description. */
export interface DecoderOptions {
  /** The file's q and k rows are ordered for rotation of neighbouring pairs (llama.cpp's converter permutes LLaMA-like models so). */
  interleaved: boolean;
  /** Per layer: changes to the attention (window, no rope). */
  attention?: (f: Fields, layer: number, c: AttentionConfig) => AttentionConfig;
  model?: (f: Fields, c: ModelConfig) => ModelConfig;
}

const MAX = { layers: 4096, hidden: 1 << 20, heads: 1 << 16, vocab: 1 << 24, context: 2 ** 31 - 1 };

export function describeGguf(file: ModelFile, architecture: string, options: DecoderOptions): ModelDescription {
  const f = ggufFields(file, architecture);
  const layers = size(f, "block_count", f.number("block_count"), MAX.layers);
  const hidden = size(f, "embedding_length", f.number("embedding_length"), MAX.hidden);
  const heads = size(f, "attention.head_count", f.number("attention.head_count"), MAX.heads);
  const kvHeads = size(f, "attention.head_count_kv", f.number("attention.head_count_kv", heads), heads);
  const headDim = size(f, "attention.key_length", f.number("attention.key_length", hidden / heads), MAX.hidden);
  const contextLength = size(f, "context_length", f.number("context_length"), MAX.context);
  const names = ggufNames(file, layers);
  // phi3 files fuse gate and up under the name ffn_up.
  const fused = names.layers.map((n) => (n.gate || !n.up ? n : { ...n, up: undefined, gateUp: n.up }));
  return describe(f, { ...names, layers: fused }, options, {
    layers,
    hidden,
    heads,
    kvHeads,
    headDim,
    contextLength,
    ffn: size(f, "feed_forward_length", f.number("feed_forward_length"), MAX.hidden),
    eps: f.number("attention.layer_norm_rms_epsilon", 1e-5),
    rope: ggufRope(f, headDim, contextLength),
    scale: f.number("attention.scale", 0) || 1 / Math.sqrt(headDim),
    act: "silu",
  });
}

export function describeHf(file: ModelFile, architecture: string, options: DecoderOptions): ModelDescription {
  const f = hfFields(file, architecture);
  const layers = size(f, "num_hidden_layers", f.number("num_hidden_layers"), MAX.layers);
  const hidden = size(f, "hidden_size", f.number("hidden_size"), MAX.hidden);
  const heads = size(f, "num_attention_heads", f.number("num_attention_heads"), MAX.heads);
  const kvHeads = size(f, "num_key_value_heads", f.number("num_key_value_heads", heads), heads);
  const headDim = size(f, "head_dim", f.number("head_dim", hidden / heads), MAX.hidden);
  const contextLength = size(f, "max_position_embeddings", f.number("max_position_embeddings"), MAX.context);
  return describe(f, hfNames(file, layers, f.flag("tie_word_embeddings", !file.tensors.has("lm_head.weight"))), options, {
    layers,
    hidden,
    heads,
    kvHeads,
    headDim,
    contextLength,
    ffn: size(f, "intermediate_size", f.number("intermediate_size"), MAX.hidden),
    eps: f.number("rms_norm_eps", 1e-6),
    rope: hfRope(f, headDim, contextLength),
    scale: f.number("attention_multiplier", 0) || 1 / Math.sqrt(headDim),
    act: f.text("hidden_act") ?? "silu",
  });
}

interface Sizes {
  layers: number;
  hidden: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  contextLength: number;
  ffn: number;
  eps: number;
  rope: AttentionConfig["rope"];
  scale: number;
  act: string;
}

const GATED = {
  silu: ["swiglu", "silu"],
  gelu: ["geglu", "gelu"],
  gelu_pytorch_tanh: ["geglu", "gelu_tanh"],
  gelu_new: ["geglu", "gelu_tanh"],
} as const;

function describe(f: Fields, names: ModelNames, options: DecoderOptions, s: Sizes): ModelDescription {
  if (s.heads % s.kvHeads !== 0)
    throw new AlloyError("bad_file", `${f.file.path}: ${s.heads} query heads do not divide into ${s.kvHeads} key/value heads`);
  const ffn = GATED[s.act as keyof typeof GATED];
  if (!ffn)
    throw new AlloyError("unsupported_model", `${f.file.path}: activation "${s.act}" is not known`, {
      hint: `Known are ${Object.keys(GATED).join(", ")}.`,
    });
  const attention: AttentionConfig = {
    kind: "attention",
    heads: s.heads,
    kvHeads: s.kvHeads,
    headDim: s.headDim,
    scale: s.scale,
    window: 0,
    rope: s.rope,
    interleaved: options.interleaved,
    softcap: 0,
  };
  const layers = Array.from({ length: s.layers }, (_, i): LayerConfig => ({
    mixer: options.attention?.(f, i, attention) ?? attention,
    ffn: { kind: ffn[0], size: s.ffn, act: ffn[1] },
  }));
  const config: ModelConfig = {
    architecture: f.architecture,
    hidden: s.hidden,
    vocab: vocabulary(f, names.embedding),
    contextLength: s.contextLength,
    layers,
    norm: { kind: "rms", eps: s.eps },
    learnedPositions: false,
    embeddingScale: 1,
    residualScale: 1,
    logitScale: 1,
    logitSoftcap: 0,
  };
  return { config: options.model?.(f, config) ?? config, names };
}

/** Rows of the embedding table: what the file holds counts, some configs say less or more. */
export function vocabulary(f: Fields, embedding: string): number {
  const t = f.file.tensors.get(embedding);
  if (!t)
    throw new AlloyError("bad_file", `${f.file.path}: tensor "${embedding}" is missing`, {
      hint: "The file is incomplete; download it again or convert it anew.",
    });
  return size(f, `rows of ${embedding}`, t.shape[0], MAX.vocab);
}
