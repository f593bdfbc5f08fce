/**
 * Executes tile IR on host memory. This defines what every op means; every target is compared with it.
 * Programs of the grid run one after the other, axis 0 fastest; threads of a threadgroup are in interpret-threads.ts.
 */
import { AlloyError } from "../../support/errors.ts";
import { Machine } from "./machine.ts";
import { Threadgroup } from "./interpret-threads.ts";
import type { KernelIR, Param } from "./types.ts";
import { isArgument } from "./types.ts";
import { wrap } from "./scalar.ts";
import type { Elements, HostMemory } from "./memory.ts";
import { allocate, MemoryView } from "./memory.ts";

export type { HostMemory } from "./memory.ts";
export type InterpreterArgs = Readonly<Record<string, HostMemory | number | bigint | boolean>>;

/**
 * Runs `ir` for every program of `grid` on `args` (by parameter name). Pointers given as typed arrays or as address + bytes are bounds-checked.
 * Throws AlloyError `kernel_error` for an access outside a buffer and `bad_argument` for missing arguments; at the thread level also for
 * races, memory read before it was written, and operations that not all threads reach.
 */
export function interpret(ir: KernelIR, grid: readonly number[], args: InterpreterArgs): void {
  const size = [grid[0] ?? 1, grid[1] ?? 1, grid[2] ?? 1] as const;
  const bound = bind(ir, args);
  const runner = ir.threads ? new Threadgroup(ir, size, bound) : new Machine(ir, size, bound);
  for (let z = 0; z < size[2]; z++) for (let y = 0; y < size[1]; y++) for (let x = 0; x < size[0]; x++) runner.program([x, y, z]);
}

/** Arguments in the interpreter's form. */
export interface Bound {
  /** By parameter: the memory of pointers. */
  memory: (MemoryView | undefined)[];
  /** Values of dims, scalars and constants, by value id. */
  values: Elements[];
}

function bind(ir: KernelIR, args: InterpreterArgs): Bound {
  const values: Elements[] = [];
  const single = (p: Param, x: number | bigint | boolean): void => {
    const data = allocate(p.dtype, 1);
    data[0] = wrap(p.dtype, typeof x === "boolean" ? Number(x) : x);
    values[p.value!.id] = data;
  };
  const memory = ir.params.map((p) => {
    if (p.kind === "constant") return void single(p, p.constant!);
    if (!isArgument(p)) return undefined;
    const arg = args[p.name];
    if (arg === undefined) throw new AlloyError("bad_argument", `${ir.name}: argument ${p.name} is missing`);
    if (p.kind === "ptr") {
      if (typeof arg !== "object") {
        throw new AlloyError("bad_argument", `${ir.name}: argument ${p.name} must be a typed array or a buffer, got ${typeof arg}`);
      }
      return new MemoryView(p.name, p.dtype, arg);
    }
    if (typeof arg === "object") throw new AlloyError("bad_argument", `${ir.name}: argument ${p.name} must be a number`);
    return void single(p, arg);
  });
  return { memory, values };
}
