/** The Metal target: tile IR to Metal Shading Language, one kernel function per kernel instance. */
import type { Block, KernelIR, Op, Param } from "../../ir/types.ts";
import { elements, isArgument } from "../../ir/types.ts";
import type { MetalProgram } from "../../../runtime/device.ts";
import { Analysis } from "./analysis.ts";
import { Layouts } from "./assign.ts";
import { allocateScratch, placeBarriers } from "./barriers.ts";
import { Emitter } from "./emitter.ts";
import { memoryType, mslType } from "./expressions.ts";
import { ONE_THREAD } from "./layout.ts";
import { emitBlock } from "./ops.ts";
import { pipeline } from "./pipeline.ts";
import { helperText } from "./prelude.ts";
import type { Node } from "./text.ts";
import { lifetimes, printNodes } from "./text.ts";

/** Threadgroup memory that every Apple GPU has. */
const SHARED_LIMIT = 32 * 1024;
const MAX_POINTERS = 30;
/** Elements of the largest tile that one simdgroup works on, without and with products of matrices. */
const ELEMENTS_PER_SIMDGROUP = 128;
const PRODUCT_PER_SIMDGROUP = 1024;

/**
 * MSL of a kernel and how it is launched. Needs METAL_HEADER before it; several texts may share a library. Tile-level kernels run one program
 * per threadgroup, kernels without tiles one per thread. Throws `kernel_error` for what Metal does not have (f64, 64-bit atomics, more than 30
 * pointers) and for tiles that need more threadgroup memory than there is.
 */
export function emitMetal(kernel: KernelIR, symbol: string): MetalProgram {
  const ir = pipeline(kernel);
  const first = attempt(ir, symbol, true);
  if (first.program.sharedBytes <= SHARED_LIMIT) return first.program;
  // One copy of what loops stage instead of two costs a barrier a turn.
  const second = attempt(ir, symbol, false);
  if (second.program.sharedBytes <= SHARED_LIMIT) return second.program;
  throw second.tooLarge();
}

interface Attempt {
  program: MetalProgram;
  tooLarge: () => Error;
}

function attempt(ir: KernelIR, symbol: string, rotate: boolean): Attempt {
  const perThread = ir.threads === undefined && !hasTiles(ir.body);
  const own = ir.threads !== undefined || perThread;
  const groupBits = own ? 0 : Math.floor(Math.log2(simdgroups(ir)));
  const threads = own ? ONE_THREAD : { laneBits: 5, groupBits };
  const analysis = new Analysis(ir);
  const layouts = new Layouts(ir, analysis, threads, own);
  const e = new Emitter(ir, analysis, layouts, threads, own, { perThread, rotate, entry: symbol });
  const pointers = ir.params.filter((p) => p.kind === "ptr");
  if (pointers.length > MAX_POINTERS) {
    throw e.error(
      `${pointers.length} pointers, Metal has room for ${MAX_POINTERS}`,
      undefined,
      "Put several arrays into one and pass offsets.",
    );
  }
  const local = ir.params.find((p) => p.kind === "local");
  if (local && ir.threads === undefined) {
    throw e.error(
      `${local.name} is local memory of a program, which a GPU has for threads only`,
      undefined,
      "Keep values in tiles, or write the kernel for threads.",
    );
  }
  const head = parameters(e);
  emitBlock(e, ir.body);
  const scratchBytes = allocateScratch(e.root);
  if (!own) placeBarriers(e.root);
  const ownBytes = ir.params.reduce((n, p) => n + (p.kind === "shared" ? sizeOf(p) : 0), 0);
  const body: string[] = [];
  printNodes([...threadParts(e), ...declareScratch(e.root, scratchBytes), ...e.root], 1, body);
  const writes = writtenParams(ir);
  const text = [
    ...[...e.helpers].map(helperText),
    ...[...e.tables].map(
      ([name, bytes]) =>
        `#ifndef ${name.toUpperCase()}\n#define ${name.toUpperCase()}\nconstant uchar ${name}[16] = {${bytes.map((n) => n & 255).join(", ")}};\n#endif\n`,
    ),
    ...constantsText(ir, symbol),
    `// ${ir.name}${
      Object.keys(ir.constexprs).length
        ? `: ${Object.entries(ir.constexprs)
            .map(([k, v]) => `${k} = ${v}`)
            .join(", ")}`
        : ""
    }`,
    `kernel void ${symbol}(\n    ${[...argumentsText(e, writes), ...builtinsText(e)].join(",\n    ")}) {`,
    ...head,
    ...body,
    "}",
    "",
  ].join("\n");
  const program: MetalProgram = {
    entry: symbol,
    text,
    threads: ir.threads ?? (perThread ? [256, 1, 1] : [32 << groupBits, 1, 1]),
    perThread,
    constants: ir.params
      .filter((p) => p.kind === "constant")
      .map((p, index) => ({ index, name: constantName(symbol, p), type: p.dtype as "bool" | "i32" | "u32" | "f32", value: p.constant! })),
    writes: ir.params.filter(isArgument).map((p) => p.kind === "ptr" && writes.has(p)),
    sharedBytes: scratchBytes + ownBytes,
  };
  return {
    program,
    tooLarge: () =>
      e.error(
        `its tiles need ${scratchBytes + ownBytes} bytes of threadgroup memory, a GPU has ${SHARED_LIMIT}`,
        largestUse(ir.body),
        "Use smaller tiles: loop over part of the tile instead.",
      ),
  };
}

const walk = (b: Block, f: (op: Op) => void): void => {
  for (const op of b.ops) {
    f(op);
    for (const r of op.regions) walk(r, f);
  }
};

function hasTiles(b: Block): boolean {
  let found = false;
  walk(b, (op) => (found ||= [...op.args, ...op.results].some((v) => elements(v.type.shape) > 1)));
  return found;
}

/** Simdgroups for a program: as declared, else by its largest tile. */
function simdgroups(ir: KernelIR): number {
  if (ir.simdgroups !== undefined) return Math.min(32, ir.simdgroups);
  let [tile, product] = [1, 0];
  walk(ir.body, (op) => {
    if (op.op === "dot") product = Math.max(product, elements(op.results[0].type.shape));
    else if (op.op === "load" || op.op === "store" || op.op === "reduce") tile = Math.max(tile, elements(op.args[0].type.shape));
  });
  const wanted = product ? product / PRODUCT_PER_SIMDGROUP : tile / ELEMENTS_PER_SIMDGROUP;
  return 2 ** Math.floor(Math.log2(Math.max(1, Math.min(8, wanted))));
}

function largestUse(b: Block): Op | undefined {
  let best: Op | undefined;
  const size = (op: Op): number => Math.max(0, ...op.args.map((v) => elements(v.type.shape)));
  walk(b, (op) => {
    if (op.loc && !op.regions.length && (!best || size(op) > size(best))) best = op;
  });
  return best;
}

function writtenParams(ir: KernelIR): Set<Param> {
  const out = new Set<Param>();
  walk(ir.body, (op) => {
    if (op.op === "store" || op.op === "atomic") out.add(ir.params[op.attrs.param as number]);
  });
  return out;
}

const BYTES: Readonly<Record<string, number>> = {
  uchar: 1,
  char: 1,
  ushort: 2,
  short: 2,
  half: 2,
  bfloat: 2,
  uint: 4,
  int: 4,
  float: 4,
  ulong: 8,
  long: 8,
};
const sizeOf = (p: Param): number => Math.ceil((p.elements! * BYTES[memoryType(p.dtype)]) / 16) * 16;

const constantName = (symbol: string, p: Param): string => `${symbol}_${p.name}`;

const constantsText = (ir: KernelIR, symbol: string): string[] =>
  ir.params
    .filter((p) => p.kind === "constant")
    .map((p, i) => `constant ${mslType(p.dtype)} ${constantName(symbol, p)} [[function_constant(${i})]];`);

/** Lines that give scalars, sizes and own memory their names; the buffer of arguments is three grid sizes, four bytes of padding, 8 bytes each. */
function parameters(e: Emitter): string[] {
  const out: string[] = [];
  let slot = 4;
  for (const p of e.ir.params) {
    const name = e.names.params.get(p.name)!;
    const T = p.kind === "ptr" ? "" : mslType(p.dtype);
    if (p.kind === "dim" || p.kind === "scalar") {
      const at = slot;
      slot += 2;
      e.setUnit(p.value!, name);
      if (!e.a.usersOf(p.value!).length) continue;
      out.push(`  const ${T} ${name} = ${argumentText(p, at)};`);
    } else if (p.kind === "constant") e.setUnit(p.value!, constantName(e.options.entry, p));
    else if (p.kind === "shared") out.push(`  threadgroup ${memoryType(p.dtype)} ${name}[${p.elements}];`);
    else if (p.kind === "local") out.push(`  thread ${memoryType(p.dtype)} ${name}[${p.elements}];`);
  }
  return out;
}

function argumentText(p: Param, at: number): string {
  switch (p.dtype) {
    case "i64":
    case "u64":
      return `as_type<${mslType(p.dtype)}>(uint2(args[${at}], args[${at + 1}]))`;
    case "f32":
      return `as_type<float>(args[${at}])`;
    case "f16":
    case "bf16":
      return `${mslType(p.dtype)}(as_type<float>(args[${at}]))`;
    case "bool":
      return `args[${at}] != 0u`;
    default:
      return `${mslType(p.dtype)}(args[${at}])`;
  }
}

function argumentsText(e: Emitter, writes: ReadonlySet<Param>): string[] {
  const pointers = e.ir.params.filter((p) => p.kind === "ptr");
  return [
    ...pointers.map(
      (p, i) => `device ${writes.has(p) ? "" : "const "}${memoryType(p.dtype)} *${e.names.params.get(p.name)!} [[buffer(${i})]]`,
    ),
    `constant uint *args [[buffer(${pointers.length})]]`,
  ];
}

const BUILTINS: Readonly<Record<string, string>> = {
  group: "uint3 group_id [[threadgroup_position_in_grid]]",
  grid: "uint3 grid_id [[thread_position_in_grid]]",
  local: "uint3 local_id [[thread_position_in_threadgroup]]",
  thread: "uint thread_id [[thread_index_in_threadgroup]]",
  simdgroup: "uint simdgroup_id [[simdgroup_index_in_threadgroup]]",
  lane: "uint lane_id [[thread_index_in_simdgroup]]",
};
const builtinsText = (e: Emitter): string[] => Object.keys(BUILTINS).flatMap((name) => (e.builtins.has(name) ? [BUILTINS[name]] : []));

const plain = (lines: string[]): Node => ({ kind: "statement", lines, effects: [] });

/** Where a thread stands on the axes of the layouts. */
const threadParts = (e: Emitter): Node[] => [...e.threadParts].map(([text, name]) => plain([`const int ${name} = ${text};`]));

/** One arena for everything that the emitter puts into threadgroup memory. */
function declareScratch(nodes: readonly Node[], bytes: number): Node[] {
  if (!bytes) return [];
  const list = [...lifetimes(nodes).keys()];
  return [
    plain([`threadgroup float4 scratch[${bytes / 16}];`]),
    ...list.map((s) =>
      plain([
        `threadgroup ${s.type} *const ${s.name} = (threadgroup ${s.type} *)${s.offset ? `(scratch + ${s.offset / 16})` : "scratch"};`,
      ]),
    ),
  ];
}
