import type { KernelSet } from "../../../kernels/api.ts";
import { kvBytes, kvStoreDispatch, type KvType } from "../../../kernels/kv-cache.ts";
import type { Dispatch } from "../../runtime/device.ts";
import type { OpDef } from "../graph.ts";
import { dimSize } from "../tensor.ts";

export interface AttentionAttrs {
  /** Names of the layer's key and value caches among the plan's buffers. */
  keys: string;
  values: string;
  kv: KvType;
  heads: number;
  kvHeads: number;
  headDim: number;
  /** Columns of q, k and v in the input row. */
  qColumn: number;
  kColumn: number;
  vColumn: number;
  scale: number;
  /** Sliding window in tokens; 0: none. */
  window: number;
  /** Tensor with one logit per query head that takes part in the softmax's sum. */
  sinks?: string;
  /** Scores become cap · tanh(score / cap); 0: off. */
  softcap: number;
}

/** Name of the graph input (and of the step size that counts them) of the prefill tiles for G query heads per KV head of D elements. */
export const prefillTilesName = (kernels: KernelSet, G: number, D: number): string => `prefillTiles.${kernels.prefillTokens(G, D)}`;

/**
 * Stores the new keys and values in the paged cache, then attends causally: qkv [T, stride] -> [T, heads · headDim].
 * Inputs: qkv, slots [T], block table, prefill tiles, decode tiles (see kernels/api.ts). The step's sizes count the tiles under the inputs' names.
 */
export const attention: OpDef<AttentionAttrs> = {
  name: "attention",
  vectors: (a) => (a.sinks ? [a.sinks] : []),
  shape: ([qkv], a) => ({ shape: [qkv.shape[0], a.heads * a.headDim] }),
  cost: ([qkv], a, sizes) => {
    const T = dimSize(qkv.shape[0], sizes);
    const context = a.window > 0 ? Math.min(T, a.window) : T;
    return {
      flops: 2 * T * context * a.heads * a.headDim,
      bytes: 2 * context * a.kvHeads * kvBytes(a.kv, a.headDim) + 8 * T * a.heads * a.headDim,
    };
  },
  lower(ctx, { inputs: [qkv, slots, table, prefillTiles, decodeTiles], attrs: a, output }) {
    const stride = qkv.shape[1] as number;
    const keys = ctx.state(a.keys);
    const values = ctx.state(a.values);
    const x = ctx.buffer(qkv);
    const store = kvStoreDispatch(ctx, {
      kv: a.kv,
      x,
      slots: ctx.buffer(slots),
      keys,
      values,
      stride,
      keyColumn: a.kColumn,
      valueColumn: a.vColumn,
      KVH: a.kvHeads,
      D: a.headDim,
      T: ctx.slot("T", (s) => s.T),
      lanes: ctx.kernels.blocks.kvStore,
    });
    const G = a.heads / a.kvHeads;
    const attend = (phase: "prefill" | "decode"): Dispatch[] => {
      const key = phase === "prefill" ? prefillTilesName(ctx.kernels, G, a.headDim) : "decodeTiles";
      return ctx.kernels.attention(ctx, {
        phase,
        D: a.headDim,
        G,
        KVH: a.kvHeads,
        kv: a.kv,
        q: x,
        stride,
        column: a.qColumn,
        keys,
        values,
        tiles: ctx.buffer(phase === "prefill" ? prefillTiles : decodeTiles),
        table: ctx.buffer(table),
        sinks: a.sinks === undefined ? undefined : ctx.weights.vector(a.sinks),
        y: ctx.buffer(output!),
        count: ctx.slot(key, (s) => s[key]),
        // Every sequence may add one prefill tile that is not full.
        maxCount:
          phase === "prefill" ? Math.ceil(ctx.max.T / ctx.kernels.prefillTokens(G, a.headDim)) + Math.min(ctx.max.T, 256) : ctx.max.T,
        window: a.window,
        scale: a.scale,
        softcap: a.softcap,
      });
    };
    return ctx.max.T === 1 ? [store, ...attend("decode")] : [store, ...attend("prefill"), ...attend("decode")];
  },
};
