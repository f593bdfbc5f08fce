/**
 * Natural logarithms of the probabilities of answers' tokens, by llama.cpp through node-llama-cpp: for bench/perplexity.ts.
 * Usage: node bench/llama-perplexity.mjs MODEL '[{"ids":[1,2,3],"from":1}]'
 */
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [, , modelPath, text] = process.argv;
const require = createRequire(new URL("./peers/package.json", import.meta.url));
const { getLlama, LlamaLogLevel } = await import(pathToFileURL(require.resolve("node-llama-cpp")).href);
const llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.error, maxThreads: 1 });
const model = await llama.loadModel({ modelPath, gpuLayers: 0 });
const context = await model.createContext({ contextSize: 1024, batchSize: 512, threads: 1, flashAttention: true });
const sequence = context.getSequence();
const all = [];
for (const { ids, from } of JSON.parse(text)) {
  await sequence.clearHistory();
  // The raw logits of the whole vocabulary: what is asked for less comes without the largest.
  const ask = { generateNext: { logits: true, options: { temperature: 1, topK: 0, topP: 1, minP: 0 } } };
  const results = await sequence.controlledEvaluate(ids.slice(0, -1).map((id, i) => (i + 1 < from ? id : [id, ask])));
  for (let i = from; i < ids.length; i++) {
    const { logits } = results[i - 1].next;
    const most = Math.max(...logits.values());
    let sum = 0;
    for (const v of logits.values()) sum += Math.exp(v - most);
    all.push(logits.get(ids[i]) - most - Math.log(sum));
  }
}
console.log(JSON.stringify(all));
process.exit(0);
