/** Stock kernels as `alloy inspect` shows them. */
import { GPU_INSTANCES } from "../../kernels/gpu/instances.ts";
import { INSTANCES } from "../../kernels/instances.ts";
import { emitFunction } from "../compiler/emit/c/index.ts";
import { emitMetal } from "../compiler/emit/metal/index.ts";
import { print } from "../compiler/ir/print.ts";
import type { AnyKernel, Signature } from "../compiler/language/index.ts";
import { lockstepForm, PASSES } from "../compiler/passes/index.ts";
import { createCpuDevice } from "../runtime/cpu/device.ts";
import { isaByName } from "../runtime/cpu/isa.ts";
import type { InspectableKernel } from "./deps.ts";

/** Every stock kernel once, by name. Constexprs that are not given are those of its first instance. */
export function inspectableKernels(): InspectableKernel[] {
  const byName = new Map<string, (typeof INSTANCES)[number]>();
  for (const instance of [...INSTANCES, ...GPU_INSTANCES])
    if (!byName.has(instance.kernel.name)) byName.set(instance.kernel.name, instance);
  return [...byName.values()]
    .map(({ kernel, constexprs }) => ({
      name: kernel.name,
      parameters: Object.entries(kernel.signature).map(([parameter, spec]) => ({ name: parameter, type: typeText(spec) })),
      stages: (options: Parameters<InspectableKernel["stages"]>[0]) => stagesOf(kernel, { ...constexprs, ...options.constexprs }, options),
    }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

function stagesOf(
  kernel: AnyKernel,
  constexprs: Record<string, number | boolean | string>,
  { isa, target }: Parameters<InspectableKernel["stages"]>[0],
): { name: string; text: string }[] {
  const ir = kernel.specialize(constexprs);
  const symbol = kernel.symbol(constexprs);
  const values = Object.entries(kernel.constexprs(constexprs)).map(([name, value]) => `  ${name} = ${value}\n`);
  const types = Object.entries(kernel.signature).map(([name, spec]) => `  ${name}: ${typeText(spec)}\n`);
  const lowered = kernel.lower(constexprs);
  const irs = [{ name: "ir", text: print(lowered) }];
  for (const pass of PASSES) {
    pass.run(lowered);
    irs.push({ name: pass.name, text: print(lowered) });
  }
  if (ir.threads && target !== "metal") irs.push({ name: "lockstep", text: print(lockstepForm(ir)) });
  return [
    { name: "signature", text: `${symbol}\n${types.join("")}${values.join("")}` },
    ...irs,
    target === "metal"
      ? { name: "metal", text: metalText(kernel, constexprs) }
      : { name: "c", text: emitFunction(ir, isaByName(isa ?? machineIsa()), symbol) },
  ];
}

/** The text for Metal, with how it is launched in front. */
function metalText(kernel: AnyKernel, constexprs: Record<string, number | boolean | string>): string {
  const p = emitMetal(kernel.specialize(constexprs, { keepConstants: true }), kernel.symbol(constexprs, { keepConstants: true }));
  const size = p.perThread ? "a thread per program" : `${p.threads.join(" x ")} threads per program`;
  return `// ${size}, ${p.sharedBytes} bytes of threadgroup memory\n${p.text}`;
}

/** The instruction set that kernels of this machine are made for. */
function machineIsa(): string {
  const device = createCpuDevice({ threads: 1 });
  try {
    return device.properties.isa;
  } finally {
    device.close();
  }
}

/** "ptr(f32)", "dim", "constexpr": as it is declared. */
function typeText(spec: Signature[string]): string {
  if (spec.kind === "ptr") return `${spec.output ? "out" : "ptr"}(${spec.dtype})`;
  if (spec.kind === "scalar") return `scalar(${spec.dtype})`;
  if (spec.kind === "dim") return spec.dtype === "i64" ? "dim64" : "dim";
  return spec.kind === "constant" ? `functionConstant(${spec.dtype})` : "constexpr";
}
