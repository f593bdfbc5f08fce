/** `alloy inspect`: what becomes of a kernel on its way to machine code. */
import { suggest } from "../../support/errors.ts";
import { printJson, table, type Context } from "../context.ts";
import { strictCommand, UsageError } from "../strict.ts";

export default strictCommand({
  name: "inspect",
  summary: "show a kernel at each stage of its compilation",
  description: `Without an argument: the stock kernels. With one: its signature, its tile IR as written and after each pass, and the C source (without the helper functions that all kernels of an instruction set share) or the Metal source.`,
  args: {
    kernel: { type: "positional", description: "Name of a stock kernel" },
    stage: { type: "string", alias: "s", hint: "name", description: "Print this stage only, for example ir or c (default: all)" },
    target: { type: "string", alias: "t", hint: "name", description: "Language of the source: c or metal (default: c)" },
    isa: { type: "string", hint: "name", description: "Instruction set of the source, for example avx2 (default: this machine's)" },
    set: {
      type: "string",
      hint: "name=value",
      multiple: true,
      description: "Compile-time parameter, for example --set BLOCK=128; may be repeated",
    },
  },
  examples: [
    ["alloy inspect", "list the kernels"],
    ["alloy inspect rms_norm", "all stages of one"],
    ["alloy inspect rms_norm --stage c --isa avx2", "the C source for AVX2"],
    ["alloy inspect flash_f16 --target metal --stage metal", "the Metal source"],
  ],
  async run(args, { io, json, style, deps }: Context) {
    const kernels = await deps.kernels();
    if (args.kernel === undefined) {
      const listed = kernels.map(({ name, parameters }) => ({ name, parameters }));
      const rows = listed.map((k) => [k.name, k.parameters.map((p) => p.name).join(" ")]);
      if (json) printJson(io, { kernels: listed });
      else io.out(table(["KERNEL", "PARAMETERS"], rows));
      return;
    }
    const kernel = kernels.find((k) => k.name === args.kernel);
    if (kernel === undefined) {
      const near = suggest(
        args.kernel,
        kernels.map((k) => k.name),
      );
      throw new UsageError(
        `there is no kernel "${args.kernel}"`,
        `${near === undefined ? "" : `did you mean ${near}? `}\`alloy inspect\` lists them`,
      );
    }
    if (args.target !== undefined && args.target !== "c" && args.target !== "metal")
      throw new UsageError(`there is no target "${args.target}"`, "targets are c and metal");
    const all = kernel.stages({ isa: args.isa, target: args.target, constexprs: Object.fromEntries(args.set.map(assignment)) });
    const stages = args.stage === undefined ? all : all.filter((s) => s.name === args.stage);
    if (stages.length === 0) throw new UsageError(`there is no stage "${args.stage}"`, `stages are ${all.map((s) => s.name).join(", ")}`);
    if (json) printJson(io, { kernel: kernel.name, stages });
    else for (const { name, text } of stages) io.out(`${stages.length > 1 ? style.bold(`=== ${name} ===`) + "\n" : ""}${text.trimEnd()}\n`);
  },
});

/** `BLOCK=128` into a name and a number, boolean or string. */
function assignment(text: string): [string, number | boolean | string] {
  const equals = text.indexOf("=");
  if (equals < 1) throw new UsageError(`--set must be name=value, got "${text}"`, "for example --set BLOCK=128");
  const value = text.slice(equals + 1);
  if (value === "true" || value === "false") return [text.slice(0, equals), value === "true"];
  return [text.slice(0, equals), value !== "" && Number.isFinite(Number(value)) ? Number(value) : value];
}
