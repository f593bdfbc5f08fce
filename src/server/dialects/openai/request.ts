/** Request fields that chat completions and completions share. */
import { Type, type Static } from "@sinclair/typebox";
import type { ModelInfo, SamplingParams } from "../../../engine/api.ts";
import { AlloyError } from "../../../support/errors.ts";
import { setSampling } from "../../sampling.ts";
import { opt } from "../../validate.ts";
import { ConstraintFields } from "./constraint.ts";

/** Rough sampling ranges are OpenAI's own. */
export const SharedFields = {
  model: Type.String({ minLength: 1 }),
  stream: opt(Type.Boolean()),
  stream_options: opt(Type.Object({ include_usage: opt(Type.Boolean()) })),
  temperature: opt(Type.Number({ minimum: 0, maximum: 2 })),
  top_p: opt(Type.Number({ minimum: 0, maximum: 1 })),
  top_k: opt(Type.Integer({ minimum: -1 })),
  min_p: opt(Type.Number({ minimum: 0, maximum: 1 })),
  repeat_penalty: opt(Type.Number({ exclusiveMinimum: 0 })),
  repetition_penalty: opt(Type.Number({ exclusiveMinimum: 0 })),
  repeat_last_n: opt(Type.Integer({ minimum: -1 })),
  frequency_penalty: opt(Type.Number({ minimum: -2, maximum: 2 })),
  presence_penalty: opt(Type.Number({ minimum: -2, maximum: 2 })),
  seed: opt(Type.Integer()),
  stop: opt(Type.Union([Type.String(), Type.Array(Type.String(), { maxItems: 16 })])),
  n: opt(Type.Integer({ minimum: 1, maximum: 8 })),
  logit_bias: opt(Type.Record(Type.String(), Type.Number({ minimum: -100, maximum: 100 }))),
  ignore_eos: opt(Type.Boolean()),
  ...ConstraintFields,
  keep_alive: Type.Optional(Type.Unknown()),
};

const Shared = Type.Object(SharedFields);
export type Shared = Static<typeof Shared>;

/** Sampling parameters that a request sets: its own fields over `extra` (Ollama's `options`). */
export function openaiSampling(body: Shared, extra: Partial<SamplingParams> = {}): Partial<SamplingParams> {
  const own = setSampling({
    temperature: body.temperature,
    topP: body.top_p,
    topK: body.top_k === -1 ? 0 : body.top_k,
    minP: body.min_p,
    repeatPenalty: body.repeat_penalty ?? body.repetition_penalty,
    repeatLastN: body.repeat_last_n,
    frequencyPenalty: body.frequency_penalty,
    presencePenalty: body.presence_penalty,
    seed: body.seed === -1 ? undefined : body.seed,
    logitBias: logitBias(body.logit_bias),
  });
  return { ...extra, ...own };
}

/** Stop strings of a request; empty ones mean nothing and are dropped. */
export function stopStrings(stop: string | string[] | null | undefined): string[] | undefined {
  const list = (typeof stop === "string" ? [stop] : (stop ?? [])).filter((s) => s !== "");
  return list.length > 0 ? list : undefined;
}

export function requireCompletion(info: ModelInfo): void {
  if (info.capabilities.includes("completion")) return;
  throw new AlloyError("unsupported_capability", `the model '${info.name}' does not generate text`, { param: "model" });
}

/** Keys that are not token ids are ignored, as OpenAI does for words. */
function logitBias(bias: Record<string, number> | null | undefined): Record<number, number> | undefined {
  if (!bias) return undefined;
  return Object.fromEntries(Object.entries(bias).filter(([id]) => /^\d+$/.test(id)));
}
