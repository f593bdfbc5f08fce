/** Runs emitted MSL on the Metal host: programs on typed arrays, findings of the checker. */
import { emitMetal } from "../../../src/compiler/emit/metal/index.ts";
import type { InterpreterArgs } from "../../../src/compiler/ir/interpret.ts";
import { interpret } from "../../../src/compiler/ir/interpret.ts";
import type { DType, KernelIR } from "../../../src/compiler/ir/types.ts";
import type { MetalProgram } from "../../../src/runtime/device.ts";
import { METAL_HEADER } from "../../../src/runtime/metal/programs.ts";
import { print } from "../../../src/compiler/ir/print.ts";
import type { Case, HostArray } from "../emit-c/harness.ts";
import { check, seed } from "../emit-c/harness.ts";
import { metalHost } from "../../metal-host/build.ts";
import { compile, type Finding, type Library } from "../../metal-host/run.ts";

/** Whether texts can be run here; tests that need it are skipped with the reason. */
export const METAL = metalHost();
if (!METAL.available) console.log(METAL.why);

export type Arrays = Record<string, NodeJS.TypedArray | number | bigint | boolean>;

export const fullText = (programs: readonly MetalProgram[]): string => METAL_HEADER + programs.map((p) => p.text).join("\n");

/** The argument buffer: grid, padding, then 8 bytes for every dim and scalar. */
function argumentBlock(ir: KernelIR, grid: readonly number[], args: Arrays): Uint8Array {
  const scalars = ir.params.filter((p) => p.kind === "dim" || p.kind === "scalar");
  const view = new DataView(new ArrayBuffer(16 + 8 * scalars.length));
  [0, 1, 2].forEach((i) => view.setUint32(4 * i, grid[i] ?? 1, true));
  scalars.forEach((p, i) => writeScalar(view, 16 + 8 * i, p.dtype, args[p.name] as number | bigint | boolean));
  return new Uint8Array(view.buffer);
}

function writeScalar(view: DataView, at: number, d: DType, value: number | bigint | boolean): void {
  if (d === "f32" || d === "f16" || d === "bf16") view.setFloat32(at, Number(value), true);
  else if (d === "i64" || d === "u64") view.setBigInt64(at, BigInt(value), true);
  else view.setInt32(at, Number(value), true);
}

/** Runs one dispatch of a compiled program. Arrays are changed in place. */
export function dispatch(library: Library, ir: KernelIR, p: MetalProgram, grid: readonly number[], args: Arrays): Finding[] {
  const pointers = ir.params.filter((x) => x.kind === "ptr").map((x) => args[x.name] as NodeJS.TypedArray);
  return library.run({
    kernel: p.entry,
    buffers: [...pointers, argumentBlock(ir, grid, args)],
    grid: [grid[0] ?? 1, grid[1] ?? 1, grid[2] ?? 1],
    threads: p.perThread ? [Math.min(256, grid[0] ?? 1), 1, 1] : p.threads,
    exact: p.perThread,
    constants: Object.fromEntries(p.constants.map((c) => [c.name, c.value])),
  });
}

/** Emits, compiles and runs a kernel. Throws with the text when it does not compile or the checker finds anything. */
export function runMetal(ir: KernelIR, grid: readonly number[], args: Arrays): void {
  const p = emitMetal(ir, "k");
  const text = fullText([p]);
  let library: Library;
  try {
    library = compile(text);
  } catch (e) {
    throw new Error(`${String(e)}\n${numbered(text)}`);
  }
  const findings = dispatch(library, ir, p, grid, args);
  library.release();
  if (findings.length) throw new Error(`${findings.map((f) => `${f.kind} ${f.line}: ${f.text}`).join("\n")}\n${numbered(text)}`);
}

export const numbered = (text: string): string =>
  text
    .split("\n")
    .map((l, i) => `${i + 1}: ${l}`)
    .join("\n");

export const copyArgs = (args: Arrays): Arrays =>
  Object.fromEntries(
    Object.entries(args).map(([k, v]) => [k, ArrayBuffer.isView(v) ? ((v as Float32Array).slice() as NodeJS.TypedArray) : v]),
  );

/** Runs a kernel on the interpreter and the Metal host; returns what each left in its buffers. */
export function both(ir: KernelIR, grid: readonly number[], args: Arrays): { want: Arrays; got: Arrays } {
  const [want, got] = [copyArgs(args), copyArgs(args)];
  interpret(ir, grid, want as InterpreterArgs);
  runMetal(ir, grid, got);
  return { want, got };
}

/** The largest difference of two buffers relative to 1 + |want|; equal specials count as equal. */
export function worst(want: ArrayLike<number | bigint>, got: ArrayLike<number | bigint>): number {
  let out = 0;
  for (let i = 0; i < want.length; i++) {
    const [a, b] = [Number(want[i]), Number(got[i])];
    if (Object.is(a, b) || a === b) continue;
    const d = Math.abs(a - b) / (1 + Math.abs(a));
    if (!(d <= out)) out = Number.isNaN(d) ? Infinity : d;
  }
  return out;
}

/** Elements of several cases' kernels in one library: compiling is the slow part. */
const BATCH = 24;

/** True for a kernel that Metal can express: no f64, and tiles that fit the memory of a threadgroup where they must move through it. */
export function onMetal(ir: KernelIR): boolean {
  if (/\bf64\b/.test(print(ir))) return false;
  try {
    emitMetal(ir, "k");
    return true;
  } catch (e) {
    if (e instanceof Error && e.message.includes("bytes of threadgroup memory")) return false;
    throw e;
  }
}

/**
 * Runs cases on the Metal host, many kernels to a library, and on the interpreter; compares all memory and expects no findings. Returns how
 * many ran and what failed, so that one defect does not hide the rest.
 */
export function compareCases(cases: readonly Case[], mode?: string): { ran: number; failures: string[] } {
  const failures: string[] = [];
  let ran = 0;
  for (let at = 0; at < cases.length; at += BATCH) {
    const batch = cases.slice(at, at + BATCH);
    const programs = batch.map((c, i) => emitMetal(c.ir, `k${at + i}`));
    const library = compile(fullText(programs), mode);
    batch.forEach((c, i) => {
      ran++;
      try {
        compareCase(library, c, programs[i]);
      } catch (e) {
        failures.push(`${e instanceof Error ? e.message : String(e)}\n${programs[i].text}`);
      }
    });
    library.release();
  }
  return { ran, failures };
}

function compareCase(library: Library, c: Case, p: MetalProgram): void {
  const copies = (): Case["args"] => Object.fromEntries(Object.entries(c.args).map(([k, v]) => [k, typeof v === "number" ? v : v.slice()]));
  const [want, got] = [copies(), copies()];
  interpret(c.ir, c.grid, want as never);
  const findings = dispatch(library, c.ir, p, c.grid, got as never);
  if (findings.length) throw new Error(`${c.ir.name}: ${findings.map((f) => `${f.kind}: ${f.text}`).join("\n")}`);
  for (const x of c.ir.params) {
    if (x.kind === "ptr") check(`${c.ir.name}, ${x.name} (seed ${seed})`, x.dtype, got[x.name] as HostArray, want[x.name] as HostArray, c);
  }
}
