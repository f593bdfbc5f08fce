/** From a model description to its three graphs: embedding (tokens -> stream), body (stream -> hidden states, KV written), head (rows -> logits). */
import type { KvType } from "../../kernels/kv-cache.ts";
import { Graph } from "../graph/graph.ts";
import { add, gather, scale } from "../graph/ops/elementwise.ts";
import { embedding } from "../graph/ops/embedding.ts";
import { applyLinear } from "../graph/ops/linear.ts";
import { norm } from "../graph/ops/norm.ts";
import type { Tensor } from "../graph/tensor.ts";
import type { WeightStore } from "../graph/weights.ts";
import { type BuildContext, part } from "./build-context.ts";
import type { LayerConfig, LayerNames, ModelDescription } from "./config.ts";
import { buildGated } from "./ffns/gated.ts";
import { buildMlp } from "./ffns/mlp.ts";
import { buildAttention } from "./mixers/attention.ts";
import type { RopeConfig } from "./rope.ts";

export interface BuiltGraph {
  graph: Graph;
  result: Tensor;
}

export interface BuiltModel {
  embed: BuiltGraph;
  body: BuiltGraph;
  head: BuiltGraph;
  /** Distinct rotary embeddings; table i is the graph inputs `rope.i.cos` and `rope.i.sin`. */
  ropes: readonly RopeConfig[];
}

export function buildModel({ config, names }: ModelDescription, weights: WeightStore, kvType: KvType): BuiltModel {
  const ropes: RopeConfig[] = [];
  const keys: string[] = [];
  const ropeTable = (rope: RopeConfig | undefined, which: "cos" | "sin"): string => {
    if (!rope) return "rope.none";
    const key = JSON.stringify(rope);
    let i = keys.indexOf(key);
    if (i < 0) {
      i = keys.push(key) - 1;
      ropes.push(rope);
    }
    return `rope.${i}.${which}`;
  };
  const context = (g: Graph): BuildContext => ({ g, weights, config, kvType, ropeTable });

  weights.expect(names.embedding, [config.vocab, config.hidden]);
  const embed = new Graph();
  let embedded = embed.apply(embedding, [embed.input("tokens", ["T"], "i32")], {
    table: names.embedding,
    dim: config.hidden,
    scale: config.embeddingScale,
  });
  if (config.learnedPositions && names.positions) {
    const p = embed.apply(
      embedding,
      [embed.input("positions", ["T"], "i32")],
      { table: names.positions, dim: config.hidden, scale: 1 },
      "positions",
    );
    embedded = embed.apply(add, [embedded, p], { scale: 1 });
  }

  const body = new Graph();
  let x = body.input("embedded", ["T", config.hidden]);
  config.layers.forEach((layer, i) => {
    x = body.scope(`layers.${i}`, () => buildLayer(context(body), i, layer, names.layers[i], x));
  });

  const head = new Graph();
  let y = head.apply(gather, [head.input("hidden", ["T", config.hidden]), head.input("rows", ["R"], "i32")], {});
  y = head.apply(norm, [y], { weight: names.finalNorm, bias: names.finalNormBias, eps: config.norm.eps }, "final_norm");
  y = applyLinear(head, weights, y, [part(names.output ?? { weight: names.embedding }, config.vocab)], { label: "output" });
  if (config.logitScale !== 1 || config.logitSoftcap > 0)
    y = head.apply(scale, [y], { scale: config.logitScale, softcap: config.logitSoftcap });
  return { embed: { graph: embed, result: embedded }, body: { graph: body, result: x }, head: { graph: head, result: y }, ropes };
}

/** Pre-norm block: x + mixer(norm(x)), then x + ffn(norm(x)). */
function buildLayer(b: BuildContext, i: number, layer: LayerConfig, names: LayerNames, x: Tensor): Tensor {
  const { g, config } = b;
  const { eps } = config.norm;
  // With a residual multiplier the projection cannot add by itself.
  const fused = config.residualScale === 1;
  const into = (stream: Tensor, branch: (residual?: Tensor) => Tensor): Tensor =>
    fused ? branch(stream) : g.apply(add, [stream, branch()], { scale: config.residualScale });

  const a = g.apply(norm, [x], { weight: names.mixerNorm, bias: names.mixerNormBias, eps }, "mixer_norm");
  const mid = into(x, (residual) => buildAttention(b, i, layer.mixer, names, a, residual));
  const f = g.apply(norm, [mid], { weight: names.ffnNorm, bias: names.ffnNormBias, eps }, "ffn_norm");
  const ffn = layer.ffn;
  return into(mid, (residual) => (ffn.kind === "mlp" ? buildMlp(b, ffn, names, f, residual) : buildGated(b, ffn, names, f, residual)));
}
