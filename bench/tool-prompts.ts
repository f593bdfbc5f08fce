/**
 * How long each coding tool's first prompt is when `alloy launch` starts it, tool definitions included: bun bench/tool-prompts.ts VOCABULARY.gguf
 * Tools are taken from .cache/tools (`sh install.sh --test` fills it) and from PATH; others are passed over.
 */
import { join } from "node:path";
import { openModel } from "../src/formats/open.ts";
import { loadTokenizer } from "../src/tokenizer/load.ts";
import { start } from "../test/server/harness.ts";
import { Person, type Program, program, say } from "../test/tools/harness.ts";

const [vocabulary] = process.argv.slice(2);
if (!vocabulary) {
  console.error("usage: bun bench/tool-prompts.ts VOCABULARY.gguf");
  process.exit(2);
}
const tokenizer = await loadTokenizer(await openModel(vocabulary));
const MAIN = join(import.meta.dir, "../src/cli/main.ts");
const ASK: Record<string, string[]> = {
  claude: ["-p", "hi"],
  codex: ["exec", "--skip-git-repo-check", "hi"],
  opencode: ["run", "hi"],
  qwen: ["-p", "hi"],
  copilot: ["-p", "hi"],
};
const brought: Record<string, Program> = { claude: "claude", codex: "codex", opencode: "opencode" };

for (const [tool, args] of Object.entries(ASK)) {
  const here = brought[tool] === undefined ? Bun.which(tool) : program(brought[tool]);
  if (here === null) continue;
  using person = new Person(...(brought[tool] === undefined ? [] : [brought[tool]]));
  await using h = await start({ script: () => [say("Hello.")] });
  const { code, err } = await person.run([process.execPath, MAIN, "launch", tool, "--", ...args], { ALLOY_HOST: new URL(h.url).host });
  if (code !== 0) {
    console.error(`${tool} ended with ${code}: ${err}`);
    continue;
  }
  const texts = await Promise.all(h.engine.requests.map(async ({ model, prompt }) => (await h.engine.tokenize(model, prompt)).text ?? ""));
  const longest = texts.toSorted((a, b) => b.length - a.length)[0];
  console.log(`${tool.padEnd(10)} ${longest.length} characters, ${tokenizer.encode(longest).length} tokens`);
}
