/** Every op of the graph, in one table. An op is one file here: shape, cost and lowering together. */
import { attention, storeKv } from "./attention.ts";
import { act, add, gated, gather, scale } from "./elementwise.ts";
import { embedding } from "./embedding.ts";
import { linear, quantize } from "./linear.ts";
import { norm } from "./norm.ts";
import { rope } from "./rope.ts";

export const OPS = { embedding, norm, quantize, linear, rope, storeKv, attention, gated, act, add, scale, gather } as const;
