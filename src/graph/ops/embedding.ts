import { embedDispatches } from "../../../kernels/linear-api.ts";
import type { OpDef } from "../graph.ts";
import { dimSize } from "../tensor.ts";

export interface EmbeddingAttrs {
  table: string;
  dim: number;
  scale: number;
}

/** Rows of a table by id: ids [T] int32 -> [T, dim] float32, times `scale`. The table is read in place, whatever its type. */
export const embedding: OpDef<EmbeddingAttrs> = {
  name: "embedding",
  shape: ([ids], { dim }) => ({ shape: [ids.shape[0], dim] }),
  cost: ([ids], { dim }, sizes) => ({ flops: 0, bytes: dimSize(ids.shape[0], sizes) * dim * 8 }),
  lower(ctx, { inputs: [ids], attrs, output }) {
    const table = ctx.weights.raw(attrs.table);
    const count = ctx.slot("T", (s) => s.T);
    return embedDispatches(ctx, { ...table, ids: ctx.buffer(ids), y: ctx.buffer(output!), T: count, scale: attrs.scale });
  },
};
