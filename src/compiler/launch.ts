/** Runs a kernel on host memory. */
import { AlloyError } from "../support/errors.ts";
import type { InterpreterArgs } from "./ir/interpret.ts";
import { interpret } from "./ir/interpret.ts";
import type { HostMemory } from "./ir/memory.ts";
import { allocate } from "./ir/memory.ts";
import type { Constexprs, Kernel } from "./language/kernel.ts";

/** Arguments by name; outputs may be left out. */
export type Arguments = Readonly<Record<string, unknown>>;

/** Runs `grid` programs and returns the outputs that were left out: the array of the only one, or an object of several. */
export async function launch(kernel: Kernel, grid: readonly [number, number, number], args: Arguments): Promise<unknown> {
  const constexprs: Record<string, Constexprs[string]> = {};
  const given: Record<string, InterpreterArgs[string]> = {};
  const made: Record<string, unknown> = {};
  for (const [name, spec] of Object.entries(kernel.signature)) {
    const arg = args[name];
    if (spec.kind === "constexpr") {
      if (arg !== undefined) constexprs[name] = arg as Constexprs[string];
    } else if (arg !== undefined) given[name] = arg as InterpreterArgs[string];
    else if (spec.kind === "ptr" && spec.output) {
      const elements = spec.size ? spec.size(args) : grid[0] * grid[1] * grid[2];
      made[name] = given[name] = (spec.dtype === "bf16" ? new Uint16Array(elements) : allocate(spec.dtype, elements)) as HostMemory;
    } else throw new AlloyError("bad_argument", `${kernel.name}: argument ${name} is missing`);
  }
  interpret(kernel.specialize(constexprs), grid, given);
  const outputs = Object.values(made);
  return outputs.length > 1 ? made : outputs[0];
}
