/** The attention mixer: projections, optional q/k norm, rotary positions, paged attention, output projection. */
import { applyLinear, type LinearPart } from "../../graph/ops/linear.ts";
import { attention, prefillTilesName } from "../../graph/ops/attention.ts";
import { rope } from "../../graph/ops/rope.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { AlloyError } from "../../support/errors.ts";
import { type BuildContext, part } from "../build-context.ts";
import type { AttentionConfig, LayerNames } from "../config.ts";

/** x [T, hidden] (normed) -> what attention adds to the residual stream, or the new stream when `residual` is given. */
export function buildAttention(
  b: BuildContext,
  layer: number,
  c: AttentionConfig,
  names: LayerNames,
  x: Tensor,
  residual?: Tensor,
): Tensor {
  const { g, weights } = b;
  const qSize = c.heads * c.headDim;
  const kvSize = c.kvHeads * c.headDim;
  let qkv = applyLinear(g, weights, x, qkvParts(b, names, qSize, kvSize), { label: "qkv" });
  const heads = [
    { column: 0, heads: c.heads, norm: names.qNorm },
    { column: qSize, heads: c.kvHeads, norm: names.kNorm },
  ];
  for (const h of heads) {
    if (!c.rope && !h.norm) continue;
    const R = c.rope?.dim ?? 0;
    const cos = g.input(b.ropeTable(c.rope, "cos"), ["T", R / 2]);
    const sin = g.input(b.ropeTable(c.rope, "sin"), ["T", R / 2]);
    const attrs = { ...h, headDim: c.headDim, rotaryDim: R, interleaved: c.interleaved, eps: b.config.norm.eps };
    qkv = g.apply(rope, [qkv, cos, sin], attrs, h.column === 0 ? "rope_q" : "rope_k");
  }
  const y = g.apply(
    attention,
    [
      qkv,
      g.input("slots", ["T"], "i32"),
      g.input("blockTable", [1], "i32"),
      g.input(prefillTilesName(weights.kernels, c.heads / c.kvHeads, c.headDim), ["T", 4], "i32"),
      g.input("decodeTiles", ["T", 4], "i32"),
    ],
    {
      keys: `keys.${layer}`,
      values: `values.${layer}`,
      kv: b.kvType,
      heads: c.heads,
      kvHeads: c.kvHeads,
      headDim: c.headDim,
      qColumn: 0,
      kColumn: qSize,
      vColumn: qSize + kvSize,
      scale: c.scale,
      window: c.window,
      sinks: names.sinks,
      softcap: c.softcap,
    },
  );
  return applyLinear(g, weights, y, [part(names.o, b.config.hidden)], { residual, label: "o" });
}

function qkvParts(b: BuildContext, names: LayerNames, qSize: number, kvSize: number): LinearPart[] {
  if (names.qkv) return [part(names.qkv, qSize + 2 * kvSize)];
  if (names.q && names.k && names.v) return [part(names.q, qSize), part(names.k, kvSize), part(names.v, kvSize)];
  throw new AlloyError("unsupported_model", `${b.config.architecture}: a layer has neither q, k, v nor a fused qkv projection`);
}
