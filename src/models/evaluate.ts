/** Feeding one sequence by hand: what `alloy logits`, `alloy bench` and tests compare implementations with. */
import type { ModelRunner, RowSampling } from "./api.ts";

/** Always the most likely token. */
export const GREEDY: RowSampling = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  repeatPenalty: 1,
  frequencyPenalty: 0,
  presencePenalty: 0,
  penaltyIds: new Int32Array(0),
  penaltyCounts: new Int32Array(0),
  biasIds: new Int32Array(0),
  biasValues: new Float32Array(0),
  seed: [0, 0],
  counter: 0,
};

export interface Evaluation {
  /** Logits of the prompt's last position, float32 [vocab]. */
  logits: Float32Array;
  /** Greedy continuation; end tokens do not stop it. */
  greedy: number[];
}

/**
 * Feeds a prompt in pieces (default: as large as the runner takes) and continues greedily for n tokens.
 * Uses blocks 0, 1, … of the cache: the runner must not be in use otherwise.
 */
export async function evaluate(runner: ModelRunner, ids: readonly number[], n: number, pieces?: readonly number[]): Promise<Evaluation> {
  const blocks = Int32Array.from({ length: Math.ceil((ids.length + n) / runner.blockTokens) }, (_, i) => i);
  let start = 0;
  let piece = 0;
  const feed = async (tokens: readonly number[], output: boolean) => {
    const result = await runner.step([
      { tokens: Int32Array.from(tokens), start, blocks, outputs: output ? "last" : "none", sampling: output ? GREEDY : null },
    ]);
    start += tokens.length;
    return result;
  };
  let last: Awaited<ReturnType<typeof feed>> | undefined;
  while (start < ids.length) {
    const size = Math.min(pieces?.[piece++] ?? runner.maxBatchTokens, runner.maxBatchTokens, ids.length - start);
    last = await feed(ids.slice(start, start + size), start + size === ids.length);
  }
  const logits = last!.logits(0).slice();
  const greedy: number[] = [];
  let next = last!.tokens[0];
  while (greedy.length < n) {
    greedy.push(next);
    if (greedy.length < n) next = (await feed([next], true)).tokens[0];
  }
  return { logits, greedy };
}
