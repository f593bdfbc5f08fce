/** From a kernel and its constexpr values to a program of a device. */
import type { Device, Program } from "../runtime/device.ts";
import { emitC } from "./emit/c/index.ts";
import { emitMetal } from "./emit/metal/index.ts";
import { InterpreterDevice } from "./interpreter-device.ts";
import type { AnyKernel, Constexprs } from "./language/kernel.ts";

/**
 * The program of a kernel instance on a device: from the ahead-of-time library if it is there, else compiled when a plan first needs it.
 * Mistakes in the kernel throw `kernel_error`, at the latest when the plan is made.
 */
export function compileProgram(device: Device, kernel: AnyKernel, constexprs: Constexprs = {}): Program {
  if (device instanceof InterpreterDevice) return device.kernelProgram(kernel, constexprs);
  const symbol = kernel.symbol(constexprs);
  return device.program({
    symbol,
    params: kernel.paramKindsOf(constexprs),
    text: (isa) => emitC(kernel.specialize(constexprs), isa, symbol),
    metal: () => emitMetal(kernel.specialize(constexprs, { keepConstants: true }), kernel.symbol(constexprs, { keepConstants: true })),
  });
}
