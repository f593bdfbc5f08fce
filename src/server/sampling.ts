/** Sampling fields of requests, and the defaults of the dialects (spec 1.13). */
import type { SamplingParams } from "../engine/api.ts";

/**
 * Ollama's defaults, for what neither the request nor the model's file says; OpenAI's and Anthropic's are the engine's own
 * (temperature 1, nothing cut off).
 */
export const OLLAMA_SAMPLING: Partial<SamplingParams> = {
  temperature: 0.8,
  topP: 0.9,
  topK: 40,
  minP: 0,
  repeatPenalty: 1,
  repeatLastN: 64,
};

/** The fields that a request sets: null and undefined count as absent. */
export function setSampling(fields: { [K in keyof SamplingParams]?: SamplingParams[K] | null }): Partial<SamplingParams> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined && value !== null));
}
