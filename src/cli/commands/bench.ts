/** `alloy bench`: prefill and decode speed of a model, in the manner of llama-bench. */
import type { ModelRunner } from "../../models/api.ts";
import { formatBytes } from "../../support/format.ts";
import { printJson, table, type Context } from "../context.ts";
import { KV_TYPE, kvTypeOf } from "../kv-type.ts";
import { strictCommand, UsageError } from "../strict.ts";

interface Result {
  /** "pp512": prefill of 512 tokens; "tg128": 128 tokens one by one; "tg128x8": so for each of 8 sequences in the same steps. */
  test: string;
  /** In all sequences. */
  tokens: number;
  /** Tokens that were in the KV cache before. */
  depth: number;
  /** Tokens per second. */
  median: number;
  min: number;
  max: number;
  /** Milliseconds of each repetition. */
  ms: number[];
}

export default strictCommand({
  name: "bench",
  summary: "measure prefill and decode speed",
  description: `Runs the bare model on random tokens, without server or sampling: pp is prefill of that many tokens at once, tg is decoding that
many one by one, each after DEPTH tokens that are in the KV cache already; with --sequences, of several sequences in the same steps. One run before
each test is thrown away; the table gives the median of the repetitions with the slowest and the fastest, in tokens per second. Filling the
cache to DEPTH is timed too, once, as a prefill of that length.`,
  args: {
    model: { type: "positional", description: "A model (default: demo)" },
    prompt: {
      type: "integers",
      alias: "p",
      hint: "tokens",
      min: 0,
      default: [512],
      description: "Prefill lengths, separated by commas; 0 leaves prefill out",
    },
    gen: { type: "integers", alias: "n", hint: "tokens", min: 0, default: [128], description: "Decode lengths; 0 leaves decode out" },
    depth: { type: "integers", alias: "d", hint: "tokens", min: 0, default: [0], description: "Tokens in the cache before each test" },
    sequences: {
      type: "integers",
      alias: "s",
      hint: "count",
      min: 1,
      default: [1],
      description: "Sequences that decode at the same time",
    },
    reps: { type: "integer", alias: "r", hint: "count", min: 1, max: 1000, default: 5, description: "Repetitions of each test" },
    batch: { type: "integer", alias: "b", hint: "tokens", min: 1, default: 512, description: "Most tokens in one step of prefill" },
    precision: {
      type: "enum",
      options: ["fast", "exact"],
      default: "fast",
      description: "fast is what `run` and `serve` do; exact computes in float32",
    },
    "kv-type": KV_TYPE,
    threads: { type: "integer", alias: "t", hint: "count", min: 1, description: "CPU threads (default: one per core)" },
    device: { type: "string", hint: "name", description: "Where to compute, cpu or metal (default: the best there is)" },
    seed: { type: "integer", hint: "number", min: 0, default: 1, description: "Of the random tokens" },
  },
  examples: [
    ["alloy bench ./model.gguf", "pp512 and tg128"],
    ["alloy bench ./model.gguf -p 512 -n 32 -d 0,4096,16384 -r 3", "how speed falls with a full cache"],
    ["alloy bench demo --json | jq '.results[] | {test, depth, median}'", "for scripts"],
  ],
  async run(args, { io, json, style, deps }: Context) {
    const model = args.model ?? "demo";
    const prompts = args.prompt.filter((n) => n > 0);
    const gens = args.gen.filter((n) => n > 0);
    if (prompts.length + gens.length === 0) throw new UsageError("there is nothing to measure", "give -p or -n a length above 0");
    const contextLength = Math.max(...args.depth) + Math.max(...prompts, ...gens);
    const most = gens.length > 0 ? Math.max(...args.sequences) : 1;
    const start = performance.now();
    const opened = await deps.openRunner(model, {
      precision: args.precision,
      contextLength,
      sequences: most,
      batch: args.batch,
      kvType: kvTypeOf(args["kv-type"], io),
      threads: args.threads,
      device: args.device,
    });
    try {
      const { runner } = opened;
      const loadMs = performance.now() - start;
      const sequences = new Sequences(runner, contextLength, args.seed);
      await sequences.prefill(0, 0, 1);
      const firstTokenMs = performance.now() - start;
      const results: Result[] = [];
      for (const depth of args.depth) {
        const tests = [
          ...prompts.map((tokens) => ({ test: `pp${tokens}`, tokens, run: () => sequences.prefill(0, depth, tokens) })),
          ...args.sequences.flatMap((count) =>
            gens.map((n) => ({
              test: count === 1 ? `tg${n}` : `tg${n}x${count}`,
              tokens: n * count,
              run: () => sequences.decode(count, depth, n),
            })),
          ),
        ];
        for (let i = 0; depth > 0 && i < most; i++) {
          const from = performance.now();
          await sequences.prefill(i, 0, depth);
          const ms = [performance.now() - from];
          if (i === 0) results.push({ test: `pp${depth}`, tokens: depth, depth: 0, ...speeds(ms, depth), ms });
        }
        for (const { test, tokens, run } of tests) {
          if (!json && io.stdoutIsTty) io.err(style.dim(`${test} at ${depth} ...\r`));
          await run();
          const ms: number[] = [];
          for (let i = 0; i < args.reps; i++) {
            const start = performance.now();
            await run();
            ms.push(performance.now() - start);
          }
          results.push({ test, tokens, depth, ...speeds(ms, tokens), ms });
        }
      }
      const head = {
        model,
        architecture: runner.architecture,
        fileBytes: opened.fileBytes,
        device: opened.device,
        precision: args.precision,
        reps: args.reps,
        seed: args.seed,
        memoryBytes: runner.memoryBytes,
        /** From opening the file until the model was loaded, and until one token had gone through it. */
        loadMs,
        firstTokenMs,
      };
      if (json) printJson(io, { ...head, results });
      else {
        io.out(`${model} (${head.architecture}, ${formatBytes(head.fileBytes)}) on ${head.device}, ${args.reps} repetitions, tokens/s\n`);
        const rows = results.map((r) => [r.test, String(r.depth), r.median.toFixed(1), r.min.toFixed(1), r.max.toFixed(1)]);
        io.out(table(["TEST", "DEPTH", "MEDIAN", "SLOWEST", "FASTEST"], rows, [1, 2, 3, 4]));
      }
    } finally {
      opened.close();
    }
  },
});

/** Random tokens through the cache blocks of some sequences; a later run simply writes over an earlier one's positions. */
class Sequences {
  private readonly blocksEach: number;
  private state: number;

  constructor(
    private readonly runner: ModelRunner,
    contextLength: number,
    seed: number,
  ) {
    this.blocksEach = Math.ceil(contextLength / runner.blockTokens);
    this.state = seed >>> 0;
  }

  async prefill(sequence: number, start: number, count: number): Promise<void> {
    const blocks = this.blocks(sequence);
    for (let done = 0; done < count;) {
      const n = Math.min(count - done, this.runner.maxBatchTokens);
      const outputs = done + n === count ? "last" : "none";
      await this.runner.step([{ tokens: this.tokens(n), start: start + done, blocks, outputs, sampling: null }]);
      done += n;
    }
  }

  /** The first `count` sequences. */
  async decode(count: number, start: number, tokens: number): Promise<void> {
    const blocks = Array.from({ length: count }, (_, i) => this.blocks(i));
    for (let i = 0; i < tokens; i++) {
      await this.runner.step(
        blocks.map((b) => ({ tokens: this.tokens(1), start: start + i, blocks: b, outputs: "last" as const, sampling: null })),
      );
    }
  }

  private blocks(sequence: number): Int32Array {
    return Int32Array.from({ length: this.blocksEach }, (_, i) => sequence * this.blocksEach + i);
  }

  /** splitmix32: small, and the same tokens for the same seed everywhere. */
  private tokens(n: number): Int32Array {
    return Int32Array.from({ length: n }, () => {
      this.state = (this.state + 0x9e3779b9) >>> 0;
      let z = this.state;
      z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
      return ((z ^ (z >>> 15)) >>> 0) % this.runner.vocabSize;
    });
  }
}

/** Tokens per second of the median, the slowest and the fastest repetition. */
export function speeds(ms: readonly number[], tokens: number): { median: number; min: number; max: number } {
  const sorted = [...ms].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  const rate = (t: number) => (tokens * 1000) / t;
  return { median: rate(median), min: rate(sorted.at(-1)!), max: rate(sorted[0]) };
}
