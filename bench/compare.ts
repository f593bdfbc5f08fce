/**
 * Alloy beside llama.cpp, one after the other in the same minutes: rates as ratios, and as fractions of what the machine can do.
 *
 *   npm install --ignore-scripts --prefix bench/peers
 *   bun build.ts
 *   bun bench/compare.ts --shape qwen3-0.6b,llama-3.2-1b --mix q4_k_m,q8_0,f16 --threads 1,2 --rounds 5 --out compare.json
 *   bun bench/chart.ts compare.json > docs/performance.svg
 *
 * Model files with random weights are made in --folder (default: the system's temporary folder) and kept there.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type Limits, measureLimits } from "./limits.ts";
import { makeModel, type Shape, SHAPES } from "./model-file.ts";

const { values } = parseArgs({
  options: {
    shape: { type: "string", default: "qwen3-0.6b,llama-3.2-1b" },
    mix: { type: "string", default: "q4_k_m,q8_0,f16" },
    threads: { type: "string", default: "1,2" },
    rounds: { type: "string", default: "5" },
    /** Tokens of the short and of the long prompt; decoding is measured behind the long one too. */
    short: { type: "string", default: "512" },
    long: { type: "string", default: "4096" },
    gen: { type: "string", default: "32" },
    sequences: { type: "string", default: "8" },
    /** What to run Alloy with: the built executable, or "bun src/cli/main.ts". */
    alloy: { type: "string", default: join(import.meta.dir, "../dist/alloy") },
    /** What to run node-llama-cpp with. */
    node: { type: "string", default: "node" },
    folder: { type: "string", default: join(tmpdir(), "alloy-bench") },
    /** Writes everything that was measured, as JSON. */
    out: { type: "string" },
  },
});
const [short, long, gen, sequences, rounds] = [values.short, values.long, values.gen, values.sequences, values.rounds].map(Number);

interface Report {
  firstTokenMs: number;
  results: { test: string; depth: number; median: number }[];
}
/** Rates by test, in tokens/s; `load` is first tokens per second from opening the file; `peak` MiB. */
type Sample = Record<string, number>;

/** Runs a command and parses what it prints as JSON; peak memory is the system's account of it. */
function run(command: string[]): { report: Report; peak: number } {
  const p = Bun.spawnSync(command, { stdout: "pipe", stderr: "pipe", cwd: join(import.meta.dir, "..") });
  const text = p.stdout.toString().trim();
  if (p.exitCode !== 0) throw new Error(`${command.join(" ")} failed:\n${p.stderr.toString().slice(-2000)}${text.slice(-500)}`);
  return { report: JSON.parse(text) as Report, peak: p.resourceUsage.maxRSS / 2 ** 20 };
}

/** One sample of everything: a run at depth 0, and one behind the long prompt. */
function sample(command: (options: Record<"prompt" | "gen" | "depth" | "sequences", string>) => string[]): Sample {
  const near = run(command({ prompt: values.short, gen: values.gen, depth: "0", sequences: `1,${sequences}` }));
  const deep = run(command({ prompt: "0", gen: values.gen, depth: values.long, sequences: "1" }));
  const out: Sample = { load: 1000 / near.report.firstTokenMs, peak: near.peak };
  for (const r of [...near.report.results, ...deep.report.results]) out[`${r.test}@${r.depth}`] = r.median;
  return out;
}

const flags = (options: Record<string, string>): string[] => Object.entries(options).flatMap(([name, value]) => [`--${name}`, value]);
const alloy = (model: string, threads: number): Sample =>
  sample((o) => [...values.alloy.split(" "), "bench", model, ...flags(o), ...flags({ reps: "1", threads: String(threads) }), "--json"]);
const llamaCpp = (model: string, threads: number): Sample =>
  sample((o) => [...values.node.split(" "), join(import.meta.dir, "llama-cpp.mjs"), model, ...flags({ ...o, threads: String(threads) })]);

const TESTS: readonly [key: string, name: string][] = [
  [`pp${short}@0`, `prefill ${short}`],
  [`pp${long}@0`, `prefill ${long}`],
  [`tg${gen}@0`, "decode"],
  [`tg${gen}@${long}`, `decode at depth ${long}`],
  [`tg${gen}x${sequences}@0`, `decode of ${sequences} sequences`],
  ["load", "load to first token"],
];

/** Multiply-adds of all linear layers for a token, the output layer aside. */
const linearMacs = (s: Shape): number => {
  const q = s.heads * s.headDim;
  return s.layers * (2 * s.hidden * (q + s.kvHeads * s.headDim) + 3 * s.hidden * s.ffn);
};
/** Floating point operations of causal attention over a prompt, and bytes of its cache (float16). */
const attentionOps = (s: Shape, tokens: number): number => 4 * s.layers * s.heads * s.headDim * ((tokens * (tokens + 1)) / 2);
const cacheBytes = (s: Shape, tokens: number): number => 4 * s.layers * s.kvHeads * s.headDim * tokens;

/** Tokens per second if nothing but arithmetic (prefill) or reading (decode) took time; undefined where that says nothing. */
function limitOf(test: string, s: Shape, mix: string, fileBytes: number, l: Limits): number | undefined {
  const prefill = /^pp(\d+)@0$/.exec(test);
  if (prefill) {
    const n = Number(prefill[1]);
    const linear = (2 * linearMacs(s) * n) / (mix === "f16" ? l.fmas * 1e9 : mix === "q8_0" ? l.dots * 1e12 : l.dots4 * 1e12);
    return n / (linear + attentionOps(s, n) / (l.fmas * 1e9));
  }
  if (test === `tg${gen}@0`) return (l.read * 1e9) / fileBytes;
  if (test === `tg${gen}@${long}`) return (l.read * 1e9) / (fileBytes + cacheBytes(s, long));
  return undefined;
}

const median = (v: number[]): number => [...v].sort((a, b) => a - b)[v.length >> 1];

export interface Row {
  model: string;
  threads: number;
  test: string;
  alloy: number;
  llamaCpp: number;
  /** Median, smallest and largest of the rounds' ratios. */
  ratio: [number, number, number];
  /** Of the machine's limit; undefined where there is none. */
  ofLimit?: number;
}

mkdirSync(values.folder, { recursive: true });
const cpu = spawnSync("sh", ["-c", "grep -m1 'model name' /proc/cpuinfo || sysctl -n machdep.cpu.brand_string"])
  .stdout.toString()
  .replace(/.*: /, "")
  .trim();
const limits: Record<number, Limits> = {};
const rows: Row[] = [];
const save = async (): Promise<unknown> => values.out && Bun.write(values.out, JSON.stringify({ cpu, rounds, limits, rows }, null, 1));
for (const threads of values.threads.split(",").map(Number)) {
  limits[threads] = measureLimits(threads);
  const { read, dots, dots4, fmas } = limits[threads];
  console.log(
    `\n${cpu}, ${threads} thread${threads > 1 ? "s" : ""}: reads ${read.toFixed(1)} GB/s, dots ${dots.toFixed(2)} TOPS (4-bit ${dots4.toFixed(2)}), multiply-adds ${fmas.toFixed(0)} GFLOP/s; medians of ${rounds} alternating rounds\n`,
  );
  console.log("| model | test | Alloy t/s | llama.cpp t/s | ratio | spread | of the limit |\n| --- | --- | --- | --- | --- | --- | --- |");
  for (const name of values.shape.split(",")) {
    for (const mix of values.mix.split(",")) {
      const shape = SHAPES[name];
      const path = join(values.folder, `${name}-${mix}.gguf`);
      makeModel(path, shape, mix);
      const fileBytes = Bun.file(path).size;
      const ours: Sample[] = [];
      const theirs: Sample[] = [];
      for (let round = 0; round < rounds; round++) {
        process.stderr.write(`${name} ${mix}, ${threads} threads, round ${round + 1} of ${rounds}\r`);
        ours.push(alloy(path, threads));
        theirs.push(llamaCpp(path, threads));
      }
      const model = `${name} ${mix}`;
      for (const [key, test] of TESTS) {
        const ratios = ours.map((o, i) => o[key] / theirs[i][key]);
        const rate = median(ours.map((o) => o[key]));
        const limit = limitOf(key, shape, mix, fileBytes, limits[threads]);
        const row: Row = {
          model,
          threads,
          test,
          alloy: rate,
          llamaCpp: median(theirs.map((t) => t[key])),
          ratio: [median(ratios), Math.min(...ratios), Math.max(...ratios)],
          ofLimit: limit && rate / limit,
        };
        rows.push(row);
        print(row);
      }
      // Less is better here: theirs over ours.
      const peaks = ours.map((o, i) => theirs[i].peak / o.peak);
      const peak = (of: Sample[]): number => median(of.map((o) => o.peak)) / (fileBytes / 2 ** 20);
      const ratio: Row["ratio"] = [median(peaks), Math.min(...peaks), Math.max(...peaks)];
      const row = { model, threads, test: "peak memory over file size", alloy: peak(ours), llamaCpp: peak(theirs), ratio };
      rows.push(row);
      print(row);
      await save();
    }
  }
}

function print(r: Row): void {
  const cells = [
    r.model,
    r.test,
    r.alloy.toFixed(r.alloy < 10 ? 2 : 1),
    r.llamaCpp.toFixed(r.llamaCpp < 10 ? 2 : 1),
    r.ratio[0].toFixed(2),
  ];
  console.log(
    `| ${[...cells, r.ratio[1] === r.ratio[2] ? "" : `${r.ratio[1].toFixed(2)}–${r.ratio[2].toFixed(2)}`, r.ofLimit === undefined ? "" : `${(100 * r.ofLimit).toFixed(0)} %`].join(" | ")} |`,
  );
}
