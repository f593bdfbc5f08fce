/**
 * Linear layers of f16, bf16 and f32 weights on the shapes of a 0.6B model (Qwen3-0.6B): prefill as GFLOP/s beside what multiply-adds reach on
 * registers, decode as GB/s of weight bytes beside plain reads, both limits measured in the same run.
 *
 *   bun bench/kernels/float.ts [types] [--threads=N] [--tokens=256] [--decode] [--prefill]
 */
import type { FloatType } from "../../kernels/families.ts";
import { kernelsFor } from "../../kernels/choice.ts";
import { compileProgram } from "../../src/compiler/program.ts";
import { createCpuDevice } from "../../src/runtime/cpu/device.ts";
import type { DeviceBuffer } from "../../src/runtime/device.ts";
import { bestSeconds, fmaRate, readRate } from "../limits.ts";

const args = process.argv.slice(2);
const option = (name: string, otherwise: number): number =>
  Number(args.find((a) => a.startsWith(`--${name}=`))?.split("=")[1] ?? otherwise);
const named = args.filter((a) => !a.startsWith("--")) as FloatType[];
const types: readonly FloatType[] = named.length ? named : ["f16", "bf16", "f32"];
const both = !args.includes("--decode") && !args.includes("--prefill");
const T = option("tokens", 256);
const RUNS = option("runs", 15);
const device = createCpuDevice({ threads: option("threads", 1) });
const kernels = kernelsFor(device.properties);
const ctx = { program: compileProgram.bind(null, device), slot: () => ({ slot: 0 }) };

/** Columns, rows and how many of a layer have them. */
const LINES: readonly (readonly [k: number, n: number, count: number])[] = [
  [1024, 2048, 1],
  [1024, 1024, 2],
  [2048, 1024, 1],
  [1024, 3072, 2],
  [3072, 1024, 1],
];
const BYTES: Record<FloatType, number> = { f16: 2, bf16: 2, f32: 4 };
const p = (x: number, digits = 1): string => x.toFixed(digits).padStart(7);

const big = device.allocate(256 << 20);
// Small numbers in every type.
new Uint32Array(big.view().buffer, big.view().byteOffset, big.bytes >> 2).fill(0x2c002c00);
const sink = device.allocate(1 << 20);

function seconds(type: FloatType, w: DeviceBuffer, n: number, k: number, t: number): number {
  const x = device.allocate(t * k * 4);
  new Float32Array(x.view().buffer, x.view().byteOffset, t * k).forEach((_, i, a) => (a[i] = Math.sin(i)));
  const y = device.allocate(t * n * 4);
  const s = bestSeconds(device, kernels.linear(ctx, { type, n, k, w, x, y, yStride: n, yOffset: 0, T: t, maxT: t, rows: "T" }), RUNS);
  x.free();
  y.free();
  return s;
}

console.log(`${device.properties.name}, ${device.properties.isa}, ${device.properties.threads} threads`);
for (const type of types) {
  if (both || args.includes("--prefill")) {
    let peak = fmaRate(device, big, sink);
    let total = 0;
    let flops = 0;
    const rates = LINES.map(([k, n, count]) => {
      const s = seconds(type, big.slice(0, n * k * BYTES[type]), n, k, T);
      total += s * count;
      flops += 2 * n * k * T * count;
      return (2 * n * k * T) / s / 1e9;
    });
    peak = Math.max(peak, fmaRate(device, big, sink));
    const all = flops / total / 1e9;
    console.log(
      `${type.padEnd(5)} prefill of ${T}: ${rates.map((r) => p(r)).join("")} GFLOP/s, all ${p(all)} = ${p((100 * all) / peak, 0)} % of ${p(peak)} on registers`,
    );
  }
  if (both || args.includes("--decode")) {
    let read = readRate(device, big, sink);
    const k = 1024;
    const n = Math.floor(big.bytes / BYTES[type] / k);
    const rates = [1, 2, 4, 8].map((t) => big.bytes / seconds(type, big, n, k, t) / 1e9);
    read = Math.max(read, readRate(device, big, sink));
    console.log(
      `${type.padEnd(5)} decode of 1, 2, 4, 8: ${rates.map((r) => p(r)).join("")} GB/s = ${p((100 * rates[0]) / read, 0)} % of ${p(read)} plain reads`,
    );
  }
}
device.close();
