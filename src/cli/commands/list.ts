/** `alloy list`. */
import { formatBytes } from "../../support/format.ts";
import { formatCount, printJson, table, type Context } from "../context.ts";
import { strictCommand } from "../strict.ts";

export default strictCommand({
  name: "list",
  summary: "list the models on this machine",
  description: `Looks at the built-in demo model, Alloy's own store, Ollama's store and the Hugging Face cache. A model file anywhere else is named by its path.`,
  args: {},
  examples: [
    ["alloy list", "names, sizes and where they come from"],
    ["alloy list --json | jq -r '.models[].name'", "names only"],
  ],
  async run(_, { io, json, deps }: Context) {
    const models = await deps.listModels();
    if (json) printJson(io, { models });
    else {
      const rows = models.map(({ name, source, modified, info, problem }) => {
        const what = info === undefined ? ["-", "-", "-"] : [formatCount(info.parameters), info.quantization, formatBytes(info.fileBytes)];
        return [name, ...what, source, modified.slice(0, 10), problem === undefined ? "" : `cannot be read: ${problem}`];
      });
      io.out(table(["NAME", "PARAMS", "QUANT", "SIZE", "SOURCE", "MODIFIED", ""], rows, [1, 3]));
    }
  },
});
