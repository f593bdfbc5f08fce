/** What is to be said of an installed model, from the headers of its files. */
import type { ModelInfo } from "../engine/api.ts";
import { isObject } from "../formats/json.ts";
import { openModel } from "../formats/open.ts";
import { elementCount } from "../formats/read.ts";
import type { MetaValue, ModelFile, TensorType } from "../formats/weights.ts";
import type { OllamaLayers, ResolvedModel } from "./api.ts";
import { shardPaths } from "./gguf-files.ts";
import { statOf } from "./stores.ts";
import { overridingTemplate } from "./template.ts";

/** `general.file_type` of GGUF (llama.h, `enum llama_ftype`). */
const FILE_TYPES: Readonly<Record<number, string>> = {
  0: "F32",
  1: "F16",
  2: "Q4_0",
  3: "Q4_1",
  7: "Q8_0",
  8: "Q5_0",
  9: "Q5_1",
  10: "Q2_K",
  11: "Q3_K_S",
  12: "Q3_K_M",
  13: "Q3_K_L",
  14: "Q4_K_S",
  15: "Q4_K_M",
  16: "Q5_K_S",
  17: "Q5_K_M",
  18: "Q6_K",
  21: "Q2_K_S",
  25: "IQ4_NL",
  30: "IQ4_XS",
  32: "BF16",
  38: "MXFP4_MOE",
};

/** Set in `general.file_type` when a converter guessed it. */
const GUESSED = 1024;

/** Arrays longer than this are left out of `metadata`: vocabularies are asked for elsewhere. */
const MAX_LISTED_ITEMS = 64;

const EMBEDDING_ARCHITECTURES = /bert|^gemma-embedding|^t5encoder/;

interface Cached {
  stamp: string;
  info: ModelInfo;
}

const cache = new Map<string, Cached>();

/**
 * Information on a resolved model. Reads headers only, and nothing at all when its files have not changed since the last call.
 * Throws what `openModel` throws for a file that cannot be read.
 */
export function modelInfo(resolved: ResolvedModel): ModelInfo {
  const stamp = stampOf(resolved);
  const key = `${resolved.name}\n${resolved.path}`;
  const cached = cache.get(key);
  if (cached?.stamp === stamp) return cached.info;
  const file = openModel(resolved.path);
  try {
    const info = describe(resolved, file, stamp);
    cache.set(key, { stamp, info });
    return info;
  } finally {
    file.close();
  }
}

/** Changes when any file of the model does. */
function stampOf(resolved: ResolvedModel): string {
  const paths = resolved.format === "gguf" ? shardPaths(resolved.path) : [resolved.path];
  const stats = paths.map((path) => {
    const stat = statOf(path);
    return `${path}:${stat?.size ?? 0}:${stat?.mtimeMs ?? 0}`;
  });
  return [...stats, resolved.modified, resolved.digest ?? "", resolved.projector ?? ""].join("\n");
}

function describe(resolved: ResolvedModel, file: ModelFile, stamp: string): ModelInfo {
  const { layers = {} } = resolved;
  const read = file.config ? fromConfig(file) : fromMetadata(file);
  const facts = { ...read, template: overridingTemplate(layers.template, layers.templateChosen) ?? read.template ?? layers.template };
  return {
    name: resolved.name,
    path: resolved.path,
    format: file.format,
    architecture: facts.architecture,
    parameters: countParameters(file),
    fileBytes: file.fileBytes,
    quantization: facts.quantization ?? dominantType(file),
    contextLength: facts.contextLength,
    embeddingLength: facts.embeddingLength,
    capabilities: capabilities(facts, resolved),
    modified: new Date(resolved.modified).toISOString(),
    digest: resolved.digest ?? new Bun.CryptoHasher("sha256").update(stamp).digest("hex"),
    template: facts.template,
    preset: presetOf(layers),
    license: layers.license ?? facts.license,
    metadata: facts.metadata,
  };
}

function presetOf({ system, messages, params: parameters }: OllamaLayers): ModelInfo["preset"] {
  return system || messages?.length || parameters ? { system, messages, parameters } : undefined;
}

interface Facts {
  architecture: string;
  quantization?: string;
  contextLength: number;
  embeddingLength: number;
  /** The Jinja chat template. */
  template?: string;
  license?: string;
  embedding: boolean;
  vision: boolean;
  insert: boolean;
  metadata: Record<string, unknown>;
}

function fromMetadata({ metadata }: ModelFile): Facts {
  const text = (key: string) => asText(metadata.get(key));
  const architecture = text("general.architecture") ?? "unknown";
  const number = (key: string) => asNumber(metadata.get(`${architecture}.${key}`));
  const fileType = asNumber(metadata.get("general.file_type"));
  return {
    architecture,
    quantization: fileType === undefined ? undefined : FILE_TYPES[fileType & ~GUESSED],
    contextLength: number("context_length") ?? 0,
    embeddingLength: number("embedding_length") ?? 0,
    template: text("tokenizer.chat_template"),
    license: text("general.license.name") ?? text("general.license"),
    embedding: EMBEDDING_ARCHITECTURES.test(architecture) || metadata.has(`${architecture}.pooling_type`),
    vision: [...metadata.keys()].some((key) => key.startsWith(`${architecture}.vision.`)),
    insert: metadata.has("tokenizer.ggml.fim_mid_token_id") || metadata.has("tokenizer.ggml.middle_token_id"),
    metadata: listed(metadata),
  };
}

function fromConfig({ config: files }: ModelFile): Facts {
  const config = files?.config ?? {};
  // Multimodal checkpoints keep the language model's sizes one level down.
  const inner = isObject(config.text_config) ? { ...config, ...config.text_config } : config;
  const number = (...keys: string[]) => keys.map((key) => asNumber(inner[key])).find((n) => n !== undefined);
  const architecture = asText(config.model_type) ?? "unknown";
  const contextLength = number("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len") ?? 0;
  const embeddingLength = number("hidden_size", "n_embd", "d_model") ?? 0;
  const template = files?.chatTemplate;
  return {
    architecture,
    quantization: configQuantization(config),
    contextLength,
    embeddingLength,
    template: typeof template === "object" ? (template.default ?? Object.values(template)[0]) : template,
    embedding: EMBEDDING_ARCHITECTURES.test(architecture),
    vision: isObject(config.vision_config),
    insert: false,
    metadata: {
      "general.architecture": architecture,
      [`${architecture}.context_length`]: contextLength,
      [`${architecture}.embedding_length`]: embeddingLength,
      [`${architecture}.block_count`]: number("num_hidden_layers", "n_layer") ?? 0,
      [`${architecture}.attention.head_count`]: number("num_attention_heads", "n_head") ?? 0,
      [`${architecture}.vocab_size`]: number("vocab_size") ?? 0,
    },
  };
}

function configQuantization(config: Record<string, unknown>): string | undefined {
  const quantization = config.quantization_config;
  return isObject(quantization) ? asText(quantization.quant_method)?.toUpperCase() : undefined;
}

function capabilities(facts: Facts, { projector }: ResolvedModel): ModelInfo["capabilities"] {
  if (facts.embedding) return ["embedding"];
  const template = facts.template ?? "";
  const found: ModelInfo["capabilities"] = ["completion"];
  if (/\btools\b|\.Tools\b/.test(template)) found.push("tools");
  // How templates speak of reasoning: a switch, think tags, or gpt-oss's analysis channel.
  if (/enable_thinking|\.IsThinkSet|<\/?think|reasoning_content|reasoning_effort|<\|channel\|>/.test(template)) found.push("thinking");
  if (facts.vision || projector) found.push("vision");
  if (facts.insert) found.push("insert");
  return found;
}

/** Number of weights. MXFP4 in Hugging Face files is bytes of two weights each (`*_blocks`) beside their `*_scales`. */
function countParameters({ format, tensors }: ModelFile): number {
  let sum = 0;
  for (const tensor of tensors.values()) {
    const packed = format === "huggingface" && tensor.type === "u8";
    if (packed && tensor.name.endsWith("_scales")) continue;
    sum += elementCount(tensor) * (packed && tensor.name.endsWith("_blocks") ? 2 : 1);
  }
  return sum;
}

/** The type that most bytes of weights have. */
function dominantType({ tensors }: ModelFile): string {
  const bytes = new Map<TensorType, number>();
  for (const tensor of tensors.values()) bytes.set(tensor.type, (bytes.get(tensor.type) ?? 0) + tensor.bytes);
  const [type] = [...bytes].toSorted((a, b) => b[1] - a[1])[0] ?? ["unknown"];
  return type.toUpperCase();
}

/** Metadata as JSON can hold it: without the chat template, long arrays as null. */
function listed(metadata: ReadonlyMap<string, MetaValue>): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const key of metadata.keys()) {
    // Vocabularies are decoded when asked for: so do not ask.
    if (key.startsWith("tokenizer.chat_template")) continue;
    result[key] = key.startsWith("tokenizer.") && isVocabulary(key) ? null : jsonValue(metadata.get(key));
  }
  return result;
}

function isVocabulary(key: string): boolean {
  return /\.(?:tokens|merges|scores|token_type|precompiled_charsmap)$/.test(key);
}

function jsonValue(value: MetaValue | undefined): unknown {
  if (typeof value === "bigint") return Number(value);
  if (typeof value !== "object") return value;
  return value.length > MAX_LISTED_ITEMS ? null : Array.from<MetaValue, unknown>(value as ArrayLike<MetaValue>, jsonValue);
}

function asNumber(value: unknown): number | undefined {
  if (typeof value === "number" || typeof value === "bigint") return Number(value);
  return undefined;
}

function asText(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}
