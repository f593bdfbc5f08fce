/** Sampling defaults: request field, then what the model's file recommends, then the dialect's default (spec 1.13). */
import type { ModelInfo, SamplingParams } from "../engine/api.ts";

/** Ollama's defaults; OpenAI's and Anthropic's are the engine's own (temperature 1, nothing cut off). */
export const OLLAMA_SAMPLING: Partial<SamplingParams> = {
  temperature: 0.8,
  topP: 0.9,
  topK: 40,
  minP: 0,
  repeatPenalty: 1,
  repeatLastN: 64,
};

/** GGUF keys under which a model's file recommends sampling settings. */
const METADATA_KEYS: [string, keyof SamplingParams][] = [
  ["general.sampling.temp", "temperature"],
  ["general.sampling.top_k", "topK"],
  ["general.sampling.top_p", "topP"],
  ["general.sampling.min_p", "minP"],
  ["general.sampling.penalty_repeat", "repeatPenalty"],
  ["general.sampling.penalty_last_n", "repeatLastN"],
];

/** `requested` over the model's recommendation over `defaults`; null and undefined fields count as absent. */
export function samplingFor(
  info: ModelInfo,
  defaults: Partial<SamplingParams>,
  requested: { [K in keyof SamplingParams]?: SamplingParams[K] | null },
): Partial<SamplingParams> {
  const result: Record<string, unknown> = { ...defaults };
  for (const [key, field] of METADATA_KEYS) if (typeof info.metadata[key] === "number") result[field] = info.metadata[key];
  for (const [field, value] of Object.entries(requested)) if (value !== undefined && value !== null) result[field] = value;
  return result;
}
