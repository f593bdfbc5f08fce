/**
 * What the graph asks of kernels, whatever the device: one `KernelSet` for CPUs (./cpu.ts) and one for GPUs (./gpu/index.ts), chosen in
 * ./choice.ts and nowhere else. An op's lowering says what it wants; the set answers with dispatches.
 */
import type { AnyKernel } from "../src/compiler/language/index.ts";
import type { TensorType } from "../src/formats/weights.ts";
import type { FloatType, Span } from "./families.ts";
import type { KvType } from "./kv-cache.ts";
import type { Activation } from "./elementwise.ts";
import type { DeviceBuffer, Dispatch, Program, Slot } from "../src/runtime/device.ts";

export type ConstexprValues = Record<string, number | string | boolean>;

export interface KernelContext {
  program(kernel: AnyKernel, constexprs: ConstexprValues): Program;
  /** Threads that share the programs of a dispatch, on a CPU: more programs than a few for each gain nothing. Default 1. */
  readonly threads?: number;
}

/** A context that can also compute values of a step when a plan runs. */
export interface StepContext extends KernelContext {
  slot(key: string, f: (sizes: Readonly<Record<string, number>>) => number): Slot;
}

/** A context with memory that is valid within one op's dispatches: exactly so many bytes. */
export interface OpContext extends StepContext {
  scratch(bytes: number): DeviceBuffer;
}

export interface WeightShape {
  type: TensorType;
  /** Rows (output features). */
  n: number;
  /** Columns (input features). */
  k: number;
}

export interface LinearOptions extends WeightShape {
  /** The weight, packed if the set packs it. */
  w: DeviceBuffer;
  packed?: boolean;
  /** Activations [T, k]: f32, and quantised for packed weights. */
  x: DeviceBuffer;
  xq?: DeviceBuffer;
  /** Result: y[token * yStride + yOffset + row]. */
  y: DeviceBuffer;
  yStride: number;
  yOffset: number;
  T: Slot | number;
  maxT: number;
  /** Names the size that T holds, for grids. */
  rows: string;
  /** f32 [n]. */
  bias?: DeviceBuffer;
  /** f32, laid out as y; may be y. */
  residual?: DeviceBuffer;
}

/** What rows are computed from on the way to their quantised form: RMSNorm by w, or act(gate) · up of rows [gate, up]. */
export type QuantizeSource = { kind: "norm"; w: DeviceBuffer; eps: number } | { kind: "gated"; act: Activation };

export interface QuantizeOptions {
  /** [T, k] f32, or what `source` takes: [T, k] or [T, 2k]. */
  x: DeviceBuffer;
  /** Only where the kernels take sources for so many tokens. */
  source?: QuantizeSource;
  xq: DeviceBuffer;
  T: Slot | number;
  maxT: number;
  k: number;
  /** Values that share a scale. */
  span: Span;
  /** Names the size that T holds, for grids. */
  rows: string;
}

export interface AttentionOptions {
  phase: "prefill" | "decode";
  /** Elements of a head, query heads per KV head, KV heads. */
  D: number;
  G: number;
  KVH: number;
  kv: KvType;
  /** Rows of queries, keys and values [T, stride], heads from `column` on. */
  q: DeviceBuffer;
  stride: number;
  column: number;
  /** The layer's cache (layout: ./kv-cache.ts). */
  keys: DeviceBuffer;
  values: DeviceBuffer;
  /** int32 [tiles][4]: first token, tokens, position of the first, start of the sequence's ids in `table`. */
  tiles: DeviceBuffer;
  table: DeviceBuffer;
  /** f32, one logit per query head. */
  sinks?: DeviceBuffer;
  /** [T, KVH · G · D]. */
  y: DeviceBuffer;
  /** How many tiles this step has, and at most. */
  count: Slot | number;
  maxCount: number;
  /** Sliding window in tokens; 0: none. */
  window: number;
  scale: number;
  /** Scores become cap · tanh(score / cap); 0: off. */
  softcap: number;
}

/** Programs' sizes of the simple kernels, as constexprs. */
export interface BlockSizes {
  /** Columns per program of the elementwise kernels. */
  elementwise: number;
  /** Columns per step of a norm. */
  norm: number;
  /** Pairs per step of the rotary embedding. */
  rope: number;
  /** Elements per step of the KV store, and tokens per program. */
  kvStore: { lanes: number; tokens: number };
}

/** How a kind of device computes what the graph asks for. */
export interface KernelSet {
  readonly name: "cpu" | "gpu";
  /** Tokens of a step by default. */
  readonly batchTokens: number;
  /** Types of weights that are multiplied in float32 throughout: what the exact mode reads in place. */
  readonly exactTypes: readonly FloatType[];
  readonly blocks: BlockSizes;
  /** Constexprs of the sampling kernels (./sample.ts). */
  readonly sampling: { partials: ConstexprValues; rows: ConstexprValues };
  /**
   * Whether mapped pages may be given back to the system between steps: not where a GPU has them mapped too, and nothing is gained where
   * weights are read in place.
   */
  readonly releasesPages: boolean;
  /**
   * How many values of the quantised activations of a weight share a scale, where linear layers take it packed; 0: it is read as it lies in
   * the file.
   */
  packs(shape: WeightShape): Span | 0;
  quantize(ctx: StepContext, o: QuantizeOptions): Dispatch[];
  /** Whether `quantize` takes sources in plans of at most so many tokens. */
  takesSources(maxTokens: number): boolean;
  /** Bytes of the quantised form of [maxTokens, k] activations. */
  quantizedBytes(maxTokens: number, k: number): number;
  /** y = x Wᵀ (+ bias) (+ residual). */
  linear(ctx: StepContext, o: LinearOptions): Dispatch[];
  /** Tokens of a full prefill tile with G query heads per KV head and D elements per head. */
  prefillTokens(G: number, D: number): number;
  /** Causal attention of `count` tiles over the paged cache. */
  attention(ctx: OpContext, o: AttentionOptions): Dispatch[];
}
