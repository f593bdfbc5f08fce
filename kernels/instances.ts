/**
 * Every kernel that the library is compiled with ahead of time, with its constexpr values. Add a kernel file's `instances` to
 * the list; a kernel that is not listed is compiled when it is first used.
 */
import type { AnyKernel } from "../src/compiler/language/index.ts";
import type { IsaName } from "../src/runtime/cpu/isa.ts";
import { instances as attention } from "./attention.ts";
import { instances as elementwise } from "./elementwise.ts";
import { instances as embed } from "./embed.ts";
import { instances as kvCache } from "./kv-cache.ts";
import { instances as linearFloat } from "./linear-float.ts";
import { instances as linearPrefill } from "./linear-prefill.ts";
import { instances as linear } from "./linear.ts";
import { instances as norm } from "./norm.ts";
import { instances as quantize } from "./quantize.ts";
import { instances as repack } from "./repack.ts";
import { instances as rope } from "./rope.ts";
import { instances as sample } from "./sample.ts";

export interface Instance {
  kernel: AnyKernel;
  constexprs: Record<string, number | string | boolean>;
  /** The one instruction set that it is for; undefined: all. */
  isa?: IsaName;
}

export const INSTANCES: readonly Instance[] = [
  ...attention,
  ...elementwise,
  ...embed,
  ...kvCache,
  ...linear,
  ...linearFloat,
  ...linearPrefill,
  ...norm,
  ...quantize,
  ...repack,
  ...rope,
  ...sample,
];
