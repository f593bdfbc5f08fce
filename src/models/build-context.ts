/** What mixers and feed-forwards build with. */
import type { KvType } from "../../kernels/kv-cache.ts";
import type { LinearPart } from "../graph/ops/linear.ts";
import type { Graph } from "../graph/graph.ts";
import type { WeightStore } from "../graph/weights.ts";
import type { ModelConfig, ProjectionNames } from "./config.ts";
import type { RopeConfig } from "./rope.ts";

export interface BuildContext {
  g: Graph;
  weights: WeightStore;
  config: ModelConfig;
  kvType: KvType;
  /** Name of the graph input that holds this rope's table; equal ropes share one. */
  ropeTable(rope: RopeConfig | undefined, which: "cos" | "sin"): string;
}

export const part = (p: ProjectionNames, n: number): LinearPart => ({
  weight: p.transpose ? { name: p.weight, transpose: true } : { name: p.weight },
  bias: p.bias,
  n,
});
