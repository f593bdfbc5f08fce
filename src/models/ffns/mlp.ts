/** The plain two-layer feed-forward: down(act(up(x))). */
import { act } from "../../graph/ops/elementwise.ts";
import { applyLinear } from "../../graph/ops/linear.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { AlloyError } from "../../support/errors.ts";
import { type BuildContext, part } from "../build-context.ts";
import type { LayerNames, MlpConfig } from "../config.ts";

/** x [T, hidden] (normed) -> what the block adds to the residual stream, or the new stream when `residual` is given. */
export function buildMlp(b: BuildContext, c: MlpConfig, names: LayerNames, x: Tensor, residual?: Tensor): Tensor {
  const { g, weights } = b;
  if (!names.up) throw new AlloyError("unsupported_model", `${b.config.architecture}: a layer has no up projection`);
  const up = applyLinear(g, weights, x, [part(names.up, c.size)], { label: "up" });
  return applyLinear(g, weights, g.apply(act, [up], { act: c.act }), [part(names.down, b.config.hidden)], { residual, label: "down" });
}
