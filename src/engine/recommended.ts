/** Sampling parameters and stop strings that come with a model: in its file, or in the store that it lies in. */
import type { MetaValue, ModelFile } from "../formats/weights.ts";
import type { SamplingParams } from "./api.ts";

type Parameter = Exclude<keyof SamplingParams, "logitBias">;

/** `general.sampling.*` of GGUF. */
const GGUF: Readonly<Record<string, Parameter>> = {
  temp: "temperature",
  top_k: "topK",
  top_p: "topP",
  min_p: "minP",
  penalty_repeat: "repeatPenalty",
  penalty_last_n: "repeatLastN",
};

/** generation_config.json of Hugging Face. */
const GENERATION_CONFIG: Readonly<Record<string, Parameter>> = {
  temperature: "temperature",
  top_k: "topK",
  top_p: "topP",
  min_p: "minP",
  repetition_penalty: "repeatPenalty",
};

/** `PARAMETER` lines of an Ollama model. */
const OLLAMA: Readonly<Record<string, Parameter>> = {
  temperature: "temperature",
  top_k: "topK",
  top_p: "topP",
  min_p: "minP",
  repeat_penalty: "repeatPenalty",
  repeat_last_n: "repeatLastN",
  frequency_penalty: "frequencyPenalty",
  presence_penalty: "presencePenalty",
  seed: "seed",
};

/** What the model's makers recommend in its file. */
export function fileSampling(file: ModelFile): Partial<SamplingParams> {
  if (file.config) return pick(GENERATION_CONFIG, (key) => file.config?.generation?.[key]);
  return pick(GGUF, (key): MetaValue | undefined => file.metadata.get(`general.sampling.${key}`));
}

/** What an Ollama model's parameters say. */
export function ollamaSampling(params: Record<string, unknown> = {}): Partial<SamplingParams> {
  return pick(OLLAMA, (key) => params[key]);
}

export function ollamaStops(params: Record<string, unknown> = {}): string[] {
  const { stop } = params;
  return (Array.isArray(stop) ? stop : [stop]).filter((s): s is string => typeof s === "string" && s !== "");
}

/** What is no finite number is left out. */
function pick(names: Readonly<Record<string, Parameter>>, value: (key: string) => unknown): Partial<SamplingParams> {
  return Object.fromEntries(
    Object.entries(names).flatMap(([key, parameter]) => {
      const v = value(key);
      return typeof v === "number" && Number.isFinite(v) ? [[parameter, v]] : [];
    }),
  );
}
