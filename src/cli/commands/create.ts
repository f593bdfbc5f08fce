/** `alloy create`. */
import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { AlloyError } from "../../support/errors.ts";
import { printJson, type Context } from "../context.ts";
import { strictCommand, UsageError } from "../strict.ts";

export default strictCommand({
  name: "create",
  summary: "make a model from another one, with its own settings",
  description: `Reads a Modelfile as Ollama defines it (FROM, SYSTEM, PARAMETER, TEMPLATE, MESSAGE, LICENSE), or takes the same from options. FROM is a
model that is here, or the path of a GGUF file or a Hugging Face folder. Weights are shared, not copied, where that is safe.`,
  args: {
    name: { type: "positional", required: true, description: "The new model's name" },
    file: { type: "string", alias: "f", hint: "path", description: "A Modelfile; - reads standard input" },
    from: { type: "string", hint: "model", description: "What to make it from, instead of a Modelfile" },
    system: { type: "string", alias: "s", hint: "text", description: "System message, with --from" },
  },
  examples: [
    ['alloy create pirate --from demo --system "You are a pirate."', "a model with a system message"],
    ["alloy create mine -f Modelfile", "all that a Modelfile says"],
  ],
  async run({ name, file, from, system }, { io, json, style, deps }: Context) {
    if ((file === undefined) === (from === undefined)) throw new UsageError("give either --file or --from", "see `alloy create --help`");
    if (file !== undefined && system !== undefined) throw new UsageError("--system goes with --from", "write SYSTEM into the Modelfile");
    const onStatus = (status: string) => {
      if (!json && status !== "success") io.err(style.dim(`${status}\n`));
    };
    const made =
      file === undefined
        ? await deps.createModel(name, { from: from!, system }, onStatus)
        : await deps.createModel(
            name,
            { modelfile: await readModelfile(file, io), folder: file === "-" ? process.cwd() : dirname(resolve(file)) },
            onStatus,
          );
    if (json) printJson(io, { name: made });
    else io.out(`${style.green("✓")} ${made}\n`);
  },
});

async function readModelfile(file: string, io: Context["io"]): Promise<string> {
  if (file === "-") return io.readStdin();
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    throw new AlloyError("not_found", `cannot read ${file}: ${(cause as Error).message}`, { hint: "Check the path.", cause });
  }
}
