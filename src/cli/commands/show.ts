/** `alloy show`. */
import { formatBytes } from "../../support/format.ts";
import { formatCount, printJson, type Context } from "../context.ts";
import { strictCommand } from "../strict.ts";

export default strictCommand({
  name: "show",
  summary: "show what a model is",
  args: {
    model: { type: "positional", required: true, description: "A model: a path, `demo`, or a name that `alloy list` shows" },
    template: { type: "boolean", description: "Print the chat template only" },
  },
  examples: [
    ["alloy show demo", "architecture, size, context and abilities"],
    ["alloy show ./model.gguf --json", "everything, with the file's metadata"],
  ],
  async run({ model, template }, { io, json, style, deps }: Context) {
    const info = await deps.describeModel(model);
    if (json) {
      printJson(io, info);
      return;
    }
    if (template) {
      io.out((info.template ?? "") + "\n");
      return;
    }
    const rows: [string, string][] = [
      ["architecture", info.architecture],
      ["parameters", formatCount(info.parameters)],
      ["quantization", info.quantization],
      ["context", `${info.contextLength} tokens`],
      ["embedding", String(info.embeddingLength)],
      ["abilities", info.capabilities.join(", ")],
      ["format", info.format],
      ["size", formatBytes(info.fileBytes)],
      ["modified", info.modified],
      ["path", info.path],
    ];
    const { system, messages, parameters = {} } = info.preset ?? {};
    if (system !== undefined) rows.push(["system", system.split("\n")[0]]);
    if (messages?.length) rows.push(["messages", `${messages.length} in front of each conversation`]);
    for (const [name, value] of Object.entries(parameters)) rows.push(["parameter", `${name} ${JSON.stringify(value)}`]);
    if (info.license !== undefined) rows.push(["license", info.license.split("\n")[0]]);
    io.out(`${style.bold(info.name)}\n`);
    for (const [name, value] of rows) io.out(`  ${name.padEnd(13)} ${value}\n`);
  },
});
