/** SwiGLU and GeGLU (Shazeer 2020, arXiv 2002.05202): down(act(gate(x)) · up(x)). */
import { gated } from "../../graph/ops/elementwise.ts";
import { applyLinear } from "../../graph/ops/linear.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { AlloyError } from "../../support/errors.ts";
import { type BuildContext, part } from "../build-context.ts";
import type { GatedConfig, LayerNames } from "../config.ts";

/** x [T, hidden] (normed) -> what the block adds to the residual stream, or the new stream when `residual` is given. */
export function buildGated(b: BuildContext, c: GatedConfig, names: LayerNames, x: Tensor, residual?: Tensor): Tensor {
  const { g, weights } = b;
  const parts = names.gateUp
    ? [part(names.gateUp, 2 * c.size)]
    : names.gate && names.up
      ? [part(names.gate, c.size), part(names.up, c.size)]
      : undefined;
  if (!parts)
    throw new AlloyError("unsupported_model", `${b.config.architecture}: a layer has neither gate and up nor a fused gate_up projection`);
  const gateUp = applyLinear(g, weights, x, parts, { label: "gate_up" });
  const h = g.apply(gated, [gateUp], { act: c.act });
  return applyLinear(g, weights, h, [part(names.down, b.config.hidden)], { residual, label: "down" });
}
