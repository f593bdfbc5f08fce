/** `alloy launch` with the real tools: each talks to the model that it was given, and the user's own configuration stays as it is. */
import { afterEach, describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { start } from "../server/harness.ts";
import { scriptedModel } from "../server/scripted-engine.ts";
import { MINUTES, Person, program, type Program, say, tools } from "./harness.ts";

const MAIN = join(import.meta.dir, "../../src/cli/main.ts");

/** A tool's file with settings that point elsewhere, and the arguments that make it answer once. */
const TOOLS: Record<Program, { file: string; settings: string; args: string[] }> = {
  claude: {
    file: ".claude/settings.json",
    settings: '{"model":"haiku","env":{"ANTHROPIC_BASE_URL":"http://127.0.0.1:9","ANTHROPIC_MODEL":"mine"}}\n',
    args: ["-p", "hi"],
  },
  codex: {
    file: ".codex/config.toml",
    settings:
      'model = "gpt-5.5"\nmodel_provider = "mine"\nmodel_reasoning_effort = "high"\n[model_providers.mine]\nname = "Mine"\nbase_url = "http://127.0.0.1:9/v1"\n',
    args: ["exec", "--skip-git-repo-check", "hi"],
  },
  opencode: {
    file: ".config/opencode/opencode.json",
    settings:
      '{"$schema":"https://opencode.ai/config.json","model":"anthropic/claude-opus-5-5","provider":{"anthropic":{"options":{"apiKey":"mine"}}}}\n',
    args: ["run", "hi"],
  },
};

let person: Person | undefined;
afterEach(() => person?.[Symbol.dispose]());

describe.each(Object.keys(TOOLS) as Program[])("alloy launch %s", (name) => {
  test.skipIf(program(name) === null)(
    "answers with the model that was named, and leaves the user's settings alone",
    async () => {
      person = new Person(name);
      const { file, settings, args } = TOOLS[name];
      const path = join(person.home, file);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, settings);
      const models = ["other:7b", "maker/coder:30b"].map((n) => scriptedModel(n, { digest: n }));
      await using h = await start({ models, script: () => [say("Hello from here.")] });
      const alloy = [process.execPath, MAIN, "launch", name, "-m", "maker/coder:30b", "--", ...args];
      const { code, out, err } = await person.run(alloy, { ALLOY_HOST: `127.0.0.1:${h.server.port}` });
      expect({ code, out, err }).toEqual({ code: 0, out: expect.stringContaining("Hello from here."), err: expect.any(String) });
      expect(new Set(h.engine.requests.map((r) => r.model))).toEqual(new Set(["maker/coder:30b"]));
      expect(h.engine.requests.some((r) => tools(r).length > 0)).toBe(true);
      expect(readFileSync(path, "utf8")).toBe(settings);
    },
    MINUTES,
  );
});
