/**
 * What the engine's book-keeping costs with long prompts: bun bench/prefix-cache.ts [TOKENS]
 * Finding a cached prefix, giving it blocks, putting blocks into the tree, and the time of a step outside the model, with 8 requests of that
 * length (default 65536) on a model that computes nothing.
 */
import { KvCache } from "../src/engine/cache/kv.ts";
import { EngineCore } from "../src/engine/core.ts";
import { BLOCK_TOKENS } from "../kernels/kv-cache.ts";
import type { ModelRunner } from "../src/models/api.ts";
import { collect, fakeParts } from "../test/engine/fakes.ts";

const TOKENS = Number(process.argv[2] ?? 65_536);
const SEQUENCES = 8;
const BATCH = 256;
const DECODED = 500;
const blockCount = Math.ceil((SEQUENCES + 2) * (TOKENS / BLOCK_TOKENS + 10));
const tokens = (seed: number): Int32Array =>
  Int32Array.from({ length: TOKENS }, (_, i) => (Math.imul(i + 1, 2654435761 + seed) >>> 8) % 250);

const median = (ms: number[]): string =>
  `${ms.toSorted((a, b) => a - b)[ms.length >> 1].toFixed(3)} ms (worst ${Math.max(...ms).toFixed(3)})`;
const timed = <T>(into: number[], f: () => T): T => {
  const start = performance.now();
  const result = f();
  into.push(performance.now() - start);
  return result;
};

const cache = new KvCache(blockCount, BLOCK_TOKENS);
const [match, open, commit, close]: number[][] = [[], [], [], []];
const prompt = tokens(1);
for (let i = 0; i < 40; i++) {
  const { lease, cached } = timed(open, () =>
    cache.open(
      timed(match, () => cache.match(prompt, TOKENS - 1)),
      TOKENS,
    )!,
  );
  for (let at = cached + BATCH; at < TOKENS; at += BATCH) timed(commit, () => cache.commit(lease, prompt, at));
  timed(close, () => cache.close(lease, prompt, TOKENS));
}
console.log(`a prompt of ${TOKENS} tokens, all but the last in the cache`);
console.log(`  finding it         ${median(match.slice(1))}`);
console.log(`  with its blocks    ${median(open.slice(1))}`);
console.log(`  ending             ${median(close.slice(1))}`);
console.log(`  a step's ${BATCH} tokens into the tree, the first time  ${median(commit)}`);

let inside = 0;
const steps: number[] = [];
const runner: ModelRunner = {
  architecture: "none",
  vocabSize: 258,
  contextLength: TOKENS + DECODED + 1,
  maxBatchTokens: BATCH,
  maxSequences: SEQUENCES,
  blockTokens: BLOCK_TOKENS,
  blockCount,
  memoryBytes: 0,
  async step(sequences) {
    const start = performance.now();
    if (sequences.length === SEQUENCES && sequences.every((s) => s.tokens.length === 1)) steps.push(start - inside);
    const rows = sequences.filter((s) => s.outputs === "last").length;
    inside = performance.now();
    return { tokens: new Int32Array(rows).fill(97), logSumExp: new Float32Array(rows), logits: () => new Float32Array(258) };
  },
  copyBlock: () => {},
  close: () => {},
};
const { parts } = fakeParts();
const sizes = () => ({ kvBytesPerToken: 1, contextLength: TOKENS + DECODED + 1, weightBytes: 1 });
const core = await EngineCore.create({ ...parts, sizes, loadRunner: async () => runner }, { parallel: SEQUENCES });
const ask = (seed: number, maxTokens: number) =>
  collect(
    core.generate({
      id: String(seed),
      model: "a",
      prompt: { kind: "ids", ids: [...tokens(seed)] },
      sampling: { temperature: 0 },
      maxTokens,
      ignoreEos: true,
    }),
  );
const start = performance.now();
await Promise.all(Array.from({ length: SEQUENCES }, (_, i) => ask(i, 1)));
const prefills = (SEQUENCES * TOKENS) / BATCH;
console.log(`a step of ${BATCH} prompt tokens, outside the model  ${((performance.now() - start) / prefills).toFixed(3)} ms on average`);
await Promise.all(Array.from({ length: SEQUENCES }, (_, i) => ask(i, DECODED)));
console.log(`a step of ${SEQUENCES} decoding requests, outside the model  ${median(steps)}`);
await core.close();
