/**
 * What a decode step spends outside its kernels: bun bench/step.ts MODEL [DEPTH=0] [THREADS] [STEPS=48].
 *
 * A step's time from call to tokens, beside the sum of its dispatches' (the same step again, timed dispatch by dispatch by the native side);
 * the difference is JavaScript and waiting for the end. What is in the dispatches but not in kernels, waking threads and meeting again, is measured
 * with the same grids over a kernel that does nothing. Sampling is timed by the difference to a step that samples nothing.
 */
import { constexpr, dim, i32, kernel, ptr } from "../src/compiler/language/index.ts";
import { compileProgram } from "../src/compiler/program.ts";
import { openModel } from "../src/formats/open.ts";
import type { RowSampling } from "../src/models/api.ts";
import { GREEDY } from "../src/models/evaluate.ts";
import { loadRunner, type Runner } from "../src/models/runner.ts";
import type { GridSize } from "../src/runtime/device.ts";
import { createDevice } from "../src/runtime/index.ts";

const [model, depth = "0", threads, steps = "48"] = process.argv.slice(2);
if (!model) throw new Error("usage: bun bench/step.ts MODEL [DEPTH] [THREADS] [STEPS]");
const [D, N] = [Number(depth), Number(steps)];
const device = createDevice("cpu", threads ? { threads: Number(threads) } : {});
const runner = (await loadRunner(openModel(model), { device, contextLength: D + 1, kvTokens: D + 1, maxSequences: 1 })) as Runner;
const blocks = Int32Array.from({ length: Math.ceil((D + 1) / runner.blockTokens) }, (_, i) => i);
const ids = (n: number, from: number): Int32Array => Int32Array.from({ length: n }, (_, i) => (7919 * (from + i) + 11) % runner.vocabSize);
for (let from = 0; from < D; from += 256)
  await runner.step([{ tokens: ids(Math.min(256, D - from), from), start: from, blocks, outputs: "none", sampling: null }]);

const row: RowSampling = { ...GREEDY, seed: [1, 2] };
const penalised = { penaltyIds: ids(256, 0).sort(), penaltyCounts: new Int32Array(256).fill(1) };
const WAYS: Record<string, RowSampling | null> = {
  "logits only": null,
  greedy: row,
  "temperature 0.8": { ...row, temperature: 0.8 },
  "top-k 40, top-p 0.95, min-p 0.05": { ...row, temperature: 0.8, topK: 40, topP: 0.95, minP: 0.05 },
  "top-p 0.95": { ...row, temperature: 0.8, topP: 0.95 },
  "the same with penalties of 256 tokens": { ...row, temperature: 0.8, topK: 40, topP: 0.95, repeatPenalty: 1.1, ...penalised },
  "a mask": { ...row, temperature: 0.8, topK: 40, topP: 0.95, mask: new Int32Array(Math.ceil(runner.vocabSize / 32)).fill(0x55555555) },
};
const median = (v: number[]): number => v.toSorted((a, b) => a - b)[v.length >> 1];
const step = (sampling: RowSampling | null) => runner.step([{ tokens: ids(1, D), start: D, blocks, outputs: "last", sampling }]);

/** The same grids on as many threads, a kernel that does nothing. */
const nothing = kernel("nothing", { y: ptr(i32), n: dim, W: constexpr(16) }, (al, { y, n, W }) => {
  const i = al.arange(W);
  al.store(y + i, i, { mask: i < n });
});
const walls: Record<string, number[]> = Object.fromEntries(Object.keys(WAYS).map((w) => [w, []]));
const sampled: Record<string, number[]> = Object.fromEntries(Object.keys(WAYS).map((w) => [w, []]));
const inDispatches: number[] = [];
for (const way of Object.values(WAYS)) await step(way);
for (let i = 0; i < N; i++) {
  for (const [name, way] of Object.entries(WAYS)) {
    const start = performance.now();
    await step(way);
    walls[name].push(performance.now() - start);
    const timed = runner.profile();
    const sampling = timed.filter((d) => d.label.startsWith("sample.")).reduce((s, d) => s + d.ms, 0);
    sampled[name].push(sampling);
    if (way === null) inDispatches.push(timed.reduce((s, d) => s + d.ms, 0));
  }
}
const programs = (n: GridSize): number => (typeof n === "number" ? n : 1);
const program = compileProgram(device, nothing, { W: 16 });
const scratch = device.allocate(64);
const empty = device.plan(
  runner.profile().map(({ grid: [x, y, z], parallel }) => ({
    program,
    parallel,
    grid: [programs(x), programs(y), programs(z)] as const,
    args: [scratch, 0],
  })),
  0,
);
const meeting = Array.from({ length: 200 }, () => {
  const start = performance.now();
  empty.run();
  return performance.now() - start;
});

const whole = median(walls["logits only"]);
const share = (ms: number): string => `${ms.toFixed(3)} ms, ${((100 * ms) / whole).toFixed(2)} %`;
console.log(`a decode step after ${D} tokens, ${device.properties.threads} threads: ${whole.toFixed(2)} ms, median of ${N}`);
console.log(`JavaScript and seeing the end: ${share(whole - median(inDispatches))}`);
console.log(`${runner.profile().length} dispatches of nothing: ${share(median(meeting))}`);
for (const [name, v] of Object.entries(sampled)) console.log(`sampling, ${name}: ${share(median(v))}`);
for (const [name, v] of Object.entries(walls)) console.log(`step, ${name}: ${median(v).toFixed(2)} ms`);
device.close();
