/**
 * llama.cpp through node-llama-cpp: what `alloy bench --json` measures of one GGUF file, by the same names. Runs in node, and in Bun.
 * Usage: node bench/llama-cpp.mjs MODEL --threads 2 --prompt 512 --gen 32 --depth 0,4096 --sequences 1,8
 */
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    threads: { type: "string", default: "2" },
    prompt: { type: "string", default: "512" },
    gen: { type: "string", default: "32" },
    depth: { type: "string", default: "0" },
    sequences: { type: "string", default: "1" },
  },
});
const require = createRequire(new URL("./peers/package.json", import.meta.url));
const { getLlama, LlamaLogLevel } = await import(pathToFileURL(require.resolve("node-llama-cpp")).href);
const integers = (text) => text.split(",").map(Number);
const threads = Number(values.threads);
const [prompts, gens, depths, counts] = [values.prompt, values.gen, values.depth, values.sequences].map(integers);

const llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.error, maxThreads: threads });
const begin = performance.now();
const model = await llama.loadModel({ modelPath: positionals[0], gpuLayers: 0 });
const contextSize = Math.max(...depths) + Math.max(...prompts, ...gens) + 16;
const most = Math.max(...counts);
const context = await model.createContext({ contextSize, sequences: most, batchSize: 512, threads, flashAttention: true });
const loadMs = performance.now() - begin;
const sequences = Array.from({ length: most }, () => context.getSequence());
const prompt = (n, from = 0) => Array.from({ length: n }, (_, i) => 1000 + (((from + i) * 7919) % 20000));
const clear = () => Promise.all(sequences.map((s) => s.clearHistory()));
const prefill = (s, n, from = 0) => s.evaluateWithoutGeneratingNewTokens(prompt(n, from));
await prefill(sequences[0], 1);
const firstTokenMs = performance.now() - begin;

/** `count` sequences generate `n` tokens each; the clock starts when each has its first. */
async function decode(count, n) {
  let ready = 0;
  let start = 0;
  const one = async (s) => {
    let got = 0;
    for await (const _ of s.evaluate([1005], { temperature: 0, yieldEogToken: true })) {
      if (++got === 1 && ++ready === count) start = performance.now();
      if (got > n) break;
    }
  };
  await Promise.all(sequences.slice(0, count).map(one));
  return performance.now() - start;
}

const results = [];
const add = (test, depth, tokens, ms) => results.push({ test, depth, tokens, median: (tokens / ms) * 1000, ms: [ms] });
const timed = async (work) => {
  const start = performance.now();
  await work();
  return performance.now() - start;
};
for (const depth of depths) {
  for (const n of prompts.filter((p) => p > 0)) {
    for (const kept of [false, true]) {
      await clear();
      if (depth > 0) await prefill(sequences[0], depth);
      const ms = await timed(() => prefill(sequences[0], n, depth));
      if (kept) add(`pp${n}`, depth, n, ms);
    }
  }
  for (const n of gens.filter((g) => g > 0)) {
    for (const count of counts) {
      await clear();
      for (const [i, s] of sequences.slice(0, count).entries()) {
        const ms = await timed(() => prefill(s, Math.max(depth, 1)));
        if (depth > 0 && i === 0 && count === counts[0]) add(`pp${depth}`, 0, depth, ms);
      }
      add(count === 1 ? `tg${n}` : `tg${n}x${count}`, depth, n * count, await decode(count, n));
    }
  }
}
console.log(JSON.stringify({ loadMs, firstTokenMs, results }));
process.exit(0);
