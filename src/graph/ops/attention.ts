import { kvBytes, kvStoreDispatch, type KvType } from "../../../kernels/kv-cache.ts";
import type { Dispatch } from "../../runtime/device.ts";
import type { OpDef } from "../graph.ts";
import { dimSize } from "../tensor.ts";

export interface StoreAttrs {
  /** Names of the layer's key and value caches among the plan's buffers. */
  keys: string;
  values: string;
  kv: KvType;
  kvHeads: number;
  headDim: number;
  /** Columns of keys and values in the input row. */
  kColumn: number;
  vColumn: number;
}

/** Stores new keys and values in the paged cache: rows [T, stride], slots [T]. */
export const storeKv: OpDef<StoreAttrs> = {
  name: "storeKv",
  shape: () => undefined,
  cost: ([rows], a, sizes) => ({
    flops: 0,
    bytes: dimSize(rows.shape[0], sizes) * 2 * a.kvHeads * (4 * a.headDim + kvBytes(a.kv, a.headDim)),
  }),
  lower(ctx, { inputs: [rows, slots], attrs: a }) {
    const blocks = ctx.kernels.blocks.kvStore;
    const store = kvStoreDispatch(ctx, {
      kv: a.kv,
      x: ctx.buffer(rows),
      slots: ctx.buffer(slots),
      keys: ctx.state(a.keys),
      values: ctx.state(a.values),
      stride: rows.shape[1] as number,
      keyColumn: a.kColumn,
      valueColumn: a.vColumn,
      KVH: a.kvHeads,
      D: a.headDim,
      T: ctx.slot("T", (s) => s.T),
      groups: ctx.slot(`T/${blocks.tokens}`, (s) => Math.ceil(s.T / blocks.tokens)),
      blocks,
    });
    return [store];
  },
};

export interface AttentionAttrs {
  /** Names of the layer's key and value caches among the plan's buffers. */
  keys: string;
  values: string;
  kv: KvType;
  heads: number;
  kvHeads: number;
  headDim: number;
  /** Column of the queries in the input row. */
  qColumn: number;
  scale: number;
  /** Sliding window in tokens; 0: none. */
  window: number;
  /** Tensor with one logit per query head that takes part in the softmax's sum. */
  sinks?: string;
  /** Scores become cap · tanh(score / cap); 0: off. */
  softcap: number;
}

/** Name of the graph input (and of the step size that counts them) of the tiles of all tokens (T) or of those with an output (R): prefill tiles by
 * their most tokens, and decode tiles. */
export const tilesName = (rows: "T" | "R", tokens?: number): string =>
  `${rows === "R" ? "rows." : ""}${tokens === undefined ? "decodeTiles" : `prefillTiles.${tokens}`}`;

/**
 * Attends causally to the paged cache, which holds the tokens' own keys and values already: queries [rows, stride] -> [rows, heads · headDim].
 * Inputs: queries, block table, prefill tiles, decode tiles (see kernels/api.ts). The step's sizes count the tiles under the inputs' names.
 */
export const attention: OpDef<AttentionAttrs> = {
  name: "attention",
  readsContext: true,
  vectors: (a) => (a.sinks ? [a.sinks] : []),
  shape: ([q], a) => ({ shape: [q.shape[0], a.heads * a.headDim] }),
  cost: ([q], a, sizes) => {
    const rows = dimSize(q.shape[0], sizes);
    const context = a.window > 0 ? Math.min(sizes.T, a.window) : sizes.T;
    return {
      flops: 2 * rows * context * a.heads * a.headDim,
      bytes: 2 * context * a.kvHeads * kvBytes(a.kv, a.headDim) + 8 * rows * a.heads * a.headDim,
    };
  },
  lower(ctx, { inputs: [q, table, prefillTiles, decodeTiles], attrs: a, output }) {
    const rows = q.shape[0] === "R" ? "R" : "T";
    const G = a.heads / a.kvHeads;
    const tokens = ctx.kernels.prefillTokens(G, a.headDim);
    const attend = (phase: "prefill" | "decode"): Dispatch[] => {
      const key = tilesName(rows, phase === "prefill" ? tokens : undefined);
      return ctx.kernels.attention(ctx, {
        phase,
        D: a.headDim,
        G,
        KVH: a.kvHeads,
        kv: a.kv,
        q: ctx.buffer(q),
        stride: q.shape[1] as number,
        column: a.qColumn,
        keys: ctx.state(a.keys),
        values: ctx.state(a.values),
        tiles: ctx.buffer(phase === "prefill" ? prefillTiles : decodeTiles),
        table: ctx.buffer(table),
        sinks: a.sinks === undefined ? undefined : ctx.weights.vector(a.sinks),
        y: ctx.buffer(output!),
        count: ctx.slot(key, (s) => s[key]),
        // Every sequence may add one prefill tile that is not full.
        maxCount: phase === "prefill" ? Math.ceil(ctx.max[rows] / tokens) + Math.min(ctx.max[rows], 256) : ctx.max[rows],
        window: a.window,
        scale: a.scale,
        softcap: a.softcap,
      });
    };
    return ctx.max[rows] === 1 ? attend("decode") : [...attend("prefill"), ...attend("decode")];
  },
};
