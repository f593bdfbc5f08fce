/**
 * Attention over the cache by how keys and values are stored: bun bench/kernels/attention.ts [CONTEXT] [--threads=1]
 * One token, and a prompt's last two tiles, after CONTEXT tokens (default 4096): 8 KV heads of 128, 2 query heads to each. Times are the
 * fastest of many, since other work on the machine only slows down.
 */
import { cpuKernels } from "../../kernels/cpu.ts";
import { BLOCK_TOKENS, KV_TYPES, type KvType, kvBytes } from "../../kernels/kv-cache.ts";
import { compileProgram } from "../../src/compiler/program.ts";
import type { DeviceBuffer } from "../../src/runtime/device.ts";
import { createDevice } from "../../src/runtime/index.ts";

const threads = Number(process.argv.find((a) => a.startsWith("--threads="))?.slice(10) ?? 1);
const context = Number(process.argv.slice(2).find((a) => /^\d+$/.test(a)) ?? 4096);
const [D, G, KVH, RUNS] = [128, 2, 8, 60];
const device = createDevice("cpu", { threads });

function measure(phase: "prefill" | "decode", kv: KvType): { ms: number; bytes: number } {
  const perTile = phase === "prefill" ? cpuKernels.prefillTokens(G, D) : 1;
  const count = phase === "prefill" ? 2 : 1;
  const T = perTile * count;
  const blocks = Math.ceil(context / BLOCK_TOKENS);
  const bytes = blocks * KVH * BLOCK_TOKENS * kvBytes(kv, D);
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
  const tiles = Array.from({ length: count }, (_, i) => [i * perTile, perTile, context - T + i * perTile, 0]).flat();
  const slot = (): never => {
    throw new Error("sizes are numbers here");
  };
  const plan = device.plan(
    cpuKernels.attention(
      { program: compileProgram.bind(null, device), slot, scratch: buffer },
      {
        phase,
        D,
        G,
        KVH,
        kv,
        q: buffer(T * stride * 4),
        stride,
        column: 0,
        keys: buffer(bytes),
        values: buffer(bytes),
        tiles: ints(tiles),
        table: ints(Array.from({ length: blocks }, (_, i) => i)),
        y: buffer(T * G * KVH * D * 4),
        count,
        maxCount: count,
        window: 0,
        scale: 1 / Math.sqrt(D),
        softcap: 0,
      },
    ),
    0,
  );
  let ms = Infinity;
  for (let i = 0; i < RUNS; i++) {
    const start = performance.now();
    plan.run();
    ms = Math.min(ms, performance.now() - start);
  }
  plan.free();
  for (const b of owned) b.free();
  return { ms, bytes: 2 * bytes };
}

console.log(`${device.properties.name} ${device.properties.isa}, ${threads} threads, context ${context}`);
for (const phase of ["decode", "prefill"] as const)
  for (const kv of KV_TYPES) {
    const { ms, bytes } = measure(phase, kv);
    const rate = phase === "decode" ? `, ${(bytes / ms / 1e6).toFixed(1)} GB/s of keys and values` : "";
    console.log(`${phase.padEnd(8)} ${kv.padEnd(5)} ${ms.toFixed(3)} ms${rate}`);
  }
device.close();
