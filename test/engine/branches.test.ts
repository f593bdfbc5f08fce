/**
 * Conversations that branch, side requests, cancellations and preemption on a small cache: every answer is what the model says to that
 * prompt alone, however much of it came from the cache, and no more comes from there than was ever computed.
 */
import { expect, setDefaultTimeout, test } from "bun:test";
import { commonTokens } from "../../src/engine/cache/tree.ts";
import { EngineCore } from "../../src/engine/core.ts";
import { byteTokenizer, collect, fakeParts, hashLogits, request } from "./fakes.ts";

setDefaultTimeout(120_000);
const seed = Number(process.env.ALLOY_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
console.log(`branches seed ${seed} (ALLOY_TEST_SEED=${seed} repeats it)`);
let state = seed;
const random = (n: number): number => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * n);
};

/** What the fake model answers, greedily: one token after the other from the whole context. */
function answerOf(prompt: string, maxTokens: number): string {
  const context = byteTokenizer.encode(prompt);
  const length = context.length;
  while (context.length < length + maxTokens) {
    const logits = hashLogits(context).subarray(0, END);
    context.push(logits.indexOf(Math.max(...logits)));
  }
  return byteTokenizer.decode(context.slice(length));
}

const WINDOW = 300;
const END = 256;
/** An end token cannot be text of the next prompt. */
const NO_END = { temperature: 0, logitBias: { [END]: -100 } };
const words = (n: number): string => Array.from({ length: n }, () => ["yes ", "no ", "why "][random(3)]).join("");

test.each([
  { kvTokens: 8192, parallel: 3, name: "room for all" },
  { kvTokens: 480, parallel: 6, name: "too few blocks" },
])("$name", async ({ kvTokens, parallel }) => {
  const { parts, runners } = fakeParts({ kvTokens });
  const core: EngineCore = await EngineCore.create(parts, { parallel, contextLength: WINDOW, maxBatchTokens: 48, maxGap: 5 }, () =>
    core.check(),
  );
  const asked: string[] = [];
  const histories: string[] = ["be brief. ", "you are a pirate. "];
  let cached = 0;
  /** One turn: from the end of a conversation, or from somewhere in it. */
  const turn = async (): Promise<void> => {
    const from = histories[random(histories.length)];
    const kept = random(3) > 0 ? from : from.slice(0, random(from.length));
    const maxTokens = 1 + random(20);
    const prompt = (kept + words(1 + random(8))).slice(0, WINDOW - maxTokens - 1);
    // Answers are part of what was computed: whoever goes on from them finds them.
    const whole = prompt + answerOf(prompt, maxTokens);
    const bytes = (text: string): Int32Array => Int32Array.from(byteTokenizer.encode(text));
    asked.push(whole);
    const stop = new AbortController();
    const run = core.generate(request({ text: prompt, maxTokens, sampling: NO_END, priority: random(2) }), stop.signal);
    if (random(6) === 0) {
      for await (const e of run) if (e.type === (random(2) === 0 ? "start" : "delta")) stop.abort();
      return;
    }
    const { text, end } = await collect(run);
    expect(text).toBe(whole.slice(prompt.length));
    const most = Math.max(0, ...asked.map((a) => (a === whole ? prompt.length - 1 : commonTokens(bytes(a), bytes(prompt)))));
    expect(end.usage.cachedTokens).toBeLessThanOrEqual(Math.min(most, prompt.length - 1));
    cached += end.usage.cachedTokens;
    histories.push(whole);
    if (histories.length > 12) histories.splice(random(histories.length), 1);
  };
  try {
    for (let round = 0; round < 15; round++) await Promise.all(Array.from({ length: 1 + random(8) }, turn));
    const [{ work, cache, running }] = await core.loaded();
    expect(running).toBe(0);
    expect(cache.used).toBe(0);
    expect(cached).toBeGreaterThan(1000);
    const few = kvTokens < 1000;
    expect(work.evictions > 0).toBe(few);
    expect(work.tokens).toBe(runners[0].computed);
  } finally {
    await core.close();
  }
});
