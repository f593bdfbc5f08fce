/** From a request's sampling parameters to what the sampling kernel needs for one row, and log-probabilities back. */
import type { RowSampling } from "../models/api.ts";
import { AlloyError } from "../support/errors.ts";
import type { Tokenizer } from "../tokenizer/api.ts";
import { DEFAULT_SAMPLING, type SamplingParams, type TokenLogprob } from "./api.ts";

/** Entries of a request's logit bias; the sampling kernel's buffers are sized for it. */
export const MAX_LOGIT_BIAS = 1024;
/** Bias at or below this bans a token, as OpenAI defines it. */
const BAN = -100;

export type ResolvedSampling = SamplingParams & { seed: number };

/** The first of `layers` that sets a parameter wins; what none sets is Alloy's default. A missing seed is drawn at random. */
export function resolveSampling(layers: readonly Partial<SamplingParams>[], vocabSize: number): ResolvedSampling {
  const merged: SamplingParams = { ...DEFAULT_SAMPLING };
  for (const layer of [...layers].reverse()) {
    for (const [k, v] of Object.entries(layer)) if (v !== undefined) Object.assign(merged, { [k]: v });
  }
  const { logitBias, seed, ...numbers } = merged;
  for (const [name, value] of Object.entries(numbers)) {
    if (!Number.isFinite(value)) throw invalid(name, value, "give a finite number");
  }
  if (merged.temperature < 0) throw invalid("temperature", merged.temperature, "give 0 or more; 0 always takes the likeliest token");
  if (merged.repeatPenalty <= 0) throw invalid("repeatPenalty", merged.repeatPenalty, "give a number above 0; 1 turns it off");
  const entries = Object.entries(logitBias);
  if (entries.length > MAX_LOGIT_BIAS) {
    throw invalid("logitBias", `${entries.length} entries`, `give at most ${MAX_LOGIT_BIAS}`);
  }
  for (const [id, value] of entries) {
    if (!(Number.isInteger(Number(id)) && Number(id) >= 0 && Number(id) < vocabSize)) {
      throw invalid("logitBias", id, `token ids of this model run from 0 to ${vocabSize - 1}`);
    }
    if (Number.isNaN(value)) throw invalid("logitBias", value, "give a number from -100 to 100");
  }
  if (seed !== undefined && !Number.isFinite(seed)) throw invalid("seed", seed, "give a whole number");
  return { ...merged, seed: seed === undefined ? crypto.getRandomValues(new Uint32Array(1))[0] : Math.trunc(seed) };
}

function invalid(param: string, value: unknown, hint: string): AlloyError {
  return new AlloyError("invalid_value", `${param} is ${String(value)}`, { param, hint });
}

/** Low and high half of a seed as 64-bit two's complement. */
export function seedWords(seed: number): readonly [number, number] {
  const bits = BigInt.asUintN(64, BigInt(seed));
  return [Number(bits & 0xffffffffn), Number(bits >> 32n)];
}

/** Builds the rows of one sequence, keeping count of the tokens that penalties look at. */
export class RowBuilder {
  private readonly counts = new Map<number, number>();
  private readonly window: number;
  private readonly words: readonly [number, number];
  private readonly biasIds: Int32Array;
  private readonly biasValues: Float32Array;

  /** @param tokens the prompt; later tokens come through `add` */
  constructor(
    private readonly params: ResolvedSampling,
    tokens: Int32Array,
  ) {
    const neutral = params.repeatPenalty === 1 && params.frequencyPenalty === 0 && params.presencePenalty === 0;
    const { repeatLastN } = params;
    this.window = neutral ? 0 : repeatLastN < 0 ? Infinity : repeatLastN;
    this.words = seedWords(params.seed);
    const bias = Object.entries(params.logitBias);
    this.biasIds = Int32Array.from(bias, ([id]) => Number(id));
    this.biasValues = Float32Array.from(bias, ([, v]) => (v <= BAN ? -Infinity : v));
    for (let i = Math.max(0, tokens.length - this.window); i < tokens.length; i++) this.count(tokens[i], 1);
  }

  /** Accounts for `tokens[length - 1]`, which was just generated. */
  add(tokens: Int32Array, length: number): void {
    if (this.window === 0) return;
    this.count(tokens[length - 1], 1);
    if (length > this.window) this.count(tokens[length - 1 - this.window], -1);
  }

  /** @param counter index of the token to be drawn among the generated ones */
  row(counter: number): RowSampling {
    const { temperature, topK, topP, minP, repeatPenalty, frequencyPenalty, presencePenalty } = this.params;
    return {
      temperature,
      topK,
      topP,
      minP,
      repeatPenalty,
      frequencyPenalty,
      presencePenalty,
      penaltyIds: Int32Array.from(this.counts.keys()),
      penaltyCounts: Int32Array.from(this.counts.values()),
      biasIds: this.biasIds,
      biasValues: this.biasValues,
      seed: this.words,
      counter,
    };
  }

  private count(id: number, by: number): void {
    const n = (this.counts.get(id) ?? 0) + by;
    if (n === 0) this.counts.delete(id);
    else this.counts.set(id, n);
  }
}

/** The chosen token's log-probability and those of the `top` likeliest, over the raw logits. */
export function tokenLogprob(id: number, logits: Float32Array, logSumExp: number, top: number, tokenizer: Tokenizer): TokenLogprob {
  const entry = (token: number): { id: number; token: string; bytes: number[]; logprob: number } => {
    const bytes = tokenizer.bytes(token);
    return { id: token, token: new TextDecoder().decode(bytes), bytes: [...bytes], logprob: finite(logits[token] - logSumExp) };
  };
  return { ...entry(id), top: likeliest(logits, top).map(entry) };
}

/** Ids of the `n` largest values, largest first, lowest id first among equals. */
function likeliest(logits: Float32Array, n: number): number[] {
  const best: number[] = [];
  if (n <= 0) return best;
  for (let id = 0; id < logits.length; id++) {
    const v = logits[id];
    if (best.length === n && !(v > logits[best[n - 1]])) continue;
    if (Number.isNaN(v)) continue;
    let at = best.length;
    while (at > 0 && v > logits[best[at - 1]]) at--;
    best.splice(at, 0, id);
    if (best.length > n) best.pop();
  }
  return best;
}

/** JSON has no infinity: a token of probability zero gets what other servers send. */
const finite = (logprob: number): number => (Number.isFinite(logprob) ? logprob : -9999);
