/**
 * The kernels of GPUs with the values that models use them with most. Not part of the CPU library: a GPU's driver compiles them. Tests check
 * that all of them can be emitted, and that each is compared with the interpreter.
 */
import { QUANTISED_TYPES } from "../families.ts";
import type { Instance } from "../instances.ts";
import { KV_TYPES } from "../kv-cache.ts";
import { attentionCombine } from "../attention-combine.ts";
import { flashConfig, flashKernels } from "./attention.ts";
import { matmulFloatKernels, matmulQuantisedKernels } from "./matmul.ts";
import { matvecFloatKernels, matvecQuantisedKernels } from "./matvec.ts";
import { GPU_TUNING } from "./tuning.ts";

const { rows, lanes, tile, small } = GPU_TUNING;
const MATVEC = [1, 2, 4].map((MT) => ({ MT, ROWS: MT === 4 ? rows / 2 : rows, LANES: lanes }));

const flash: Instance[] = KV_TYPES.flatMap((kv) =>
  [64, 128].flatMap((D) =>
    (["prefill", "decode"] as const).flatMap((phase) => {
      const { SPLITS, ...c } = flashConfig(GPU_TUNING, { D, G: 4, KVH: 8, kv, phase, maxCount: 1 });
      const own = { kernel: flashKernels[kv], constexprs: { ...c, D, SPLIT: SPLITS > 1, SINKS: false, SOFTCAP: false } };
      return SPLITS > 1 ? [own, { kernel: attentionCombine, constexprs: { SPLITS, DP: c.DP } }] : [own];
    }),
  ),
);

export const GPU_INSTANCES: readonly Instance[] = [
  ...QUANTISED_TYPES.flatMap((type) => [
    ...MATVEC.map((constexprs) => ({ kernel: matvecQuantisedKernels[type], constexprs })),
    ...[small, tile].map((t) => ({ kernel: matmulQuantisedKernels[type], constexprs: { ...t, BQ: 16 } })),
  ]),
  ...(["f32", "f16", "bf16"] as const).flatMap((type) => [
    ...MATVEC.map((constexprs) => ({ kernel: matvecFloatKernels[type], constexprs })),
    ...[small, tile].map((t) => ({ kernel: matmulFloatKernels[type], constexprs: { ...t, BK: 32 } })),
  ]),
  ...flash,
];
