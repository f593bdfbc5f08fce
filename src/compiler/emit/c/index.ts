/** The C target: tile IR to C with GNU vector extensions, one function per kernel instance. */
import type { Block, KernelIR, Op } from "../../ir/types.ts";
import { DTYPE_BYTES, isArgument } from "../../ir/types.ts";
import { lockstepForm } from "../../passes/index.ts";
import { Analysis } from "./analysis.ts";
import { emitBlock } from "./blocks.ts";
import { byteTable } from "./elementwise.ts";
import { Emitter } from "./emitter.ts";
import type { Isa } from "../../../runtime/cpu/isa.ts";
import { isaByName, PRELUDE_END } from "../../../runtime/cpu/isa.ts";
import { prelude } from "./prelude.ts";
import { memoryType } from "./values.ts";

export { prelude } from "./prelude.ts";

/**
 * One C function `void symbol(const uint64_t *args, uint32_t begin, uint32_t end, const uint32_t *grid)` that runs the linear program ids
 * [begin, end), axis 0 fastest (thread level: threadgroups, in lockstep form). Needs the prelude of `isa` before it. Throws `kernel_error` when the tiles need too much local memory.
 */
export function emitFunction(kernel: KernelIR, isa: Isa, symbol: string): string {
  const ir = kernel.threads ? lockstepForm(kernel) : kernel;
  const e = new Emitter(ir, isa, new Analysis(ir, isa.width));
  ir.params.filter(isArgument).forEach((p, i) => {
    if (p.kind === "ptr") {
      e.line(`${memoryType(p.dtype)}x1 *const p_${p.name} = (${memoryType(p.dtype)}x1 *)args[${i}];`);
      return;
    }
    const v = p.value!;
    const name = `${p.name}_${v.id}`;
    const { dtype } = p;
    if (dtype === "f32" || dtype === "f16" || dtype === "bf16") {
      const f = `float_u32x1((uint32_t)args[${i}])`;
      e.line(`const ${memoryTypeOf(dtype)} ${name} = ${dtype === "f32" ? f : `cvt_f32_${dtype}x1(${f})`};`);
    } else if (dtype === "f64") e.line(`const double ${name} = bits_u64_f64(args[${i}]);`);
    else e.line(`const ${memoryTypeOf(dtype)} ${name} = (${memoryTypeOf(dtype)})args[${i}];`);
    e.set(v, { kind: "uniform", expr: name });
  });
  for (const p of ir.params.filter((q) => q.kind === "constant"))
    e.set(p.value!, { kind: "uniform", expr: `((${memoryTypeOf(p.dtype)})${Number(p.constant)})` });
  for (const table of byteTables(ir)) e.line(table);
  for (const p of ir.params.filter((q) => q.kind === "shared" || q.kind === "local")) {
    e.reserve(p.elements! * DTYPE_BYTES[p.dtype]);
    e.line(`${memoryType(p.dtype)}x1 p_${p.name}[${p.elements}]${e.aligned};`);
  }
  e.line("uint32_t id0 = begin % grid[0], id1 = begin / grid[0] % grid[1], id2 = begin / grid[0] / grid[1];");
  e.scope("for (uint32_t id = begin; id < end; id++)", () => {
    e.line("const int32_t pid0 = (int32_t)id0, pid1 = (int32_t)id1, pid2 = (int32_t)id2;");
    e.line("if (++id0 == grid[0]) { id0 = 0; if (++id1 == grid[1]) { id1 = 0; id2++; } }");
    emitBlock(e, ir.body);
  });
  return `void ${symbol}(const uint64_t *args, uint32_t begin, uint32_t end, const uint32_t *grid) {\n${e.text}\n}\n`;
}

const memoryTypeOf = (d: Parameters<typeof memoryType>[0]): string => (d === "bool" ? "int32_t" : `${memoryType(d)}x1`);

/** Byte tables that a kernel uses, once each. */
function byteTables(ir: KernelIR): Iterable<string> {
  const tables = new Map<string, string>();
  const visit = (b: Block): void => {
    for (const op of b.ops) {
      if (op.op === "byteLookup") tables.set(byteTable(op), tableText(op));
      op.regions.forEach(visit);
    }
  };
  visit(ir.body);
  return tables.values();
}

const tableText = (op: Op): string =>
  `static const uint8_t ${byteTable(op)}[16] = {${(op.attrs.table as readonly number[]).map((n) => n & 255).join(", ")}};`;

/** A complete C file of one kernel for an instruction set: prelude, PRELUDE_END, function. */
export function emitC(ir: KernelIR, isa: Isa | string, symbol = ir.name): string {
  const target = typeof isa === "string" ? isaByName(isa) : isa;
  return `${prelude(target)}${PRELUDE_END}${emitFunction(ir, target, symbol)}`;
}
