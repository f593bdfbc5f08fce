/**
 * Threads: what a parallel region costs, alone and beside other work, and what is left of a model's speed beside other work, with llama.cpp
 * in the same minutes.
 *
 *   bun bench/threads.ts --busy 0,1,2,8
 *   npm install --ignore-scripts --prefix bench/peers
 *   bun bench/threads.ts --busy 0,1,2,8 --model /tmp/alloy-bench/qwen3-0.6b-q4_k_m.gguf     (bench/compare.ts makes it)
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { createCpuDevice } from "../src/runtime/cpu/device.ts";

const { values } = parseArgs({
  options: {
    /** How many processes run beside it that never sleep. */
    busy: { type: "string", default: "0,1,2,8" },
    threads: { type: "string", default: "1,2" },
    model: { type: "string" },
    /** `alloy` or `llama.cpp` alone: beside other work the latter takes minutes. */
    only: { type: "string" },
    prompt: { type: "string", default: "128" },
    gen: { type: "string", default: "8" },
    rounds: { type: "string", default: "1" },
    /** What to run Alloy with: the built executable, or "bun src/cli/main.ts". */
    alloy: { type: "string", default: join(import.meta.dir, "../dist/alloy") },
    node: { type: "string", default: "node" },
  },
});
const numbers = (text: string): number[] => text.split(",").map(Number);
const median = (v: readonly number[]): number => [...v].sort((a, b) => a - b)[v.length >> 1];

/** A program per thread and more that spin for `turns` turns of a loop. */
const TEXT = `typedef unsigned int u32; typedef unsigned long long u64;
void spin(const u64 *args, u32 begin, u32 end, const u32 *grid) {
  for (u32 i = begin; i < end; i++) for (volatile u32 n = 0; n < (u32)args[0]; n++);
}`;

/** Microseconds of a dispatch of 16 programs in a plan of 500: the median of plans, and the slowest of 20. */
function region(threads: number, turns: number): { median: number; slowest: number } {
  const device = createCpuDevice({ threads });
  const program = device.program({ symbol: `spin`, params: ["i32"], text: () => TEXT });
  const plan = device.plan(
    Array.from({ length: 500 }, () => ({ program, grid: [16, 1, 1] as const, args: [turns] })),
    0,
  );
  plan.run();
  const us = Array.from({ length: 20 }, () => {
    const begin = performance.now();
    plan.run();
    return ((performance.now() - begin) * 1000) / 500;
  });
  device.close();
  return { median: median(us), slowest: Math.max(...us) };
}

interface Rates {
  prefill: number;
  decode: number;
}

/** Tokens per second of one run of `alloy bench`, or of bench/llama-cpp.mjs, whose options and results are the same. */
function rates(command: string[], threads: number): Rates {
  const options = ["--prompt", values.prompt, "--gen", values.gen, "--threads", String(threads)];
  const p = Bun.spawnSync([...command, ...options], { cwd: join(import.meta.dir, ".."), stderr: "pipe" });
  if (p.exitCode !== 0) throw new Error(`${command.join(" ")} failed:\n${p.stderr.toString().slice(-2000)}`);
  const { results } = JSON.parse(p.stdout.toString()) as { results: { test: string; median: number }[] };
  const of = (test: string): number => results.find((r) => r.test === test)!.median;
  return { prefill: of(`pp${values.prompt}`), decode: of(`tg${values.gen}`) };
}

const cells = (...of: (string | number)[]): void => console.log(`| ${of.join(" | ")} |`);
const { model } = values;
if (model) {
  cells("threads", "busy processes", "test", "Alloy t/s", "llama.cpp t/s", "ratio");
  cells(..."------".split("").map(() => "---"));
} else {
  cells("threads", "busy processes", "empty region, µs", "slowest of 20", "region of some 40 µs", "slowest of 20");
  cells(..."------".split("").map(() => "---"));
}
for (const threads of numbers(values.threads)) {
  for (const busy of numbers(values.busy)) {
    // They end with this process, however it does.
    const others = Array.from({ length: busy }, () =>
      Bun.spawn(["sh", "-c", `while kill -0 ${process.pid}; do n=0; while [ $n -lt 100000 ]; do n=$((n + 1)); done; done`], {
        stderr: "ignore",
      }),
    );
    try {
      if (!model) {
        const [empty, full] = [region(threads, 0), region(threads, 4000)];
        cells(threads, busy, ...[empty.median, empty.slowest, full.median, full.slowest].map((us) => us.toFixed(2)));
        continue;
      }
      const [ours, theirs]: [Rates[], Rates[]] = [[], []];
      for (let round = 0; round < Number(values.rounds); round++) {
        if (values.only !== "llama.cpp") ours.push(rates([...values.alloy.split(" "), "bench", model, "--reps", "1", "--json"], threads));
        if (values.only !== "alloy")
          theirs.push(rates([...values.node.split(" "), join(import.meta.dir, "llama-cpp.mjs"), model], threads));
      }
      for (const test of ["prefill", "decode"] as const) {
        const [a, b] = [ours, theirs].map((all) => (all.length > 0 ? median(all.map((r) => r[test])) : NaN));
        cells(threads, busy, test, a.toFixed(1), b.toFixed(1), (a / b).toFixed(2));
      }
    } finally {
      for (const other of others) other.kill();
    }
  }
}
