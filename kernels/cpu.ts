/** The kernels of CPU devices: weights packed at load and multiplied in int8 (./linear-api.ts), attention over a scratch buffer. */
import { attentionDispatches, prefillTokens } from "./attention.ts";
import type { KernelSet } from "./api.ts";
import { activationSpan, isQuantised } from "./families.ts";
import { linearDispatches, packedLayout, quantizeDispatches, quantizedActivationBytes, tokenTile } from "./linear-api.ts";
import { CPU_KV_STORE } from "./kv-cache.ts";
import { PREFILL_TILE } from "./linear-prefill.ts";
import type { IsaName } from "../src/runtime/cpu/isa.ts";
import { cpuSampling } from "./sample.ts";

/** @param isa whose register tiles matmuls of many tokens use */
export const cpuKernelsFor = (isa: IsaName): KernelSet => ({
  name: "cpu",
  batchTokens: 512,
  exactTypes: ["f32", "f16", "bf16"],
  blocks: { elementwise: 256, norm: 64, rope: 16, kvStore: CPU_KV_STORE },
  sampling: cpuSampling,
  releasesPages: true,
  packs: ({ type, n, k }) => (isQuantised(type) && packedLayout(type, n, k).packed ? activationSpan(type) : 0),
  quantize: (ctx, o) => quantizeDispatches(isa, ctx, o),
  takesSources: (maxTokens) => tokenTile(isa, maxTokens) === PREFILL_TILE,
  quantizedBytes: (maxTokens, k) => quantizedActivationBytes(isa, maxTokens, k),
  linear: (ctx, o) => linearDispatches(isa, ctx, o),
  prefillTokens: (G, D) => prefillTokens(isa, G, D),
  attention: (ctx, o) => attentionDispatches(isa, ctx, o),
});

export const cpuKernels = cpuKernelsFor("baseline");
