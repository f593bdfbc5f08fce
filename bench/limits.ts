/** What a CPU can do at most, measured: plain reads from memory, int8 dots and float multiply-adds on registers. */
import { constexpr, dim, f32, i32, kernel, ptr, type Tile } from "../src/compiler/language/index.ts";
import { isaByName } from "../src/runtime/cpu/isa.ts";
import { compileProgram } from "../src/compiler/program.ts";
import { createCpuDevice } from "../src/runtime/cpu/device.ts";
import type { Device, DeviceBuffer, Dispatch } from "../src/runtime/device.ts";

/** Reads `vectors` times 512 bytes per program. */
const read = kernel("bench_read", { x: ptr(i32), y: ptr(i32), vectors: dim }, (al, { x, y, vectors }) => {
  const sums: Tile[] = [];
  for (const _ of al.unroll(8)) sums.push(al.zeros([16], al.i32));
  const at = x + al.programId(0) * vectors * 128 + al.arange(16);
  for (let v = 0; v < vectors; v++)
    for (const i of al.unroll(8)) {
      al.prefetch(x + (al.programId(0) * vectors + v) * 128 + i * 16 + 2048);
      sums[i] = sums[i] ^ al.load(at + v * 128 + i * 16);
    }
  let all = sums[0];
  for (const i of al.unroll(1, 8, 1)) all = all ^ sums[i];
  al.store(y + al.programId(0) * 16 + al.arange(16), all);
});

/**
 * 8 * N * `rounds` dots of one vector per program: N of one side stay in registers, the other comes from memory close by, once for N dots, so
 * that no product is the same as another. BITS of the first side's bytes, 8: signed ones.
 */
const dots = kernel(
  "bench_dots",
  { x: ptr(i32), y: ptr(i32), rounds: dim, N: constexpr(12), W: constexpr(16), BITS: constexpr(8) },
  (al, p) => {
    const { x, y, rounds, N, W, BITS } = p;
    const a: Tile[] = [];
    const c: Tile[] = [];
    for (const i of al.unroll(N)) {
      a.push(al.load(x + i * W + al.arange(W)) & (BITS === 4 ? 0x0f0f0f0f : -1));
      c.push(al.full([W], i, al.i32));
    }
    for (let r = 0; r < rounds; r++)
      for (const j of al.unroll(8)) {
        const b = al.load(x + ((r & 7) * 8 + j) * W + al.arange(W));
        for (const i of al.unroll(N)) c[i] = al.dot4(a[i], b, c[i], { signedA: BITS === 8, maxA: BITS === 8 ? 128 : 15, maxB: 127 });
      }
    let all = c[0];
    for (const i of al.unroll(1, N, 1)) all = all ^ c[i];
    al.store(y + al.programId(0) * W + al.arange(W), all);
  },
);

/** N independent accumulators of one vector, `rounds` multiply-adds each. */
const fmas = kernel("bench_fmas", { x: ptr(f32), y: ptr(f32), rounds: dim, N: constexpr(12), W: constexpr(16) }, (al, p) => {
  const { x, y, rounds, N, W } = p;
  const a = al.load(x + al.arange(W));
  const b = al.load(x + W + al.arange(W));
  const c: Tile[] = [];
  for (const i of al.unroll(N)) c.push(al.full([W], i, al.f32));
  for (let r = 0; r < rounds; r++) for (const i of al.unroll(N)) c[i] = al.fma(a, b, c[i]);
  let all = c[0];
  for (const i of al.unroll(1, N, 1)) all = all + c[i];
  al.store(y + al.programId(0) * W + al.arange(W), all);
});

export interface Limits {
  /** GB/s of plain reads of 256 MiB. */
  read: number;
  /** TOPS of byte dots (2 for a multiply and an add), both sides signed. */
  dots: number;
  /** The same with four bits on one side, which is faster where there is no instruction for byte dots. */
  dots4: number;
  /** GFLOP/s of float32 multiply-adds on registers. */
  fmas: number;
}

/**
 * Best seconds of several runs of a plan, after one to warm up: other work on the machine only ever makes a run slower. With one thread it is
 * processor time where that is less, so that time in which others had the core does not count.
 */
export function bestSeconds(device: Device, dispatches: readonly Dispatch[], runs = 15): number {
  const plan = device.plan(dispatches, 0);
  plan.run();
  let best = Infinity;
  for (let i = 0; i < runs; i++) {
    const start = performance.now();
    const cpu = process.cpuUsage();
    plan.run();
    const wall = (performance.now() - start) / 1000;
    const { user, system } = process.cpuUsage(cpu);
    const own = (user + system) / 1e6;
    // Processor time comes in steps of clock ticks on some systems: it counts for runs that are longer.
    best = Math.min(best, device.properties.threads === 1 && wall > 0.002 && own > 0.001 ? Math.min(wall, own) : wall);
  }
  plan.free();
  return best;
}

/** GB/s of plain reads of a buffer of some megabytes. */
export function readRate(device: Device, buffer: DeviceBuffer, sink: DeviceBuffer): number {
  const programs = 1024;
  const args = [buffer, sink, Math.floor(buffer.bytes / 512 / programs)];
  return buffer.bytes / bestSeconds(device, [{ program: compileProgram(device, read, {}), grid: [programs, 1, 1], args }]) / 1e9;
}

/** TOPS of byte dots with `BITS` on one side; `x` has 4 KiB, `sink` 64 bytes for each of 32 programs a thread. */
export function dotRate(device: Device, x: DeviceBuffer, sink: DeviceBuffer, BITS: 4 | 8): number {
  const rounds = 500;
  const n = 32 * device.properties.threads;
  const isa = isaByName(device.properties.isa);
  const W = Math.max(4, isa.width);
  // With an instruction for dots its latency has to be covered; the other forms need registers for more than sums.
  const direct = isa.name.endsWith("vnni") || isa.name.endsWith("dotprod");
  const N = direct ? (isa.registers === 32 ? 12 : 7) : 4;
  // Signed bytes are what the instruction takes, or what its absence wants; VNNI wants unsigned ones.
  const form = isa.name.endsWith("vnni") ? 4 : BITS;
  const dispatch = { program: compileProgram(device, dots, { N, W, BITS: form }), grid: [n, 1, 1] as const, args: [x, sink, rounds] };
  return (n * rounds * 8 * N * W * 8) / bestSeconds(device, [dispatch]) / 1e12;
}

/** GFLOP/s of multiply-adds; buffers as for dotRate. */
export function fmaRate(device: Device, x: DeviceBuffer, sink: DeviceBuffer): number {
  const rounds = 5000;
  const n = 32 * device.properties.threads;
  // Twelve of the widest vectors: enough to cover the latency, few enough for 16 registers.
  const W = device.properties.isa.startsWith("avx512") ? 16 : 8;
  const dispatch = { program: compileProgram(device, fmas, { N: 12, W }), grid: [n, 1, 1] as const, args: [x, sink, rounds] };
  return (n * rounds * 12 * W * 2) / bestSeconds(device, [dispatch]) / 1e9;
}

export function measureLimits(threads: number): Limits {
  const device = createCpuDevice({ threads });
  const buffer = device.allocate(256 << 20);
  new Uint32Array(buffer.view().buffer, buffer.view().byteOffset, buffer.bytes >> 2).fill(0x01010101);
  const sink = device.allocate(1 << 20);
  const read = readRate(device, buffer, sink);
  const [dots, dots4] = [dotRate(device, buffer, sink, 8), dotRate(device, buffer, sink, 4)];
  const fmas = fmaRate(device, buffer, sink);
  device.close();
  return { read, dots, dots4, fmas };
}

if (import.meta.main) console.log(JSON.stringify(measureLimits(Number(process.argv[2] ?? 2))));
