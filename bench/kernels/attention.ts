/**
 * Attention over the cache by how keys and values are stored: bun bench/kernels/attention.ts [CONTEXT] [--threads=1] [--sequences=1]
 * 8 KV heads of 128, 2 query heads to each (--head, --group). One token of each sequence, which has a cache of its own, after CONTEXT tokens (default 4096) as GB/s
 * of the cache's bytes beside plain reads, over so many layers that no cache level holds them; and the last step of a prompt of CONTEXT tokens as
 * GFLOP/s (products that the mask leaves) beside what multiply-adds reach on registers. Limits are measured in the same run. Times are the fastest
 * of many, since other work on the machine only slows down. --only=PHASE,TYPE leaves the rest out.
 */
import { kernelsFor } from "../../kernels/choice.ts";
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
const SEQUENCES = option("sequences", 1);
const only =
  process.argv
    .find((a) => a.startsWith("--only="))
    ?.slice(7)
    .split(",") ?? [];
/** Tokens of a step of a prompt, and bytes that no cache holds. */
const [STEP, COLD] = [256, 256 << 20];
const [D, G, KVH] = [option("head", 128), option("group", 2), 8];
const device = createCpuDevice({ threads });
const kernels = kernelsFor(device.properties);

/** Fills a cache with values of ordinary size: arithmetic on what is next to zero can be slow. A q8_0 record's scales lie behind its bytes. */
function fill(cache: Uint8Array, kv: KvType): void {
  const record = BLOCK_TOKENS * kvBytes(kv, D);
  const one = new Uint8Array(record);
  const values = Array.from({ length: BLOCK_TOKENS * D }, (_, i) => Math.sin(i * i));
  if (kv === "f16") new Float16Array(one.buffer).set(values);
  if (kv === "f32") new Float32Array(one.buffer).set(values);
  if (kv === "q8_0") {
    one.set(values.map((v) => Math.round(v * 127) & 255));
    new Float16Array(one.buffer).fill(1 / 127, (BLOCK_TOKENS * D) / 2);
  }
  for (let at = 0; at < cache.length; at += record) cache.set(one, at);
}

function measure(phase: "prefill" | "decode", kv: KvType): { seconds: number; bytes: number; flops: number } {
  const T = phase === "prefill" ? Math.min(STEP, context) : SEQUENCES;
  const perTile = phase === "prefill" ? kernels.prefillTokens(G, D) : 1;
  const blocks = Math.ceil(context / BLOCK_TOKENS);
  const sequences = phase === "prefill" ? 1 : SEQUENCES;
  const bytes = sequences * blocks * KVH * BLOCK_TOKENS * kvBytes(kv, D);
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
    tiles: ints(
      starts.flatMap((at) =>
        phase === "prefill" ? [at, Math.min(perTile, T - at), context - T + at, 0] : [at, 1, context - 1, at * blocks],
      ),
    ),
    table: ints(Array.from({ length: sequences * blocks }, (_, i) => i)),
    y: buffer(T * G * KVH * D * 4),
  };
  const q = common.q.view();
  new Float32Array(q.buffer, q.byteOffset, q.byteLength / 4).forEach((_, i, all) => (all[i] = Math.cos(i * i)));
  const ctx = { program: compileProgram.bind(null, device), slot, scratch: buffer, threads };
  const dispatches = Array.from({ length: layers }, () => {
    const [keys, values] = [buffer(bytes), buffer(bytes)];
    for (const b of [keys, values]) fill(b.view(), kv);
    return kernels.attention(ctx, { ...common, keys, values });
  }).flat();
  const seconds = bestSeconds(device, dispatches, RUNS) / layers;
  for (const b of owned) b.free();
  const seen = Array.from({ length: T }, (_, i) => context - T + i + 1).reduce((a, b) => a + b, 0);
  return { seconds, bytes: 2 * bytes, flops: 4 * D * G * KVH * seen };
}

const big = device.allocate(COLD);
new Uint32Array(big.view().buffer, big.view().byteOffset, big.bytes >> 2).fill(0x01010101);
const sink = device.allocate(1 << 20);
console.log(
  `${device.properties.name} ${device.properties.isa}, ${threads} threads, context ${context}${SEQUENCES > 1 ? `, ${SEQUENCES} sequences` : ""}`,
);
for (const phase of ["decode", "prefill"] as const)
  for (const kv of KV_TYPES) {
    if (only.length > 0 && !(only.includes(phase) && only.includes(kv))) continue;
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
