/** Rotary embedding settings as GGUF files and config.json files (transformers 4 and 5) write them. */
import { dequantize } from "../../formats/quant/table.ts";
import { bytesAt } from "../../formats/mmap.ts";
import type { ModelFile } from "../../formats/weights.ts";
import { AlloyError } from "../../support/errors.ts";
import type { RopeConfig, RopeScaling } from "../rope.ts";
import { type Fields, nestedFields } from "./fields.ts";

/** GGUF: rope.freq_base, rope.dimension_count, rope.scaling.*, and the divisor tensors rope_freqs / rope_factors_{short,long}. */
export function ggufRope(f: Fields, headDim: number, contextLength: number): RopeConfig {
  const base = f.number("rope.freq_base", 10000);
  const dim = f.number("rope.dimension_count", headDim);
  const originalContext = f.number("rope.scaling.original_context_length", contextLength);
  const short = tensorValues(f.file, "rope_factors_short.weight");
  const long = tensorValues(f.file, "rope_factors_long.weight");
  if (short && long) {
    const factor = contextLength / originalContext;
    const attentionFactor = f.number("rope.scaling.attn_factor", longropeMagnitude(factor, originalContext));
    return { base, dim, scaling: { type: "longrope", shortFactors: short, longFactors: long, originalContext, attentionFactor } };
  }
  const factors = tensorValues(f.file, "rope_freqs.weight");
  if (factors) return { base, dim, scaling: { type: "factors", factors } };
  const factor = f.optional("rope.scaling.factor") ?? f.optional("rope.scale_linear") ?? 1;
  const type = f.text("rope.scaling.type") ?? (factor !== 1 ? "linear" : "none");
  return { base, dim, scaling: ggufScaling(f, type, factor, originalContext) };
}

function ggufScaling(f: Fields, type: string, factor: number, originalContext: number): RopeScaling {
  if (type === "none" || factor <= 0) return { type: "none" };
  if (type === "linear") return factor === 1 ? { type: "none" } : { type: "linear", factor };
  if (type === "yarn") {
    return {
      type: "yarn",
      factor,
      originalContext,
      betaFast: f.number("rope.scaling.yarn_beta_fast", 32),
      betaSlow: f.number("rope.scaling.yarn_beta_slow", 1),
      attentionFactor: f.optional("rope.scaling.attn_factor"),
      truncate: true,
    };
  }
  throw unknownScaling(f, type);
}

/** config.json: rope_theta + rope_scaling (older) or rope_parameters (transformers 5). */
export function hfRope(f: Fields, headDim: number, contextLength: number): RopeConfig {
  const object = f.object("rope_parameters") ?? f.object("rope_scaling");
  const name = f.object("rope_parameters") ? "rope_parameters" : "rope_scaling";
  const s = object ? nestedFields(f, object, name) : undefined;
  const base = s?.optional("rope_theta") ?? f.number("rope_theta", 10000);
  const partial = s?.optional("partial_rotary_factor") ?? f.number("partial_rotary_factor", 1);
  const dim = 2 * Math.floor((headDim * partial) / 2);
  return { base, dim, scaling: s ? hfScaling(f, s, contextLength) : { type: "none" } };
}

function hfScaling(f: Fields, s: Fields, contextLength: number): RopeScaling {
  const type = s.text("rope_type") ?? s.text("type") ?? "default";
  const originalContext = s.optional("original_max_position_embeddings") ?? f.number("original_max_position_embeddings", contextLength);
  switch (type) {
    case "default":
      return { type: "none" };
    case "linear":
      return { type: "linear", factor: s.number("factor") };
    case "llama3":
      return {
        type: "llama3",
        factor: s.number("factor"),
        lowFreqFactor: s.number("low_freq_factor"),
        highFreqFactor: s.number("high_freq_factor"),
        originalContext,
      };
    case "yarn":
      return {
        type: "yarn",
        factor: s.number("factor"),
        originalContext,
        betaFast: s.number("beta_fast", 32),
        betaSlow: s.number("beta_slow", 1),
        attentionFactor: s.optional("attention_factor"),
        truncate: s.flag("truncate", true),
      };
    case "longrope":
    case "su": {
      const shortFactors = s.numbers("short_factor");
      const longFactors = s.numbers("long_factor");
      if (!shortFactors || !longFactors)
        throw new AlloyError("bad_file", `${f.file.path}: ${type} rope scaling needs short_factor and long_factor`);
      const factor = f.object("rope_parameters") ? s.number("factor", contextLength / originalContext) : contextLength / originalContext;
      const attentionFactor = s.optional("attention_factor") ?? longropeMagnitude(factor, originalContext);
      return { type: "longrope", shortFactors, longFactors, originalContext, attentionFactor };
    }
    default:
      throw unknownScaling(f, type);
  }
}

const longropeMagnitude = (factor: number, originalContext: number): number =>
  factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(originalContext));

const unknownScaling = (f: Fields, type: string): AlloyError =>
  new AlloyError("unsupported_model", `${f.file.path}: rope scaling "${type}" is not known`, {
    hint: "Known are linear, llama3, yarn and longrope. Please report the model.",
  });

function tensorValues(file: ModelFile, name: string): number[] | undefined {
  const t = file.tensors.get(name);
  return (
    t && [
      ...dequantize(
        t.type,
        bytesAt(t.address, t.bytes),
        t.shape.reduce((a, b) => a * b, 1),
      ),
    ]
  );
}
