/**
 * The weight-side kernels at Qwen3-0.6B's shapes on this machine's CPU:
 * `bun bench/kernels/linear.ts [types] [--decode|--prefill] [--threads=N]`.
 * Decode is GB/s of packed weight bytes beside a plain read of the same memory; prefill is TOPS (2·n·k·tokens) beside what the
 * dot instruction reaches on registers; packing is GB/s of file bytes. All limits are measured in the same run.
 */
import { typeBytes } from "../../src/formats/quant/table.ts";
import type { TensorType } from "../../src/formats/weights.ts";
import { compileProgram } from "../../src/compiler/program.ts";
import { activationSpan, isQuantised } from "../../kernels/families.ts";
import type { IsaName } from "../../src/runtime/cpu/isa.ts";
import { createCpuDevice } from "../../src/runtime/cpu/device.ts";
import { bestSeconds, dotRate, readRate } from "../limits.ts";
import type { DeviceBuffer, Dispatch } from "../../src/runtime/device.ts";
import { linearDispatches, packDispatches, packedLayout, quantizeDispatches, quantizedActivationBytes } from "../../kernels/linear-api.ts";

const args = process.argv.slice(2);
const threads = args.find((a) => a.startsWith("--threads="))?.slice("--threads=".length);
const device = createCpuDevice({ threads: threads === undefined ? undefined : Number(threads) });
const isa = device.properties.isa as IsaName;
const ctx = {
  program: (k: Parameters<typeof compileProgram>[1], c: Parameters<typeof compileProgram>[2]) => compileProgram(device, k, c),
  slot: (): never => {
    throw new Error("sizes are numbers here");
  },
};

const time = (dispatches: readonly Dispatch[], runs?: number): number => bestSeconds(device, dispatches, runs);

/** Weights that are valid in every type: random bytes with the exponents of f16 scales kept small. */
function fill(b: DeviceBuffer): void {
  const words = new Uint32Array(b.view().buffer, b.view().byteOffset, b.bytes >> 2);
  let a = 1;
  for (let i = 0; i < words.length; i++) words[i] = (a = (Math.imul(a, 1664525) + 1013904223) >>> 0) & 0x3bff3bff;
}

const named = args.filter((a) => !a.startsWith("--"));
const types = (named.length ? named : ["q8_0", "q4_k", "q6_k", "q4_0", "q5_k", "q3_k", "q2_k", "iq4_xs", "f16"]) as TensorType[];
const both = !args.includes("--decode") && !args.includes("--prefill");
const LINES: [k: number, n: number, count: number][] = [
  [1024, 2048, 1],
  [1024, 1024, 2],
  [2048, 1024, 1],
  [1024, 3072, 2],
  [3072, 1024, 1],
];
const N = 151936;
const K = 1024;
const TOKENS = 512;
const p = (x: number, digits = 1): string => x.toFixed(digits).padStart(7);

const big = device.allocate(256 << 20);
fill(big);
const sink = device.allocate(1 << 20);
const bandwidth = (): number => readRate(device, big, sink);
const peak = (type: TensorType): number => dotRate(device, big, sink, /^q[2-5]|^mxfp4/.test(type) ? 4 : 8);
console.log(`${device.properties.name}, ${device.properties.isa}, ${device.properties.threads} threads`);
console.log(`plain read ${p(bandwidth())} GB/s   dots of bytes ${p(peak("q8_0"), 2)}, of 4 bits and bytes ${p(peak("q4_k"), 2)} TOPS`);

function weight(type: TensorType, n: number, k: number): { w: DeviceBuffer; packed: boolean; seconds: number; bytes: number } {
  const bytes = typeBytes(type, n * k);
  const src = device.allocate(bytes);
  fill(src);
  const layout = packedLayout(type, n, k);
  if (!layout.packed) return { w: src, packed: false, seconds: 0, bytes };
  const w = device.allocate(layout.bytes);
  const seconds = time(packDispatches(ctx, { type, n, k, src, dst: w }), 1);
  src.free();
  return { w, packed: true, seconds, bytes: layout.bytes };
}

function multiply(type: TensorType, w: DeviceBuffer, n: number, k: number, t: number): Dispatch[] {
  const x = device.allocate(t * k * 4);
  new Float32Array(x.view().buffer, x.view().byteOffset, t * k).forEach((_, i, a) => (a[i] = Math.sin(i)));
  const y = device.allocate(t * n * 4);
  const xq = device.allocate(quantizedActivationBytes(isa, t, k));
  const plan = device.plan(
    quantizeDispatches(isa, ctx, { x, xq, T: t, maxT: t, k, span: isQuantised(type) ? activationSpan(type) : 32, rows: "T" }),
    0,
  );
  plan.run();
  plan.free();
  return linearDispatches(isa, ctx, {
    type,
    n,
    k,
    w,
    x,
    xq,
    y,
    yStride: n,
    yOffset: 0,
    T: t,
    maxT: t,
    rows: "T",
  });
}

for (const type of types) {
  if (both || args.includes("--decode")) {
    const { w, seconds, bytes } = weight(type, N, K);
    const before = bandwidth();
    const rates = [1, 2, 4, 8].map((t) => bytes / time(multiply(type, w, N, K, t)) / 1e9);
    const read = Math.max(before, bandwidth());
    console.log(
      `${type.padEnd(7)} decode M=1,2,4,8: ${rates.map((r) => p(r)).join("")} GB/s (M=1 ${p((100 * rates[0]) / read, 0)} % of ${p(read)})` +
        `   bytes ${(bytes / typeBytes(type, N * K)).toFixed(3)} of the file's` +
        (seconds ? `   pack ${p(typeBytes(type, N * K) / seconds / 1e9, 2)} GB/s` : ""),
    );
    w.free();
  }
  if (both || args.includes("--prefill")) {
    let total = 0;
    let ops = 0;
    const rates = LINES.map(([k, n, count]) => {
      const { w } = weight(type, n, k);
      const seconds = time(multiply(type, w, n, k, TOKENS));
      total += seconds * count;
      ops += 2 * n * k * TOKENS * count;
      w.free();
      return (2 * n * k * TOKENS) / seconds / 1e12;
    });
    const best = peak(type);
    console.log(
      `${type.padEnd(7)} prefill M=${TOKENS}: ${rates.map((r) => p(r, 2)).join("")} TOPS, all ${p(ops / total / 1e12, 2)} = ` +
        `${p((100 * ops) / total / 1e12 / best, 0)} % of ${p(best, 2)}`,
    );
  }
}
device.close();
