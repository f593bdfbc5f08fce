/**
 * Alloy beside llama.cpp, one after the other in the same minutes: prefill and decode tokens per second as ratios.
 *
 *   npm install --ignore-scripts --prefix bench/peers
 *   bun bench/compare.ts --shape qwen3-0.6b --mix q4_k_m,q8_0 --threads 2 --rounds 5
 *
 * Model files with random weights are made in --folder (default: the system's temporary folder) and kept there.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { makeModel, SHAPES } from "./model-file.ts";

const { values } = parseArgs({
  options: {
    shape: { type: "string", default: "qwen3-0.6b" },
    mix: { type: "string", default: "q4_k_m,q8_0" },
    threads: { type: "string", default: "2" },
    rounds: { type: "string", default: "5" },
    pp: { type: "string", default: "512" },
    tg: { type: "string", default: "32" },
    depth: { type: "string", default: "0" },
    /** What to run Alloy with: the built executable, or "bun src/cli/main.ts". */
    alloy: { type: "string", default: join(import.meta.dir, "../dist/alloy") },
    folder: { type: "string", default: join(tmpdir(), "alloy-bench") },
    json: { type: "boolean", default: false },
  },
});

interface Sample {
  pp: number;
  tg: number;
  peakMiB: number;
}

/** Runs a command under GNU time's accounting (wait4's, through Bun) and parses its last line as JSON. */
function run(command: string[]): { out: unknown; peakMiB: number } {
  const p = Bun.spawnSync(command, { stdout: "pipe", stderr: "pipe", cwd: join(import.meta.dir, "..") });
  const text = p.stdout.toString().trim();
  if (p.exitCode !== 0) throw new Error(`${command.join(" ")} failed:\n${p.stderr.toString().slice(-2000)}${text.slice(-500)}`);
  return { out: JSON.parse(text), peakMiB: p.resourceUsage.maxRSS / 2 ** 20 };
}

const common = ["--threads", values.threads];
function alloy(model: string): Sample {
  const { out, peakMiB } = run([
    ...values.alloy.split(" "),
    "bench",
    model,
    "-p",
    values.pp,
    "-n",
    values.tg,
    "-d",
    values.depth,
    "-r",
    "1",
    ...common,
    "--json",
  ]);
  const { results } = out as { results: { test: string; median: number }[] };
  const rate = (kind: string): number => results.find((r) => r.test.startsWith(kind))!.median;
  return { pp: rate("pp"), tg: rate("tg"), peakMiB };
}
function llamaCpp(model: string): Sample {
  const { out, peakMiB } = run([
    "node",
    join(import.meta.dir, "llama-cpp.mjs"),
    model,
    "--pp",
    values.pp,
    "--tg",
    values.tg,
    "--depth",
    values.depth,
    "--repeat",
    "1",
    ...common,
  ]);
  const r = out as { pp: number[]; tg: number[] };
  return { pp: r.pp[0], tg: r.tg[0], peakMiB };
}

const median = (v: number[]): number => [...v].sort((a, b) => a - b)[v.length >> 1];
const spread = (v: number[]): string => `${Math.min(...v).toFixed(2)}–${Math.max(...v).toFixed(2)}`;

mkdirSync(values.folder, { recursive: true });
const rows: Record<string, string | number>[] = [];
for (const mix of values.mix.split(",")) {
  const path = join(values.folder, `${values.shape}-${mix}.gguf`);
  makeModel(path, SHAPES[values.shape], mix);
  const ours: Sample[] = [];
  const theirs: Sample[] = [];
  for (let round = 0; round < Number(values.rounds); round++) {
    process.stderr.write(`${mix} round ${round + 1} of ${values.rounds}\r`);
    ours.push(alloy(path));
    theirs.push(llamaCpp(path));
  }
  const fileMiB = Bun.file(path).size / 2 ** 20;
  for (const test of ["pp", "tg"] as const) {
    const ratios = ours.map((o, i) => o[test] / theirs[i][test]);
    rows.push({
      model: `${values.shape} ${mix}`,
      test: `${test}${values[test]} @ ${values.depth}`,
      "alloy t/s": median(ours.map((o) => o[test])).toFixed(1),
      "llama.cpp t/s": median(theirs.map((o) => o[test])).toFixed(1),
      ratio: median(ratios).toFixed(2),
      spread: spread(ratios),
      "peak/file alloy": (median(ours.map((o) => o.peakMiB)) / fileMiB).toFixed(2),
      "llama.cpp": (median(theirs.map((o) => o.peakMiB)) / fileMiB).toFixed(2),
    });
  }
}
const cpu = spawnSync("sh", ["-c", "grep -m1 'model name' /proc/cpuinfo || sysctl -n machdep.cpu.brand_string"])
  .stdout.toString()
  .replace(/.*: /, "")
  .trim();
if (values.json) console.log(JSON.stringify({ cpu, threads: Number(values.threads), rows }, null, 1));
else {
  console.log(`${cpu}, ${values.threads} threads, medians of ${values.rounds} alternating rounds`);
  console.log(Bun.inspect.table(rows));
}
