/** What the engine sees of a loaded model: a function from a ragged batch of tokens to sampled tokens and logits, over a paged KV cache. */
import type { KernelSet } from "../../kernels/api.ts";
import type { KvType } from "../../kernels/kv-cache.ts";
import type { ModelFile } from "../formats/weights.ts";
import type { CacheSettings } from "../graph/packed-cache.ts";
import type { Device } from "../runtime/device.ts";

export interface RunnerOptions {
  device: Device;
  /** Longest sequence in tokens; at most what the model was trained for unless rope scaling says more. */
  contextLength: number;
  /** Capacity of the KV cache in tokens over all sequences; rounded up to whole blocks. */
  kvTokens: number;
  /** Most tokens in one step (prefill chunk + decodes). Default 256 on a CPU (more adds memory, not speed), 512 on a GPU. */
  maxBatchTokens?: number;
  /** Most sequences in one step. Default 64. */
  maxSequences?: number;
  /**
   * "fast" multiplies quantised weights with int8 activations, as llama.cpp does; "exact" dequantises weights to float32 at load
   * (4 to 8 times the memory) and computes in float32, for comparing implementations. Default "fast".
   */
  precision?: "fast" | "exact";
  /** Default f16; exact runs use f32. */
  kvType?: KvType;
  /** Takes the kernels of another kind of device than `device`: to debug GPU kernels without a GPU. Slow. */
  kernels?: KernelSet["name"];
  /** Where packed weights are kept on disk. Default: as the environment says. */
  packedCache?: CacheSettings;
  /** Packed weights that are not on disk yet are written there after the first output. Default true. */
  writePacked?: boolean;
  onProgress?: (done: number, total: number) => void;
  /** Others need the thread meanwhile: no piece of the work takes longer than a short step. */
  gentle?: boolean;
}

/** How one output row is turned into a token. Greedy when temperature is 0. */
export interface RowSampling {
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
  repeatPenalty: number;
  frequencyPenalty: number;
  presencePenalty: number;
  /** Distinct token ids that penalties apply to, with how often each occurred. */
  penaltyIds: Int32Array;
  penaltyCounts: Int32Array;
  biasIds: Int32Array;
  biasValues: Float32Array;
  /** Permitted tokens: bit i % 32 of word i / 32 is token i's. Undefined: all. As long for every row of a step. */
  mask?: Int32Array;
  /** 64-bit seed as two u32, and the index of the token to be drawn: together they fix the random number. */
  seed: readonly [number, number];
  counter: number;
}

/** One sequence's part of a step. */
export interface SequenceStep {
  /** New tokens, at positions start .. start+tokens.length-1. */
  tokens: Int32Array;
  /** How many tokens of this sequence are in the cache already. */
  start: number;
  /** Block ids in order of position, covering at least start + tokens.length tokens. */
  blocks: Int32Array;
  /** Which of the new tokens produce an output row. */
  outputs: "none" | "last" | "all";
  /** Required when outputs is "last"; null returns logits only. */
  sampling: RowSampling | null;
}

export interface StepResult {
  /** Sampled token of each output row, in order of sequences and positions; -1 where sampling was null. */
  tokens: Int32Array;
  /** Natural log of the softmax normaliser of each row over the raw logits (before penalties and temperature): logprob = logit - lse. */
  logSumExp: Float32Array;
  /** Raw logits of an output row, float32[vocabSize]; the view is valid until the next step. */
  logits(row: number): Float32Array;
}

export interface ModelRunner {
  readonly architecture: string;
  readonly vocabSize: number;
  readonly contextLength: number;
  readonly maxBatchTokens: number;
  readonly maxSequences: number;
  /** Tokens per KV block and number of blocks. */
  readonly blockTokens: number;
  readonly blockCount: number;
  /** Bytes held beyond the mapped file: packed weights, KV cache, activations. */
  readonly memoryBytes: number;
  step(sequences: readonly SequenceStep[]): Promise<StepResult>;
  /** Copies all that block `from` of the cache holds to block `to`. Not while a step runs. */
  copyBlock(from: number, to: number): void;
  close(): void;
  /** As `close`, where others need the thread meanwhile. */
  closeGently?(): Promise<void>;
}

export type LoadRunner = (file: ModelFile, options: RunnerOptions) => Promise<ModelRunner>;
