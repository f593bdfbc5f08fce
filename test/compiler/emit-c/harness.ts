/** Compares compiled kernels with the interpreter on the same memory. */
import { expect } from "bun:test";
import type { IsaName } from "../../../src/runtime/cpu/isa.ts";
import { ISAS, usableIsas } from "../../../src/runtime/cpu/isa.ts";
import { createCpuDevice } from "../../../src/runtime/cpu/device.ts";
import { nativeRuntime } from "../../../src/runtime/cpu/native.ts";
import type { Device, Program } from "../../../src/runtime/device.ts";
import { emitC } from "../../../src/compiler/emit/c/index.ts";
import { Builder } from "../../../src/compiler/ir/build.ts";
import { interpret } from "../../../src/compiler/ir/interpret.ts";
import { allocate } from "../../../src/compiler/ir/memory.ts";
import type { DType, KernelIR, Value } from "../../../src/compiler/ir/types.ts";
import { elements, isArgument } from "../../../src/compiler/ir/types.ts";

/** Deterministic random numbers (mulberry32). */
export class Random {
  constructor(private state: number) {}
  next(): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }
  int(lo: number, hi: number): number {
    return lo + Math.floor(this.next() * (hi - lo + 1));
  }
  pick<T>(list: readonly T[]): T {
    return list[this.int(0, list.length - 1)];
  }
}

export const seed = Number(process.env.ALLOY_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));

const usable = usableIsas(nativeRuntime().features());
/** Instruction sets that can be tested here; one device each, kept for the process. */
export const TESTABLE: readonly IsaName[] = ISAS.filter((i) => usable.includes(i)).map((i) => i.name);
export const MISSING: readonly IsaName[] = ISAS.filter((i) => !usable.includes(i)).map((i) => i.name);
const devices = new Map<string, Device>();
export function device(isa: IsaName): Device {
  let d = devices.get(isa);
  if (!d) devices.set(isa, (d = createCpuDevice({ isa, threads: 2 })));
  return d;
}

export type HostArray = ReturnType<typeof allocate> & {
  slice(): HostArray;
  buffer: ArrayBufferLike;
  byteOffset: number;
  byteLength: number;
};
/** Floats at which functions do what they do nowhere else. */
export const SPECIAL: readonly number[] = [
  0,
  -0,
  1,
  -1,
  Infinity,
  -Infinity,
  NaN,
  1e-40,
  -1e-40,
  3.4e38,
  65504,
  65520,
  1e-8,
  0.5,
  1.5,
  2.5,
  -2.5,
  2147483648,
  -2147483649,
  4294967296,
  128,
  255.9,
];

/** Random contents of a dtype: special values among ordinary ones. bf16 arrays hold bits. */
export function randomArray(r: Random, dtype: DType, n: number, scale = 4, special = true): HostArray | Uint16Array {
  if (dtype === "bf16") {
    const f = new Float32Array(n);
    for (let i = 0; i < n; i++) f[i] = special && r.next() < 0.1 ? r.pick(SPECIAL) : (r.next() * 2 - 1) * scale;
    const u = new Uint32Array(f.buffer);
    return Uint16Array.from(u, (x) => x >>> 16);
  }
  const a = allocate(dtype, n) as HostArray;
  for (let i = 0; i < n; i++) {
    if (dtype === "i64" || dtype === "u64") {
      const big = (BigInt(r.int(0, 2 ** 31 - 1)) << 33n) | (BigInt(r.int(0, 2 ** 31 - 1)) << 2n) | BigInt(r.int(0, 3));
      a[i] = r.next() < 0.5 ? BigInt(r.int(0, 100)) : big;
    } else if (dtype === "bool") a[i] = r.int(0, 1);
    else if (dtype[0] === "f" || dtype[0] === "b") a[i] = special && r.next() < 0.15 ? r.pick(SPECIAL) : (r.next() * 2 - 1) * scale;
    else
      a[i] =
        r.next() < 0.2
          ? r.pick([0, 1, -1, 127, 128, 255, -128, 32767, -32768, 2147483647, -2147483648])
          : r.int(-(2 ** 31), 2 ** 31 - 1) >> r.int(0, 31);
  }
  return a;
}

export interface Case {
  ir: KernelIR;
  grid: readonly [number, number, number];
  /** By parameter: an array or a number. */
  args: Record<string, HostArray | Uint16Array | number>;
  /** Outputs compared, with the error allowed in units of the last place (0: same bits but for NaN). */
  ulp?: number;
  /** Absolute error that is always allowed, for sums in another order. */
  absolute?: number;
}

export function program(d: Device, ir: KernelIR): Program {
  const symbol = `${ir.name}_${d.properties.isa.replace(/\W/g, "_")}`;
  return d.program({
    symbol,
    params: ir.params
      .filter(isArgument)
      .map((p) => (p.kind === "ptr" ? "ptr" : p.dtype === "i64" ? "i64" : p.dtype === "f32" ? "f32" : p.dtype === "f64" ? "f64" : "i32")),
    text: (isa) => emitC(ir, isa, symbol),
  });
}

/** Runs cases on a device (compiled together) and on the interpreter, and compares all memory. */
export const compare = (isa: IsaName, cases: readonly Case[]): void => compareOn(device(isa), cases);

/** The same on any CPU device. */
export function compareOn(d: Device, cases: readonly Case[]): void {
  const programs = cases.map((c) => program(d, c.ir));
  d.plan(
    cases.map((c, i) => ({ program: programs[i], grid: [0, 0, 0] as const, args: programs[i].params.map(() => 0) })),
    0,
  ).free();
  cases.forEach((c, i) => {
    const expected: Record<string, HostArray | Uint16Array | number> = {};
    for (const [k, v] of Object.entries(c.args)) expected[k] = typeof v === "number" ? v : v.slice();
    interpret(c.ir, c.grid, expected as never);
    const params = c.ir.params.filter(isArgument);
    const buffers = params.map((p) => {
      const v = c.args[p.name];
      if (typeof v === "number") return v;
      const b = d.allocate(v.byteLength);
      b.view().set(new Uint8Array(v.buffer as ArrayBuffer, v.byteOffset, v.byteLength));
      return b;
    });
    const plan = d.plan([{ program: programs[i], grid: c.grid, args: buffers }], 0);
    plan.run();
    plan.free();
    params.forEach((p, k) => {
      const b = buffers[k];
      if (typeof b === "number") return;
      const want = expected[p.name] as HostArray;
      const got = new (want.constructor as new (b: ArrayBuffer) => HostArray)(b.view().slice().buffer as ArrayBuffer);
      check(`${c.ir.name} on ${d.properties.isa}, ${p.name} (seed ${seed})`, p.dtype, got, want, c);
      b.free();
    });
  });
}

/** Compares one buffer as its case allows. */
export function check(what: string, dtype: DType, got: HostArray, want: HostArray, c: Case): void {
  for (let i = 0; i < want.length; i++) {
    let g: number | bigint = got[i];
    let w: number | bigint = want[i];
    if (dtype === "bf16") [g, w] = [bf16(g as number), bf16(w as number)];
    if (g === w || (Number.isNaN(g) && Number.isNaN(w))) continue;
    const error = Math.abs(Number(g) - Number(w));
    const unit = dtype === "f64" ? 2 ** -52 : dtype === "f16" ? 2 ** -10 : dtype === "bf16" ? 2 ** -7 : 2 ** -23;
    const smallest = dtype === "f16" ? 2 ** -24 : dtype === "f64" ? 5e-324 : 2 ** -149;
    const near = (c.ulp ?? 0) * Math.max(unit * Math.abs(Number(w)), smallest) + (c.absolute ?? 0);
    if (error <= near) continue;
    throw new Error(`${what}[${i}]: got ${g}, expected ${w}`);
  }
  expect(got.length).toBe(want.length);
}

const bf16 = (u: number): number => new Float32Array(new Uint32Array([u << 16]).buffer)[0];

/** A builder with helpers for test kernels. */
export class Make extends Builder {
  ptr(name: string, dtype: DType, output = false): number {
    return this.params.push({ name, kind: "ptr", dtype, output }) - 1;
  }
  scalarParam(name: string, dtype: DType): Value {
    const value = this.value({ dtype, shape: [] }, name);
    this.params.push({ name, kind: dtype === "i32" || dtype === "i64" ? "dim" : "scalar", dtype, output: false, value });
    return value;
  }
  int(n: number): Value {
    return this.const({ dtype: "i32", shape: [] }, n);
  }
  /** Row-major offsets of a tile, plus programId(0) times its size. */
  offsets(shape: readonly number[]): Value {
    const n = elements(shape);
    const base = this.one("mul", [this.one("programId", [], { axis: 0 }), this.int(n)]);
    if (!shape.length) return base;
    let sum = this.broadcast(base, shape);
    let stride = 1;
    for (let a = shape.length - 1; a >= 0; a--) {
      const one = shape.map((_, i) => (i === a ? shape[a] : 1));
      const lane = this.one("reshape", [this.one("arange", [], { start: 0, n: shape[a] })], { shape: one });
      const scaled = this.one("mul", [lane, this.broadcast(this.int(stride), one)]);
      sum = this.one("add", [sum, this.broadcast(scaled, shape)]);
      stride *= shape[a];
    }
    return sum;
  }
  loadTile(param: number, shape: readonly number[]): Value {
    return this.one("load", [this.offsets(shape)], { param });
  }
  storeTile(param: number, value: Value): void {
    this.emit("store", [this.offsets(value.type.shape), value], { param });
  }
}
