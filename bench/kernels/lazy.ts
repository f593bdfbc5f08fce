/**
 * The builtins of lazy buffers on this machine's CPU: `bun bench/kernels/lazy.ts [--threads=1]`.
 * Products are GFLOP/s beside what multiply-adds reach on registers, work on rows and elements is GB/s (read and written once) beside a plain copy.
 * Both limits are measured in the same run. What is timed are the dispatches of a read, without the copy to the host.
 */
import { useDevice } from "../../src/compiler/default-device.ts";
import { constexpr, dim, f16, f32, kernel, ptr, type Tile } from "../../src/compiler/language/index.ts";
import { compileProgram } from "../../src/compiler/program.ts";
import { attention, buffer, dot, dotTransposeB, layerNorm, rmsNorm, softmax, type LazyBuffer } from "../../src/lazy/index.ts";
import { createCpuDevice } from "../../src/runtime/cpu/device.ts";
import type { Dispatch } from "../../src/runtime/device.ts";

/** N independent accumulators of a vector each, N * `rounds` multiply-adds of a vector per program. */
const multiplyAdds = kernel(
  "bench_fma",
  { x: ptr(f32), y: ptr(f32), rounds: dim, N: constexpr(10), LANES: constexpr(16) },
  (al, { x, y, rounds, N, LANES }) => {
    const a = al.load(x + al.arange(LANES));
    const b = al.load(x + LANES + al.arange(LANES));
    const c: Tile[] = [];
    for (const i of al.unroll(N)) c.push(al.full([LANES], i, al.f32));
    for (let r = 0; r < rounds; r++) for (const i of al.unroll(N)) c[i] = al.fma(c[i], a, b);
    let all = c[0];
    for (const i of al.unroll(1, N, 1)) all = all + c[i];
    al.store(y + al.programId(0) * LANES + al.arange(LANES), all);
  },
);

const threads = process.argv.find((a) => a.startsWith("--threads="))?.slice("--threads=".length);
const device = createCpuDevice({ threads: Number(threads ?? 1) });
useDevice(device);
/** What the last read dispatched. */
let dispatched: readonly Dispatch[] = [];
const plan = device.plan.bind(device);
device.plan = (d, slots) => plan((dispatched = d), slots);

/** Seconds on one thread: what the processor spent, so that other work on the machine hardly shows; on several: by the clock. */
const clock = (): number => (device.properties.threads === 1 ? process.cpuUsage().user / 1e6 : performance.now() / 1000);

/** Seconds of one run: the best of several batches, after a run to warm up. A batch is long enough for the processor's coarse clock. */
function time(dispatches: readonly Dispatch[]): number {
  const p = plan(dispatches, 0);
  p.run();
  let best = Infinity;
  for (let batch = 0; batch < 5; batch++) {
    const started = clock();
    let runs = 0;
    do {
      p.run();
      runs++;
    } while (clock() - started < 0.1);
    best = Math.min(best, (clock() - started) / runs);
  }
  p.free();
  return best;
}

async function timeOf(x: LazyBuffer): Promise<number> {
  await x.read();
  return time(dispatched);
}

const noise = (...shape: number[]): LazyBuffer =>
  buffer(
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => Math.random() - 0.5),
    shape,
  );

function peak(): number {
  const [x, y] = [device.allocate(4096), device.allocate(1 << 20)];
  const [rounds, programs, LANES] = [2000, 8 * device.properties.threads, device.properties.isa.startsWith("avx512") ? 16 : 8];
  const program = compileProgram(device, multiplyAdds, { LANES });
  return (programs * rounds * 10 * LANES * 2) / time([{ program, grid: [programs, 1, 1], args: [x, y, rounds] }]) / 1e9;
}

const { name, isa } = device.properties;
console.log(`${name}, ${isa}, ${device.properties.threads} threads`);
const line = (what: string, value: number, unit: string, limit: number): void =>
  console.log(
    `${what.padEnd(44)} ${value.toFixed(1).padStart(7)} ${unit}  ${((100 * value) / limit).toFixed(0).padStart(4)} % of ${limit.toFixed(1)}`,
  );

for (const n of [192, 384, 768]) {
  const [x, w, b] = [noise(n, n), noise(n, n), noise(n)];
  const [xh, wh] = [x.cast(f16), w.cast(f16)];
  await Promise.all([xh.read(), wh.read()]);
  const cases: [string, LazyBuffer][] = [
    ["dot f32", dot(x, w)],
    ["dotTransposeB f32", dotTransposeB(x, w)],
    ["dotTransposeB f32, bias and gelu behind it", dotTransposeB(x, w).add(b).gelu()],
    ["dot f16", dot(xh, wh)],
    ["dotTransposeB f16", dotTransposeB(xh, wh)],
  ];
  for (const [what, y] of cases) line(`${what}, ${n}³`, (2 * n ** 3) / (await timeOf(y)) / 1e9, "GFLOP/s", peak());
}
for (const causal of [false, true]) {
  const [H, T, D] = [4, 256, 64];
  const [q, k, v] = [noise(H, T, D), noise(H, T, D), noise(H, T, D)];
  const flops = (4 * H * T * T * D) / (causal ? 2 : 1);
  line(`attention ${causal ? "causal " : ""}4 × 256 × 64`, flops / (await timeOf(attention(q, k, v, { causal }))) / 1e9, "GFLOP/s", peak());
}
const [rows, columns] = [2048, 1024];
const x = noise(rows, columns);
const w = noise(columns);
const bytes = 2 * 4 * rows * columns;
const copy = bytes / (await timeOf(x.neg())) / 1e9;
const work: [string, LazyBuffer][] = [
  ["mul, add, exp, relu", x.mul(2).add(w).exp().relu()],
  ["softmax", softmax(x)],
  ["layerNorm with weight and bias", layerNorm(x, w, w)],
  ["rmsNorm with weight", rmsNorm(x, w)],
  ["rmsNorm with weight, 128 columns", rmsNorm(x.reshape(-1, 128), noise(128))],
  ["gelu", x.gelu()],
];
for (const [what, y] of work) line(what, bytes / (await timeOf(y)) / 1e9, "GB/s", copy);
device.close();
