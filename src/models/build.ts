/** From a model description to its three graphs: embedding (tokens -> stream), body (stream -> hidden states before the last layer, KV
 * written), head (rows -> logits). */
import type { KvType } from "../../kernels/kv-cache.ts";
import { Graph } from "../graph/graph.ts";
import { add, gather, scale } from "../graph/ops/elementwise.ts";
import { embedding } from "../graph/ops/embedding.ts";
import { fuseQuantized } from "../graph/fuse.ts";
import { applyLinear } from "../graph/ops/linear.ts";
import { norm } from "../graph/ops/norm.ts";
import type { Tensor } from "../graph/tensor.ts";
import type { WeightStore } from "../graph/weights.ts";
import { type BuildContext, part } from "./build-context.ts";
import type { LayerConfig, LayerNames, ModelDescription } from "./config.ts";
import { buildGated } from "./ffns/gated.ts";
import { buildMlp } from "./ffns/mlp.ts";
import { buildAttention, buildKeysAndValues, buildQueries } from "./mixers/attention.ts";
import type { RopeConfig } from "./rope.ts";

export interface BuiltGraph {
  graph: Graph;
  /** Undefined: the graph changes nothing but the cache. */
  result?: Tensor;
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

  // The last layer's keys and values are all that later tokens need of it: its other half runs in the head, for rows that have an output.
  const last = config.layers.length - 1;
  const body = new Graph();
  let x = body.input("embedded", ["T", config.hidden]);
  config.layers.forEach((layer, i) => {
    body.scope(`layers.${i}`, () => {
      if (i < last) x = buildLayer(context(body), i, layer, names.layers[i], x);
      else buildKeysAndValues(context(body), i, layer.mixer, names.layers[i], mixerNorm(context(body), names.layers[i], x));
    });
  });
  const stream = last === 0 ? "embedded" : "hidden";

  const head = new Graph();
  let y = head.apply(gather, [head.input(stream, ["T", config.hidden]), head.input("rows", ["R"], "i32")], {});
  y = head.scope(`layers.${last}`, () => buildLayer(context(head), last, config.layers[last], names.layers[last], y));
  y = head.apply(norm, [y], { weight: names.finalNorm, bias: names.finalNormBias, eps: config.norm.eps }, "final_norm");
  y = applyLinear(head, weights, y, [part(names.output ?? { weight: names.embedding }, config.vocab)], { label: "output" });
  if (config.logitScale !== 1 || config.logitSoftcap > 0)
    y = head.apply(scale, [y], { scale: config.logitScale, softcap: config.logitSoftcap });
  const hidden = last === 0 ? undefined : x;
  fuseQuantized(body, hidden ? [hidden] : []);
  fuseQuantized(head, [y]);
  return { embed: { graph: embed, result: embedded }, body: { graph: body, result: hidden }, head: { graph: head, result: y }, ropes };
}

const mixerNorm = ({ g, config }: BuildContext, names: LayerNames, x: Tensor): Tensor =>
  g.apply(norm, [x], { weight: names.mixerNorm, bias: names.mixerNormBias, eps: config.norm.eps }, "mixer_norm");

/** Pre-norm block: x + mixer(norm(x)), then x + ffn(norm(x)). Rows with an output alone (x [R, hidden]) have their keys and values in the cache. */
function buildLayer(b: BuildContext, i: number, layer: LayerConfig, names: LayerNames, x: Tensor): Tensor {
  const { g, config } = b;
  const { eps } = config.norm;
  // With a residual multiplier the projection cannot add by itself.
  const fused = config.residualScale === 1;
  const into = (stream: Tensor, branch: (residual?: Tensor) => Tensor): Tensor =>
    fused ? branch(stream) : g.apply(add, [stream, branch()], { scale: config.residualScale });

  const a = mixerNorm(b, names, x);
  const mixer = x.shape[0] === "R" ? buildQueries : buildAttention;
  const mid = into(x, (residual) => mixer(b, i, layer.mixer, names, a, residual));
  const f = g.apply(norm, [mid], { weight: names.ffnNorm, bias: names.ffnNormBias, eps }, "ffn_norm");
  const ffn = layer.ffn;
  return into(mid, (residual) => (ffn.kind === "mlp" ? buildMlp(b, ffn, names, f, residual) : buildGated(b, ffn, names, f, residual)));
}
