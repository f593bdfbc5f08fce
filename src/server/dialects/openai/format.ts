/** Shapes that chat completions and completions share: usage, log-probabilities, timings, chunk envelopes. */
import type { Timings, TokenLogprob, Usage } from "../../../engine/api.ts";
import type { EndEvent } from "../../generation.ts";

/** JSON has no infinities; OpenAI sends this for tokens of probability zero. */
const MIN_LOGPROB = -9999;

export function usageOf(ends: EndEvent[], choicesPerPrompt = 1): object {
  // The choices of one prompt share its tokens, so the prompt counts once.
  const prompts = ends.filter((_, i) => i % choicesPerPrompt === 0);
  const sum = (of: EndEvent[], field: keyof Usage) => of.reduce((n, e) => n + e.usage[field], 0);
  const prompt = sum(prompts, "promptTokens");
  const completion = sum(ends, "completionTokens");
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    prompt_tokens_details: { cached_tokens: sum(prompts, "cachedTokens") },
    completion_tokens_details: { reasoning_tokens: sum(ends, "reasoningTokens") },
  };
}

/** llama.cpp's `timings` object. */
export function timingsOf({ usage, timings }: { usage: Usage; timings: Timings }): object {
  const prompt = usage.promptTokens - usage.cachedTokens;
  const rate = (n: number, ms: number) => (ms > 0 ? (n * 1000) / ms : 0);
  const each = (ms: number, n: number) => (n > 0 ? ms / n : 0);
  return {
    cache_n: usage.cachedTokens,
    prompt_n: prompt,
    prompt_ms: timings.prefill,
    prompt_per_token_ms: each(timings.prefill, prompt),
    prompt_per_second: rate(prompt, timings.prefill),
    predicted_n: usage.completionTokens,
    predicted_ms: timings.decode,
    predicted_per_token_ms: each(timings.decode, usage.completionTokens),
    predicted_per_second: rate(usage.completionTokens, timings.decode),
  };
}

export function logprobEntry(entry: TokenLogprob): object {
  const one = (t: { token: string; bytes: number[]; logprob: number }) => ({
    token: t.token,
    logprob: finite(t.logprob),
    bytes: t.bytes,
  });
  return { ...one(entry), top_logprobs: entry.top.map(one) };
}

export function finite(logprob: number): number {
  return Number.isFinite(logprob) ? Math.max(logprob, MIN_LOGPROB) : MIN_LOGPROB;
}

/** Writes chunks as JSON; the fields that all of them repeat are turned into text once. */
export function chunkWriter(repeated: object): (fields: object) => string {
  const head = JSON.stringify(repeated).slice(0, -1);
  return (fields) => `${head},${JSON.stringify(fields).slice(1)}`;
}

/** Fields that every chunk and response of one request repeats. */
export function envelope(id: string, object: string, model: string, version: string): Record<string, unknown> {
  return { id, object, created: Math.floor(Date.now() / 1000), model, system_fingerprint: `fp_alloy_${version}` };
}
