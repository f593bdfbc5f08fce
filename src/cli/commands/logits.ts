/** `alloy logits`: the numbers that implementations are compared by. */
import { evaluate } from "../../models/evaluate.ts";
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
    device: { type: "string", hint: "name", description: "Where to compute, cpu or metal (default: the best there is)" },
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
      const { logits, greedy } = await evaluate(runner, ids, args.n);
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
