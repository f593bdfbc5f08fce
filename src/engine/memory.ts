/** How long a context and how large a KV cache a model gets, given the memory that is free. */
import { AlloyError } from "../support/errors.ts";
import type { ModelSizes } from "./parts.ts";

export interface MemoryRequest {
  model: string;
  sizes: ModelSizes;
  /** Asked for by the user; undefined: what the model allows and memory holds. */
  contextLength?: number;
  parallel: number;
  free: number;
  /** What is left of a budget for all models, and the whole of it. */
  budget?: { left: number; of: number };
  /** Refuse rather than make do with a short context that nobody asked for. */
  roomy?: boolean;
  /** Part of the free memory, after the weights, that the cache takes. Undefined: up to a quarter, and no more than requests can use. */
  cacheShare?: number;
}

export interface MemoryPlan {
  contextLength: number;
  kvTokens: number;
  /** Expected in all: weights, KV cache, working memory. */
  bytes: number;
}

/** Activations, packed copies of small tensors, the tokenizer. */
const WORKING_BYTES = 64 * 2 ** 20;
/** Parts of the free memory, after the weights, that one context takes at most when nobody asked for a length, and all of them together. */
const CONTEXT_SHARE = 0.5;
const CACHE_SHARE = 0.25;
/** However few requests run at once: cached prefixes of other conversations should find room beside them. */
const LEAST_CONTEXTS = 4;
/** The shortest context that is worth loading a model for, and worth unloading another one for. */
const MIN_CONTEXT = 512;
const ROOMY_CONTEXT = 8192;

/** Plans a model's memory. Throws `out_of_memory` when even a short context does not fit, or the asked one does not. */
export function planMemory(r: MemoryRequest): MemoryPlan {
  const { kvBytesPerToken, contextLength: trained, weightBytes } = r.sizes;
  const fixed = weightBytes + WORKING_BYTES;
  const free = Math.min(r.free, r.budget?.left ?? Infinity);
  const left = Math.max(0, free - fixed);
  const least = Math.min(r.contextLength ?? MIN_CONTEXT, trained);
  if (fixed + least * kvBytesPerToken > free) throw tooLarge(r, free, fixed + least * kvBytesPerToken, least);
  const tokens = (share: number): number => Math.floor((left * share) / kvBytesPerToken);
  const longest = tokens(r.cacheShare ?? CONTEXT_SHARE);
  const contextLength = r.contextLength === undefined ? Math.max(least, Math.min(trained, longest)) : least;
  const roomy = Math.min(ROOMY_CONTEXT, trained);
  if (r.roomy && r.contextLength === undefined && contextLength < roomy)
    throw tooLarge(r, free, fixed + (roomy * kvBytesPerToken) / (r.cacheShare ?? CONTEXT_SHARE), roomy);
  const wanted = contextLength * Math.max(LEAST_CONTEXTS, r.parallel);
  const kvTokens = Math.max(contextLength, r.cacheShare === undefined ? Math.min(wanted, tokens(CACHE_SHARE)) : longest);
  return { contextLength, kvTokens, bytes: fixed + kvTokens * kvBytesPerToken };
}

function tooLarge(r: MemoryRequest, free: number, needed: number, context: number): AlloyError {
  const canShrink = r.contextLength !== undefined && r.sizes.weightBytes + WORKING_BYTES + MIN_CONTEXT * r.sizes.kvBytesPerToken <= free;
  const budgeted = r.budget !== undefined && r.budget.left <= r.free && r.budget.of !== Infinity;
  const room = budgeted ? `${gib(free)} of the ${gib(r.budget!.of)} for models is free` : `${gib(free)} is free`;
  const more = budgeted ? "raise --memory" : "close other programs";
  return new AlloyError(
    "out_of_memory",
    `${r.model} needs ${gib(needed)} (${gib(r.sizes.weightBytes)} of weights, and the cache for a context of ${context} tokens), and ${room}`,
    {
      hint: canShrink ? "ask for a shorter context" : `${more}, or take a smaller model or quantisation`,
      data: { needed, free, context },
    },
  );
}

/** Bytes in words. */
export const gib = (bytes: number): string =>
  bytes < 2 ** 30 ? `${Math.round(bytes / 2 ** 20)} MiB` : `${(bytes / 2 ** 30).toFixed(1)} GiB`;
