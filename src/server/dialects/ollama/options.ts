/** `options` of the Ollama dialect (spec 4.1). Unknown keys are ignored; so are hints that only concern loading. */
import type { SamplingParams } from "../../../engine/api.ts";
import { AlloyError } from "../../../support/errors.ts";
import { setSampling } from "../../sampling.ts";

export interface ParsedOptions {
  sampling: Partial<SamplingParams>;
  /** Undefined: to the window's end. */
  maxTokens?: number;
  stop?: string[];
  contextLimit?: number;
}

type Kind = "integer" | "float32" | "array";

const KINDS: Record<string, Kind> = {
  num_ctx: "integer",
  num_predict: "integer",
  top_k: "integer",
  repeat_last_n: "integer",
  seed: "integer",
  temperature: "float32",
  top_p: "float32",
  min_p: "float32",
  repeat_penalty: "float32",
  presence_penalty: "float32",
  frequency_penalty: "float32",
  stop: "array",
};

/** Throws `invalid_type` with Ollama's text: `option "top_k" must be of type integer`. */
export function parseOptions(options: Record<string, unknown> | null | undefined): ParsedOptions {
  const known: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(options ?? {})) {
    if (value === null || value === undefined || !Object.hasOwn(KINDS, key)) continue;
    known[key] = typed(key, KINDS[key], value);
  }
  const number = (key: string) => known[key] as number | undefined;
  const sampling = setSampling({
    temperature: number("temperature"),
    topK: number("top_k"),
    topP: number("top_p"),
    minP: number("min_p"),
    repeatPenalty: number("repeat_penalty"),
    repeatLastN: number("repeat_last_n"),
    presencePenalty: number("presence_penalty"),
    frequencyPenalty: number("frequency_penalty"),
    seed: known.seed === -1 ? undefined : number("seed"),
  });
  const predict = number("num_predict");
  const stop = (known.stop as string[] | undefined)?.filter((s) => s !== "");
  const window = number("num_ctx");
  return {
    sampling,
    maxTokens: predict === undefined || predict < 0 ? undefined : predict,
    stop: stop?.length ? stop : undefined,
    contextLimit: window === undefined || window <= 0 ? undefined : window,
  };
}

function typed(key: string, kind: Kind, value: unknown): unknown {
  if (kind === "array") {
    const list = typeof value === "string" ? [value] : value; // litellm sends a bare string
    if (Array.isArray(list) && list.every((s) => typeof s === "string")) return list;
  } else if (typeof value === "number") return kind === "integer" ? Math.trunc(value) : value;
  throw new AlloyError("invalid_type", `option "${key}" must be of type ${kind}`, { param: `options.${key}` });
}
