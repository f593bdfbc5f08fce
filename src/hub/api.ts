/** What a model reference resolves to: files on this machine, and where they came from. */

import type { ModelName } from "./names.ts";

export type ModelSource = "path" | "demo" | "alloy" | "ollama" | "huggingface";

export interface ResolvedModel {
  /** The name to show and to ask for: `qwen3:latest`, `org/repo:Q4_K_M`, `demo`, or the path for a path. */
  name: string;
  source: ModelSource;
  /** GGUF file (first shard of a split one) or Hugging Face folder. */
  path: string;
  format: "gguf" | "huggingface";
  /** Time of the last change, milliseconds since epoch. */
  modified: number;
  /** Hex SHA-256 where the store knows one: of the manifest for Ollama, of the file for Hugging Face. */
  digest?: string;
  /** Path of a vision or audio projector (mmproj) that belongs to the model. */
  projector?: string;
  /** What a model with a manifest carries beside its weights. */
  layers?: OllamaLayers;
  /** The stored name of a model with a manifest. */
  manifest?: ModelName;
}

/** The small layers of a model in a store with manifests. */
export interface OllamaLayers {
  /** Prompt template, in Jinja or in Go's template language. See ./template.ts for which one is rendered. */
  template?: string;
  /** Somebody made the model with this template, rather than publishing it with the weights. */
  templateChosen?: boolean;
  system?: string;
  /** Default parameters as `PARAMETER` lines gave them: `{ temperature: 0.6, stop: ["..."] }`. */
  params?: Record<string, unknown>;
  license?: string;
  /** Messages that every conversation starts with. */
  messages?: { role: string; content: string }[];
  /** Paths of LoRA adapters. */
  adapters?: string[];
}

export interface HubOptions {
  /** Environment to take store folders from; `process.env` unless told. */
  env?: Readonly<Record<string, string | undefined>>;
  /** Whether a reference may be a path. A server says false for names that come from requests. Default true. */
  paths?: boolean;
}
