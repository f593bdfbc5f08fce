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
/** The shortest context that is worth loading a model for. */
const MIN_CONTEXT = 512;

/** Plans a model's memory. Throws `out_of_memory` when even a short context does not fit, or the asked one does not. */
export function planMemory(r: MemoryRequest): MemoryPlan {
  const { kvBytesPerToken, contextLength: trained, weightBytes } = r.sizes;
  const fixed = weightBytes + WORKING_BYTES;
  const left = Math.max(0, r.free - fixed);
  const least = Math.min(r.contextLength ?? MIN_CONTEXT, trained);
  if (fixed + least * kvBytesPerToken > r.free) throw tooLarge(r, fixed + least * kvBytesPerToken, least);
  const tokens = (share: number): number => Math.floor((left * share) / kvBytesPerToken);
  const longest = tokens(r.cacheShare ?? CONTEXT_SHARE);
  const contextLength = r.contextLength === undefined ? Math.max(least, Math.min(trained, longest)) : least;
  const wanted = contextLength * Math.max(LEAST_CONTEXTS, r.parallel);
  const kvTokens = Math.max(contextLength, r.cacheShare === undefined ? Math.min(wanted, tokens(CACHE_SHARE)) : longest);
  return { contextLength, kvTokens, bytes: fixed + kvTokens * kvBytesPerToken };
}

function tooLarge(r: MemoryRequest, needed: number, context: number): AlloyError {
  const canShrink = r.contextLength !== undefined && r.sizes.weightBytes + WORKING_BYTES + MIN_CONTEXT * r.sizes.kvBytesPerToken <= r.free;
  return new AlloyError(
    "out_of_memory",
    `${r.model} needs ${gib(needed)} (${gib(r.sizes.weightBytes)} of weights, and the cache for a context of ${context} tokens), and ${gib(r.free)} is free`,
    {
      hint: canShrink ? "ask for a shorter context" : "close other programs, or take a smaller model or quantisation",
      data: { needed, free: r.free, context },
    },
  );
}

const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(bytes < 2 ** 30 ? 2 : 1)} GiB`;
