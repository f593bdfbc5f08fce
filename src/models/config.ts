/** An architecture as data: for every depth a mixer and a feed-forward by name, plus sizes. Families make it from a file's metadata. */
import type { Activation } from "../../kernels/elementwise.ts";
import type { RopeConfig } from "./rope.ts";

/** Attention in its variants: grouped queries, q/k norm, biases, sliding window, sinks, no positions. */
export interface AttentionConfig {
  kind: "attention";
  heads: number;
  kvHeads: number;
  headDim: number;
  /** Multiplies the scores; usually 1/√headDim. */
  scale: number;
  /** Sliding window in tokens; 0: none. */
  window: number;
  /** undefined: this layer has no rotary positions. */
  rope?: RopeConfig;
  /** Pairs (2i, 2i+1) instead of (i, i + R/2). */
  interleaved: boolean;
  softcap: number;
}

/** Gated feed-forward: down(act(gate(x)) · up(x)). SwiGLU with silu, GeGLU with gelu. */
export interface GatedConfig {
  kind: "swiglu" | "geglu";
  size: number;
  act: Activation;
}

/** Plain two-layer MLP: down(act(up(x))). */
export interface MlpConfig {
  kind: "mlp";
  size: number;
  act: Activation;
}

export type MixerConfig = AttentionConfig;
export type FfnConfig = GatedConfig | MlpConfig;

export interface LayerConfig {
  mixer: MixerConfig;
  ffn: FfnConfig;
}

export interface ModelConfig {
  architecture: string;
  hidden: number;
  vocab: number;
  contextLength: number;
  layers: readonly LayerConfig[];
  norm: { kind: "rms" | "layer"; eps: number };
  /** Learned absolute positions (GPT-2). */
  learnedPositions: boolean;
  embeddingScale: number;
  /** Multiplies what each block adds to the residual stream. */
  residualScale: number;
  /** Multiplies the logits. */
  logitScale: number;
  logitSoftcap: number;
}

/** One projection: a tensor of the file, how it is stored, and its bias if the file has one. */
export interface ProjectionNames {
  weight: string;
  bias?: string;
  transpose?: boolean;
}

/** The file's tensor names of one layer, by role. Fused tensors replace their parts. */
export interface LayerNames {
  mixerNorm: string;
  mixerNormBias?: string;
  ffnNorm: string;
  ffnNormBias?: string;
  q?: ProjectionNames;
  k?: ProjectionNames;
  v?: ProjectionNames;
  /** q, k and v rows in one tensor. */
  qkv?: ProjectionNames;
  o: ProjectionNames;
  qNorm?: string;
  kNorm?: string;
  sinks?: string;
  gate?: ProjectionNames;
  up?: ProjectionNames;
  /** gate and up rows in one tensor. */
  gateUp?: ProjectionNames;
  down: ProjectionNames;
}

export interface ModelNames {
  embedding: string;
  positions?: string;
  finalNorm: string;
  finalNormBias?: string;
  /** Absent: the embedding table serves as output matrix (tied). */
  output?: ProjectionNames;
  layers: readonly LayerNames[];
}

export interface ModelDescription {
  config: ModelConfig;
  names: ModelNames;
}
