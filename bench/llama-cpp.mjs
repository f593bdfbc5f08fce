/**
 * llama.cpp through node-llama-cpp, run by node: prefill and decode tokens per second of one GGUF file, as JSON.
 * Usage: node bench/llama-cpp.mjs MODEL --threads 2 --pp 512 --tg 32 --depth 0 --repeat 3
 */
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    threads: { type: "string", default: "2" },
    pp: { type: "string", default: "512" },
    tg: { type: "string", default: "32" },
    depth: { type: "string", default: "0" },
    repeat: { type: "string", default: "3" },
  },
});
const require = createRequire(new URL("./peers/package.json", import.meta.url));
const { getLlama, LlamaLogLevel } = await import(pathToFileURL(require.resolve("node-llama-cpp")).href);
const threads = Number(values.threads);
const [pp, tg, depth, repeat] = [values.pp, values.tg, values.depth, values.repeat].map(Number);

const llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.error, maxThreads: threads });
const loadStart = performance.now();
const model = await llama.loadModel({ modelPath: positionals[0], gpuLayers: 0 });
const loadMs = performance.now() - loadStart;
const context = await model.createContext({ contextSize: depth + pp + tg + 16, batchSize: 512, threads, flashAttention: true });
const sequence = context.getSequence();
const token = (i) => 1000 + ((i * 7919) % 20000);
const prompt = (n, from = 0) => Array.from({ length: n }, (_, i) => token(from + i));

const result = { loadMs, pp: [], tg: [] };
for (let r = -1; r < repeat; r++) {
  await sequence.clearHistory();
  if (depth > 0) await sequence.evaluateWithoutGeneratingNewTokens(prompt(depth));
  let start = performance.now();
  await sequence.evaluateWithoutGeneratingNewTokens(prompt(pp, depth));
  const prefill = (pp / (performance.now() - start)) * 1000;
  await sequence.clearHistory();
  await sequence.evaluateWithoutGeneratingNewTokens(prompt(Math.max(depth, 1)));
  let count = 0;
  start = performance.now();
  for await (const _ of sequence.evaluate([token(5)], { temperature: 0, yieldEogToken: true })) {
    if (++count === 1) start = performance.now();
    if (count > tg) break;
  }
  const decode = (tg / (performance.now() - start)) * 1000;
  if (r >= 0) {
    result.pp.push(prefill);
    result.tg.push(decode);
  }
}
result.peakRssMiB = process.resourceUsage().maxRSS / 1024;
console.log(JSON.stringify(result));
process.exit(0);
