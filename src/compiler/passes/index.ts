/** The passes, in the order in which they run. */
import { print } from "../ir/print.ts";
import type { KernelIR } from "../ir/types.ts";
import { verify } from "../ir/verify.ts";
import { renumber } from "../ir/walk.ts";
import { cse } from "./cse.ts";
import { dce } from "./dce.ts";
import { fold } from "./fold.ts";
import { hoist } from "./hoist.ts";
import { lockstep } from "./lockstep.ts";
import type { Pass } from "./pass.ts";

export type { Pass } from "./pass.ts";

export const PASSES: readonly Pass[] = [fold, hoist, cse, dce];

/** Called after each pass with its name. */
export type Observer = (ir: KernelIR, stage: string) => void;

/**
 * Runs every pass on `ir`, in place. With ALLOY_DEBUG set the IR is verified after each; ALLOY_DEBUG=passes also prints it to stderr
 * (as lowered, then after each pass).
 */
export function optimize(ir: KernelIR, observe: Observer | undefined = debugObserver()): KernelIR {
  observe?.(ir, "ir");
  for (const pass of PASSES) {
    pass.run(ir);
    observe?.(ir, pass.name);
  }
  renumber(ir);
  return ir;
}

const forms = new WeakMap<KernelIR, KernelIR>();

/** A thread-level kernel as tile IR, for targets without threads; optimised. Kept, since it serves every instruction set. */
export function lockstepForm(ir: KernelIR, observe: Observer | undefined = debugObserver()): KernelIR {
  let form = forms.get(ir);
  if (!form) {
    form = lockstep(ir);
    observe?.(form, "lockstep");
    for (const pass of PASSES) {
      pass.run(form);
      observe?.(form, `lockstep ${pass.name}`);
    }
    renumber(form);
    forms.set(ir, form);
  }
  return form;
}

function debugObserver(): Observer | undefined {
  const wanted = process.env.ALLOY_DEBUG;
  if (!wanted) return undefined;
  return (ir, stage) => {
    if (wanted.split(",").includes("passes")) console.error(`--- ${ir.name}: ${stage}\n${print(ir)}`);
    verify(ir, stage);
  };
}
