/** `alloy logits`: the numbers that implementations are compared by. */
import type { ModelRunner } from "../../models/api.ts";
import { printJson, type Context } from "../context.ts";
import { strictCommand, UsageError } from "../strict.ts";

export default strictCommand({
  name: "logits",
  summary: "print a model's logits and greedy tokens",
  description: `Runs the model on the given ids, as they are (no special tokens are added), and prints the float32 logits of the last position and
the greedy continuation. With --json: {"ids":[...],"logits":[...],"greedy":[...]}, every logit in enough digits to be exact.`,
  args: {
    model: {
      type: "positional",
      required: true,
      description: "A GGUF file, a Hugging Face folder, `demo`, or a name that `alloy list` shows",
    },
    ids: { type: "integers", hint: "ids", min: 0, description: "Token ids of the prompt, separated by commas" },
    n: {
      type: "integer",
      alias: "n",
      hint: "tokens",
      min: 0,
      default: 0,
      description: "Greedy tokens to generate; an end token does not stop them",
    },
    precision: {
      type: "enum",
      options: ["exact", "fast"],
      default: "exact",
      description: "exact computes in float32; fast is what `run` and `serve` do",
    },
    top: { type: "integer", hint: "count", min: 1, default: 10, description: "Without --json: how many of the largest logits to print" },
    threads: { type: "integer", hint: "count", min: 1, description: "CPU threads (default: one per core)" },
    device: { type: "string", hint: "name", description: "Where to compute, for example cpu" },
  },
  examples: [["alloy logits ./model.gguf --ids 1,2,3 -n 24 --json", "what to compare with another implementation"]],
  async run(args, { io, json, deps }: Context) {
    const ids = args.ids;
    if (ids === undefined || ids.length === 0)
      throw new UsageError("--ids is missing", "give the prompt's token ids, for example --ids 1,2,3");
    const contextLength = ids.length + args.n;
    const { runner, close } = await deps.openRunner(args.model, {
      precision: args.precision,
      contextLength,
      threads: args.threads,
      device: args.device,
    });
    try {
      const outside = ids.find((id) => id >= runner.vocabSize);
      if (outside !== undefined)
        throw new UsageError(`token id ${outside} is outside the vocabulary`, `ids go from 0 to ${runner.vocabSize - 1}`);
      const { logits, greedy } = await greedyRun(runner, ids, args.n);
      if (json) printJson(io, { ids, logits: Array.from(logits, (v) => Number(v.toPrecision(9))), greedy });
      else {
        const order = Array.from(logits.keys()).sort((a, b) => logits[b] - logits[a]);
        io.out(
          order
            .slice(0, args.top)
            .map((id) => `${id}\t${logits[id].toPrecision(7)}\n`)
            .join(""),
        );
        if (args.n > 0) io.out(`greedy: ${greedy.join(",")}\n`);
      }
    } finally {
      close();
    }
  },
});

/** Logits of the prompt's last position, and `n` greedy tokens one step at a time. Ties go to the lowest id. */
export async function greedyRun(
  runner: ModelRunner,
  ids: readonly number[],
  n: number,
): Promise<{ logits: Float32Array; greedy: number[] }> {
  const blocks = Int32Array.from({ length: Math.ceil((ids.length + n) / runner.blockTokens) }, (_, i) => i);
  let row: Float32Array = new Float32Array(0);
  for (let start = 0; start < ids.length; start += runner.maxBatchTokens) {
    const tokens = Int32Array.from(ids.slice(start, start + runner.maxBatchTokens));
    const last = start + tokens.length === ids.length;
    const result = await runner.step([{ tokens, start, blocks, outputs: last ? "last" : "none", sampling: null }]);
    if (last) row = result.logits(0);
  }
  const logits = row.slice();
  const greedy: number[] = [];
  while (greedy.length < n) {
    greedy.push(argmax(row));
    if (greedy.length === n) break;
    const start = ids.length + greedy.length - 1;
    const result = await runner.step([{ tokens: Int32Array.of(greedy.at(-1)!), start, blocks, outputs: "last", sampling: null }]);
    row = result.logits(0);
  }
  return { logits, greedy };
}

function argmax(row: Float32Array): number {
  let best = 0;
  for (let i = 1; i < row.length; i++) if (row[i] > row[best]) best = i;
  return best;
}
