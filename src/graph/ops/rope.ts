import { ropeHeads } from "../../../kernels/rope.ts";
import type { OpDef } from "../graph.ts";
import { dimSize } from "../tensor.ts";

export interface RopeAttrs {
  /** First column of the heads inside the row, number of heads, elements per head. */
  column: number;
  heads: number;
  headDim: number;
  /** Rotary dimensions; 0 leaves positions alone (norm only). */
  rotaryDim: number;
  interleaved: boolean;
  /** RMSNorm weight applied to each head first. */
  norm?: string;
  eps: number;
}

/** Rotates the query or key heads of x [rows, stride] in place; inputs: x, cos and sin, each [rows, rotaryDim / 2]. */
export const rope: OpDef<RopeAttrs> = {
  name: "rope",
  vectors: (a) => (a.norm ? [a.norm] : []),
  inPlace: () => 0,
  shape: ([x]) => ({ shape: x.shape }),
  cost: ([x], a, sizes) => {
    const n = dimSize(x.shape[0], sizes) * a.heads * a.headDim;
    return { flops: (a.norm ? 7 : 3) * n, bytes: 8 * n };
  },
  lower(ctx, { inputs: [x, cos, sin], attrs: a, output }) {
    const w = a.norm ? ctx.weights.vector(a.norm) : ctx.buffer(cos);
    // The heads of a single row are one range of memory: queries and keys need not wait for each other.
    const rows = x.shape[0] === "R" ? "R" : "T";
    const single = ctx.max[rows] === 1;
    const y = ctx.buffer(output!);
    const own = single ? y.slice(a.column * 4, a.heads * a.headDim * 4) : y;
    const rotary = [x.shape[1] as number, single ? 0 : a.column, a.headDim, a.rotaryDim, a.eps];
    return [
      {
        program: ctx.program(ropeHeads, { INTERLEAVED: a.interleaved, NORM: a.norm !== undefined, BLOCK: ctx.kernels.blocks.rope }),
        grid: [a.heads, ctx.slot(rows, (s) => s[rows]), 1],
        args: [own, ctx.buffer(cos), ctx.buffer(sin), w, ...rotary],
      },
    ];
  },
};
