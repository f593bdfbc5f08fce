/** `alloy cp`. */
import { printJson, type Context } from "../context.ts";
import { strictCommand } from "../strict.ts";

export default strictCommand({
  name: "cp",
  summary: "give a model another name",
  description: `The copy lies in Alloy's own store and shares the weights where it can. A name that clients insist on (gpt-4o ...) can so stand for any model.`,
  args: {
    source: { type: "positional", required: true, description: "A model that `alloy list` shows" },
    destination: { type: "positional", required: true, description: "The new name, model:tag or namespace/model:tag" },
  },
  examples: [["alloy cp qwen3:8b gpt-4o", "requests for gpt-4o get qwen3:8b"]],
  async run({ source, destination }, { io, json, deps }: Context) {
    const name = await deps.copyModel(source, destination);
    if (json) printJson(io, { name });
    else io.out(`${name}\n`);
  },
});
