/** `alloy rm`. */
import { formatBytes } from "../../support/format.ts";
import { printJson, type Context } from "../context.ts";
import { strictCommand, UsageError } from "../strict.ts";

export default strictCommand({
  name: "rm",
  summary: "delete models from Alloy's store",
  description: `Only from Alloy's own store: what Ollama or the Hugging Face cache hold is theirs, and the error says how to delete it there. Weights that
another model shares stay.`,
  args: {
    models: { type: "positional", rest: true, label: "[MODEL...]", description: "Names that `alloy list` shows" },
    unfinished: { type: "boolean", description: "Delete what interrupted downloads left, and files that no model has" },
  },
  examples: [
    ["alloy rm qwen3:0.6b", "delete one model"],
    ["alloy rm --unfinished", "give up interrupted downloads"],
  ],
  async run({ models, unfinished }, { io, json, deps }: Context) {
    if (models.length === 0 && !unfinished)
      throw new UsageError("MODEL is missing: a name that `alloy list` shows", "see `alloy rm --help`");
    const deleted: { name: string; freed: number }[] = [];
    for (const model of models) {
      const one = await deps.removeModel(model);
      deleted.push(one);
      if (!json) io.out(`deleted ${one.name} (${formatBytes(one.freed)} freed)\n`);
    }
    const parts = unfinished ? await deps.removeUnfinished() : undefined;
    if (json) printJson(io, { deleted, ...(parts ? { unfinished: parts } : {}) });
    else if (parts)
      io.out(
        `deleted ${parts.files} ${parts.files === 1 ? "file" : "files"} of unfinished downloads (${formatBytes(parts.freed)} freed)\n`,
      );
  },
});
