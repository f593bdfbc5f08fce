/** `alloy version`. */
import { COMMIT, COMPILED, VERSION } from "../../support/version.ts";
import { printJson, type Context } from "../context.ts";
import { strictCommand } from "../strict.ts";

export default strictCommand({
  name: "version",
  summary: "print the version",
  args: {},
  examples: [
    ["alloy version", "version, commit and platform"],
    ["alloy --version", "the version alone"],
  ],
  async run(_, { io, json }: Context) {
    const build = COMMIT ?? (COMPILED ? "unknown" : "source");
    const info = { version: VERSION, build, platform: `${process.platform}-${process.arch}`, bun: Bun.version };
    if (json) printJson(io, info);
    else io.out(`alloy ${info.version} (${info.build}) ${info.platform}, Bun ${info.bun}\n`);
  },
});
