/** A kernel's launch as a node: it runs when one of its outputs is read. */
import type { DType } from "../compiler/ir/types.ts";
import { writtenParams } from "../compiler/ir/walk.ts";
import type { Kernel } from "../compiler/language/index.ts";
import type { Arguments, Grid } from "../compiler/launch.ts";
import { checkedArray, sortArguments } from "../compiler/launch.ts";
import { AlloyError } from "../support/errors.ts";
import { buffer, LazyBuffer } from "./buffer.ts";
import { Node, type LaunchSlot } from "./node.ts";

/**
 * The outputs that were left out, as lazy buffers of one axis: the only one itself, or an object of several. Throws as a launch on arrays does, and
 * `bad_argument` when the kernel writes an argument that was given: what a lazy buffer holds does not change.
 */
export function deferLaunch(kernel: Kernel, grid: Grid, args: Arguments): unknown {
  const { constexprs, run } = sortArguments(kernel, grid, args);
  const written = writtenParams(kernel.specialize(constexprs));
  const inputs: Node[] = [];
  const slots = run.map((a): LaunchSlot => {
    if ("number" in a) return { number: a.number };
    if ("elements" in a) return { output: a.name, elements: a.elements, dtype: a.dtype };
    if (written.has(a.name)) {
      throw new AlloyError("bad_argument", `${kernel.name} writes its argument ${a.name}, which was given to a lazy launch`, {
        hint: "Declare it with out(…) and leave it out, or read the lazy buffers first and launch on arrays.",
      });
    }
    inputs.push(operand(kernel, a.name, a.dtype, a.memory));
    return { input: inputs.length - 1 };
  });
  const outputs = new Map<string, WeakRef<Node>>();
  const launch = new Node({ kind: "launch", kernel, constexprs, grid, slots, outputs }, inputs, [], "f32");
  const made: Record<string, LazyBuffer> = {};
  for (const slot of slots) {
    if (!("output" in slot)) continue;
    const node = new Node({ kind: "output", name: slot.output }, [launch], [slot.elements], slot.dtype);
    outputs.set(slot.output, new WeakRef(node));
    made[slot.output] = new LazyBuffer(node);
  }
  const all = Object.values(made);
  return all.length > 1 ? made : all[0];
}

function operand(kernel: Kernel, name: string, dtype: DType, arg: unknown): Node {
  if (!(arg instanceof LazyBuffer)) return buffer(checkedArray(kernel, name, dtype, arg), { dtype: { kind: "dtype", dtype } }).node;
  if (arg.dtype === dtype) return arg.node;
  throw new AlloyError("bad_argument", `${kernel.name}: argument ${name} must hold ${dtype}, got a lazy buffer of ${arg.dtype}`, {
    hint: `Convert it: cast(${dtype}).`,
  });
}
