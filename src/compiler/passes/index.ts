/** The passes, in the order in which they run. */
import type { KernelIR } from "../ir/types.ts";
import { renumber } from "../ir/walk.ts";

export interface Pass {
  name: string;
  /** Changes the IR in place. */
  run(ir: KernelIR): void;
}

export const PASSES: readonly Pass[] = [];

/** Runs every pass. */
export function optimize(ir: KernelIR): KernelIR {
  for (const pass of PASSES) pass.run(ir);
  renumber(ir);
  return ir;
}
