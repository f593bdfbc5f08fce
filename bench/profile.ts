/**
 * Where a step's time goes, by op: bun bench/profile.ts MODEL [TOKENS=1] [DEPTH=0] [THREADS]. ALLOY_DEVICE chooses the device.
 * Random tokens; the third run of the step is timed dispatch by dispatch.
 */
import { openModel } from "../src/formats/open.ts";
import { loadRunner, type Runner } from "../src/models/runner.ts";
import { createDevice } from "../src/runtime/index.ts";

const [model, tokens = "1", depth = "0", threads] = process.argv.slice(2);
if (!model) throw new Error("usage: bun bench/profile.ts MODEL [TOKENS] [DEPTH] [THREADS]");
const [T, D] = [Number(tokens), Number(depth)];
const device = createDevice(undefined, threads ? { threads: Number(threads) } : {});
let start = performance.now();
const runner = (await loadRunner(openModel(model), {
  device,
  contextLength: T + D,
  kvTokens: T + D,
  maxBatchTokens: Math.max(T, 256),
})) as Runner;
console.log(`load ${(performance.now() - start).toFixed(0)} ms`);
const blocks = Int32Array.from({ length: Math.ceil((T + D) / runner.blockTokens) }, (_, i) => i);
const step = async (n: number, from: number): Promise<void> => {
  const ids = Int32Array.from({ length: n }, (_, i) => (7919 * (from + i) + 11) % runner.vocabSize);
  await runner.step([{ tokens: ids, start: from, blocks, outputs: "last", sampling: null }]);
};
for (let from = 0; from < D; from += 256) await step(Math.min(256, D - from), from);
for (let i = 0; i < 3; i++) {
  start = performance.now();
  await step(T, D);
  console.log(`step ${(performance.now() - start).toFixed(2)} ms`);
}
const ops = new Map<string, { op: string; ms: number; dispatches: number }>();
for (const d of runner.profile()) {
  const op = d.label.replace(/layers\.\d+\./, "");
  const row = ops.get(op) ?? { op, ms: 0, dispatches: 0 };
  row.ms += d.ms;
  row.dispatches++;
  ops.set(op, row);
}
const rows = [...ops.values()].sort((a, b) => b.ms - a.ms);
console.log(Bun.inspect.table(rows.map((r) => ({ ...r, ms: r.ms.toFixed(3) }))));
console.log(`all ${rows.reduce((s, r) => s + r.ms, 0).toFixed(2)} ms`);
device.close();
