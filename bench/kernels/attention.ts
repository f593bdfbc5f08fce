/**
 * Attention over the cache by how keys and values are stored: bun bench/kernels/attention.ts [CONTEXT] [--threads=1]
 * 8 KV heads of 128, 2 query heads to each. One token after CONTEXT tokens (default 4096) as GB/s of the cache's bytes beside plain reads, over so
 * many layers that no cache level holds them; and the last step of a prompt of CONTEXT tokens as GFLOP/s (products that the mask leaves) beside what
 * multiply-adds reach on registers. Limits are measured in the same run. Times are the fastest of many, since other work on the machine only slows
 * down.
 */
import { cpuKernels } from "../../kernels/cpu.ts";
import { BLOCK_TOKENS, KV_TYPES, type KvType, kvBytes } from "../../kernels/kv-cache.ts";
import { compileProgram } from "../../src/compiler/program.ts";
import { createCpuDevice } from "../../src/runtime/cpu/device.ts";
import type { DeviceBuffer } from "../../src/runtime/device.ts";
import { bestSeconds, fmaRate, readRate } from "../limits.ts";

const option = (name: string, otherwise: number): number =>
  Number(process.argv.find((a) => a.startsWith(`--${name}=`))?.slice(name.length + 3) ?? otherwise);
const threads = option("threads", 1);
const context = Number(process.argv.slice(2).find((a) => /^\d+$/.test(a)) ?? 4096);
const RUNS = option("runs", 15);
/** Tokens of a step of a prompt, and bytes that no cache holds. */
const [STEP, COLD] = [256, 256 << 20];
const [D, G, KVH] = [128, 2, 8];
const device = createCpuDevice({ threads });

function measure(phase: "prefill" | "decode", kv: KvType): { seconds: number; bytes: number; flops: number } {
  const T = phase === "prefill" ? Math.min(STEP, context) : 1;
  const perTile = phase === "prefill" ? cpuKernels.prefillTokens(G, D) : 1;
  const blocks = Math.ceil(context / BLOCK_TOKENS);
  const bytes = blocks * KVH * BLOCK_TOKENS * kvBytes(kv, D);
  const layers = phase === "prefill" ? 1 : Math.ceil(COLD / (2 * bytes));
  const stride = (G + 2) * KVH * D;
  const owned: DeviceBuffer[] = [];
  const buffer = (n: number): DeviceBuffer => {
    const b = device.allocate(n);
    owned.push(b);
    return b;
  };
  const ints = (values: number[]): DeviceBuffer => {
    const b = buffer(values.length * 4);
    b.view().set(new Uint8Array(Int32Array.from(values).buffer));
    return b;
  };
  const starts = Array.from({ length: Math.ceil(T / perTile) }, (_, i) => i * perTile);
  const count = starts.length;
  const slot = (): never => {
    throw new Error("sizes are numbers here");
  };
  const common = {
    phase,
    D,
    G,
    KVH,
    kv,
    stride,
    column: 0,
    count,
    maxCount: count,
    window: 0,
    scale: 1 / Math.sqrt(D),
    softcap: 0,
    q: buffer(T * stride * 4),
    tiles: ints(starts.flatMap((at) => [at, Math.min(perTile, T - at), context - T + at, 0])),
    table: ints(Array.from({ length: blocks }, (_, i) => i)),
    y: buffer(T * G * KVH * D * 4),
  };
  const ctx = { program: compileProgram.bind(null, device), slot, scratch: buffer, threads };
  const dispatches = Array.from({ length: layers }, () => {
    const [keys, values] = [buffer(bytes), buffer(bytes)];
    // Pages of their own: memory that was never written is one page of zeros.
    for (const b of [keys, values]) for (let i = 0, v = b.view(); i < v.length; i += 4096) v[i] = 1;
    return cpuKernels.attention(ctx, { ...common, keys, values });
  }).flat();
  const seconds = bestSeconds(device, dispatches, RUNS) / layers;
  for (const b of owned) b.free();
  const seen = Array.from({ length: T }, (_, i) => context - T + i + 1).reduce((a, b) => a + b, 0);
  return { seconds, bytes: 2 * bytes, flops: 4 * D * G * KVH * seen };
}

const big = device.allocate(COLD);
new Uint32Array(big.view().buffer, big.view().byteOffset, big.bytes >> 2).fill(0x01010101);
const sink = device.allocate(1 << 20);
console.log(`${device.properties.name} ${device.properties.isa}, ${threads} threads, context ${context}`);
for (const phase of ["decode", "prefill"] as const)
  for (const kv of KV_TYPES) {
    const limit = (): number => (phase === "decode" ? readRate(device, big, sink) : fmaRate(device, big, sink));
    const before = limit();
    const { seconds, bytes, flops } = measure(phase, kv);
    const best = Math.max(before, limit());
    const rate = (phase === "decode" ? bytes : flops) / seconds / 1e9;
    const unit = phase === "decode" ? "GB/s" : "GFLOP/s";
    console.log(
      `${phase.padEnd(8)} ${kv.padEnd(5)} ${(seconds * 1e3).toFixed(3)} ms, ${rate.toFixed(1)} ${unit} = ${((100 * rate) / best).toFixed(0)} % of ${best.toFixed(1)}`,
    );
  }
device.close();
