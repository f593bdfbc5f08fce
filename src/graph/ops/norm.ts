import { layerNorm, rmsNorm } from "../../../kernels/norm.ts";
import type { OpDef } from "../graph.ts";
import { dimSize } from "../tensor.ts";

export interface NormAttrs {
  weight: string;
  /** Present: LayerNorm; absent: RMSNorm. */
  bias?: string;
  eps: number;
}

/** RMSNorm or LayerNorm of each row: [rows, D] -> [rows, D]. */
export const norm: OpDef<NormAttrs> = {
  name: "norm",
  vectors: (a) => (a.bias ? [a.weight, a.bias] : [a.weight]),
  shape: ([x]) => ({ shape: x.shape }),
  cost: ([x], _, sizes) => {
    const n = dimSize(x.shape[0], sizes) * dimSize(x.shape[1], sizes);
    return { flops: 4 * n, bytes: 8 * n };
  },
  lower(ctx, { inputs: [x], attrs, output }) {
    const rows = x.shape[0] === "R" ? ctx.slot("R", (s) => s.R) : ctx.slot("T", (s) => s.T);
    const D = x.shape[1] as number;
    const w = ctx.weights.vector(attrs.weight);
    const kernel = attrs.bias ? layerNorm : rmsNorm;
    const vectors = attrs.bias ? [w, ctx.weights.vector(attrs.bias)] : [w];
    return [
      {
        program: ctx.program(kernel, { BLOCK: ctx.kernels.blocks.norm }),
        grid: [1, rows, 1],
        args: [ctx.buffer(x), ...vectors, ctx.buffer(output!), D, attrs.eps],
      },
    ];
  },
};
