/** `alloy launch`: what tools are told, with stand-ins for them. The tools themselves: test/tools. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { probe } from "../../src/cli/probe.ts";
import { TOOLS } from "../../src/cli/tools.ts";
import { start } from "../server/harness.ts";
import { scriptedModel } from "../server/scripted-engine.ts";
import { alloy, type FakeIoOptions } from "./fakes.ts";
import { parts } from "./scripted.ts";

let work: string;
beforeAll(() => void (work = mkdtempSync(join(tmpdir(), "alloy-cli-test-"))));
afterAll(() => rmSync(work, { recursive: true, force: true }));

/** A "tool" that writes its arguments and chosen variables to a file and ends with a code. */
function fakeTool(name: string, variables: string[], code = 0): { PATH: string; report: () => Record<string, string> } {
  const folder = mkdtempSync(join(work, "tool-"));
  const file = join(folder, "report");
  const lines = variables.map((v) => `echo "${v}=\${${v}-unset}" >> "${file}"`);
  writeFileSync(join(folder, name), `#!/bin/sh\necho "args=$*" > "${file}"\n${lines.join("\n")}\nexit ${code}\n`);
  chmodSync(join(folder, name), 0o755);
  const report = () =>
    Object.fromEntries(
      readFileSync(file, "utf8")
        .trim()
        .split("\n")
        .map((l) => l.split(/=(.*)/s).slice(0, 2) as [string, string]),
    );
  return { PATH: `${folder}:/usr/bin:/bin`, report };
}

describe("launch", () => {
  const nowhere = {
    ALLOY_HOST: "127.0.0.1:1",
    get ALLOY_CACHE_DIR() {
      return join(work, "cache");
    },
  };

  test("without a tool: the list", async () => {
    const { stdout } = await alloy(["launch"], {}, { env: { PATH: "/nonexistent" } });
    for (const name of Object.keys(TOOLS)) expect(stdout).toMatch(new RegExp(`\n${name} +no `));
    expect(JSON.parse((await alloy(["launch", "--json"], {}, { env: { PATH: "" } })).stdout).tools).toHaveLength(Object.keys(TOOLS).length);
  });

  test("claude: its variables, its arguments, its exit code; the server it started is gone afterwards", async () => {
    const names = ["ANTHROPIC_BASE_URL", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY", "ANTHROPIC_MODEL", "CLAUDE_CODE_SUBAGENT_MODEL"];
    const tool = fakeTool("claude", [...names, "CLAUDE_CODE_MAX_CONTEXT_TOKENS"], 7);
    const { engine, deps } = parts({ contextLength: 40_000 });
    const { code, stderr } = await alloy(["launch", "claude", "--", "-p", "hi there"], deps, { env: { ...nowhere, PATH: tool.PATH } });
    expect(stderr).toBe("");
    expect(code).toBe(7);
    const report = tool.report();
    const [, file] = /^--settings (\S+\.json) -p hi there$/.exec(report.args)!;
    expect(existsSync(file)).toBe(false);
    expect(report).toMatchObject({
      ANTHROPIC_AUTH_TOKEN: "alloy",
      ANTHROPIC_API_KEY: "",
      ANTHROPIC_MODEL: "demo",
      CLAUDE_CODE_SUBAGENT_MODEL: "demo",
      CLAUDE_CODE_MAX_CONTEXT_TOKENS: "40000",
    });
    expect(report.ANTHROPIC_BASE_URL).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    expect((await probe(report.ANTHROPIC_BASE_URL)).kind).toBe("nobody");
    expect(engine.closed).toBe(true);
  });

  test("claude: settings that go before the user's files hold the same variables, and switch off what needs a check at Anthropic", async () => {
    const { stdout } = await alloy(["launch", "claude", "--print", "--json"], parts().deps, { env: { ...nowhere, PATH: "" } });
    const { env, command } = JSON.parse(stdout);
    const settings = JSON.parse(readFileSync(command[2], "utf8"));
    expect(env).toMatchObject(settings.env);
    expect(settings.env).toMatchObject({ ANTHROPIC_BASE_URL: "http://127.0.0.1:1", ANTHROPIC_DEFAULT_HAIKU_MODEL: "demo" });
    expect(settings.permissions).toEqual({ disableAutoMode: "disable" });
    const own = await alloy(["launch", "claude", "--print", "--", "--settings=mine.json"], parts().deps, { env: { ...nowhere, PATH: "" } });
    expect(own.stdout).toEndWith("\nclaude --settings=mine.json\n");
  });

  test("what only suits a local model gives way to the user's own settings", async () => {
    const own = { ...nowhere, PATH: "", API_TIMEOUT_MS: "5", ANTHROPIC_MODEL: "mine" };
    const { stdout } = await alloy(["launch", "claude", "--print", "--json"], parts({ contextLength: 32_768 }).deps, { env: own });
    const { env } = JSON.parse(stdout);
    expect(env).toMatchObject({ ANTHROPIC_MODEL: "demo", CLAUDE_CODE_MAX_OUTPUT_TOKENS: "4096" });
    expect(env).not.toHaveProperty("API_TIMEOUT_MS");
  });

  test("which model: the only one beside the demo model, the loaded one, or the one that the user says", async () => {
    const plan = async (names: string[], io: FakeIoOptions = {}, loaded?: string) => {
      const { engine, deps } = parts({ models: names.map((name) => scriptedModel(name)) });
      if (loaded !== undefined) await engine.load(loaded);
      const ran = await alloy(["launch", "qwen", "--print"], deps, { env: { ...nowhere, PATH: "" }, ...io });
      return { ...ran, model: /OPENAI_MODEL=(\S+)/.exec(ran.stdout)?.[1] };
    };
    expect((await plan(["demo"])).model).toBe("demo");
    expect((await plan(["demo", "coder"])).model).toBe("coder");
    expect((await plan(["demo", "coder", "other"], {}, "other")).model).toBe("other");
    expect(await plan(["demo", "coder", "other"])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("several models: coder, other"),
    });
    const asked = await plan(["demo", "coder", "other"], { tty: true, lines: ["7", "2"] });
    expect(asked.model).toBe("other");
    expect(asked.stderr).toContain('  1  coder\n  2  other\n"7" is none of them: a number from 1 to 2');
    expect((await plan(["demo", "coder", "other"], { tty: true, lines: [""] })).model).toBe("coder");
    expect((await plan(["demo", "coder", "other"], { tty: true, lines: ["interrupt"] })).code).toBe(130);
  });

  test("--print without a server names the address where one would be, and says so", async () => {
    const { stdout, stderr } = await alloy(["launch", "aider", "--print"], parts().deps, { env: { ...nowhere, PATH: "" } });
    expect(stdout).toContain("export OPENAI_API_BASE=http://127.0.0.1:1/v1\n");
    expect(stderr).toContain("no Alloy runs at http://127.0.0.1:1: start `alloy serve` first");
  });

  test("an Alloy that runs already is used, and left running", async () => {
    await using running = await start({ models: [scriptedModel("demo")] });
    const tool = fakeTool("aider", ["OPENAI_API_BASE", "OPENAI_API_KEY"]);
    const env = { ...nowhere, ALLOY_HOST: `127.0.0.1:${running.server.port}`, PATH: tool.PATH };
    expect((await alloy(["launch", "aider", "-m", "demo"], {}, { env })).code).toBe(0);
    expect(tool.report()).toEqual({
      args: expect.stringMatching(/^--model openai\/demo --model-metadata-file \S+\.json --no-show-model-warnings$/),
      OPENAI_API_BASE: `${running.url}/v1`,
      OPENAI_API_KEY: "alloy",
    });
    expect((await probe(running.url)).kind).toBe("alloy");
  });

  test("a server that wants a key: ALLOY_API_KEY is handed on; without it the hint names it", async () => {
    await using running = await start({ models: [scriptedModel("demo")] }, { env: { ALLOY_API_KEY: "secret,other" } });
    const tool = fakeTool("goose", ["OPENAI_API_KEY"]);
    const env = { ...nowhere, ALLOY_HOST: `127.0.0.1:${running.server.port}`, PATH: tool.PATH };
    expect((await alloy(["launch", "goose"], {}, { env: { ...env, ALLOY_API_KEY: "secret,other" } })).code).toBe(0);
    expect(tool.report().OPENAI_API_KEY).toBe("secret");
    const without = await alloy(["launch", "goose"], {}, { env });
    expect(without).toMatchObject({ code: 1, stderr: expect.stringContaining("hint: set ALLOY_API_KEY to the server's key") });
  });

  test("the configuration of the others, as --print shows it", async () => {
    const plan = async (tool: string, ...args: string[]) => {
      const { deps } = parts({ contextLength: 65_536 });
      const { stdout, stderr } = await alloy(["launch", tool, "--print", "--json", "--", ...args], deps, { env: { ...nowhere, PATH: "" } });
      expect(stderr).toBe("");
      return JSON.parse(stdout.replaceAll(/127\.0\.0\.1:\d+/g, "HOST"));
    };
    const settings = [
      'model_provider="alloy"',
      'model_providers.alloy.name="Alloy"',
      'model_providers.alloy.base_url="http://HOST/v1"',
      'model_providers.alloy.wire_api="responses"',
      'model_providers.alloy.env_key="ALLOY_LAUNCH_KEY"',
      "model_providers.alloy.stream_idle_timeout_ms=3600000",
      expect.stringMatching(/^model_catalog_json="/),
      "analytics.enabled=false",
    ];
    const codex = ["codex", ...settings.flatMap((s) => ["-c", s]), "-m", "demo", "exec", "hi"];
    const { command } = await plan("codex", "exec", "hi");
    expect(command).toEqual(codex);
    const catalog = command.find((word: string) => word.startsWith("model_catalog_json="));
    expect(JSON.parse(readFileSync(JSON.parse(catalog.split(/=(.*)/s)[1]), "utf8")).models).toMatchObject([
      { slug: "demo", context_window: 65_536, input_modalities: ["text"], supports_reasoning_summaries: true },
    ]);
    expect(JSON.parse((await plan("opencode")).env.OPENCODE_CONFIG_CONTENT)).toMatchObject({
      model: "alloy/demo",
      provider: {
        alloy: {
          options: { baseURL: "http://HOST/v1" },
          models: { demo: { limit: { context: 65_536, output: 16_384 }, reasoning: true } },
        },
      },
    });
    expect(await plan("goose")).toMatchObject({
      command: ["goose", "session"],
      env: { GOOSE_PROVIDER: "openai", OPENAI_HOST: "http://HOST" },
    });
    expect(await plan("qwen", "-p", "hi")).toMatchObject({
      command: ["qwen", "--auth-type", "openai", "--model", "demo", "-p", "hi"],
      env: { OPENAI_BASE_URL: "http://HOST/v1", OPENAI_MODEL: "demo", QWEN_CODE_MAX_OUTPUT_TOKENS: "16384" },
    });
    expect((await plan("copilot")).env).toMatchObject({
      COPILOT_PROVIDER_BASE_URL: "http://HOST/v1",
      COPILOT_PROVIDER_MAX_PROMPT_TOKENS: "49152",
      COPILOT_PROVIDER_MAX_OUTPUT_TOKENS: "16384",
    });
  });

  test("--print is a script that a shell reads back", async () => {
    const { deps } = parts();
    const { stdout } = await alloy(["launch", "opencode", "--print", "--", "it's", "$HOME"], deps, { env: { ...nowhere, PATH: "" } });
    const shell = Bun.spawnSync(["sh", "-c", stdout.replace(/^opencode/m, "printf '%s|'") + '\nprintf %s "$OPENCODE_CONFIG_CONTENT"']);
    expect(shell.stdout.toString()).toStartWith("it's|$HOME|{");
    expect(JSON.parse(shell.stdout.toString().slice("it's|$HOME|".length)).model).toBe("alloy/demo");
  });

  test("exec: any program", async () => {
    const tool = fakeTool("agent", ["OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "OLLAMA_HOST", "ALLOY_MODEL"]);
    const { deps } = parts();
    expect((await alloy(["launch", "exec", "--", "agent", "--flag"], deps, { env: { ...nowhere, PATH: tool.PATH } })).code).toBe(0);
    expect(tool.report()).toMatchObject({ args: "--flag", ALLOY_MODEL: "demo" });
  });

  test("codex: a stand-in asks /v1/responses as its settings say", async () => {
    const folder = mkdtempSync(join(work, "tool-"));
    const answer = join(folder, "answer");
    const script = [
      `#!${process.execPath}`,
      "const settings = Object.fromEntries(process.argv.filter((a) => a.includes('=')).map((a) => a.split(/=(.*)/)));",
      "const url = JSON.parse(settings['model_providers.alloy.base_url']) + '/responses';",
      "const headers = { authorization: 'Bearer ' + process.env[JSON.parse(settings['model_providers.alloy.env_key'])] };",
      "const body = JSON.stringify({ model: process.argv.at(-2), input: process.argv.at(-1), stream: true });",
      `await Bun.write(${JSON.stringify(answer)}, await (await fetch(url, { method: 'POST', headers, body })).text());`,
    ];
    writeFileSync(join(folder, "codex"), script.join("\n"), { mode: 0o755 });
    const { deps } = parts();
    const { code } = await alloy(["launch", "codex", "--", "hello"], deps, { env: { ...nowhere, PATH: `${folder}:/usr/bin:/bin` } });
    expect(code).toBe(0);
    expect(readFileSync(answer, "utf8")).toContain('"text":"echo: hello"');
  });

  test("a small context is warned of, and a tool that a signal ended reports as shells do", async () => {
    const folder = mkdtempSync(join(work, "tool-"));
    writeFileSync(join(folder, "goose"), "#!/bin/sh\nkill -TERM $$\n");
    chmodSync(join(folder, "goose"), 0o755);
    const { deps } = parts({ contextLength: 2048 });
    const { code, stderr } = await alloy(["launch", "goose"], deps, { env: { ...nowhere, PATH: `${folder}:/usr/bin:/bin` } });
    expect(code).toBe(143);
    expect(stderr).toBe("alloy: goose wants at least 16384 tokens of context; demo has 2048\n");
  });

  test("errors: not installed, unknown tool, unknown model, no Alloy where one was named", async () => {
    const absent = await alloy(["launch", "codex"], {}, { env: { PATH: "/nonexistent" } });
    expect(absent.code).toBe(1);
    expect(absent.stderr).toBe(
      'alloy: "codex" is not installed (not found in PATH)\nhint: install it with: npm install -g @openai/codex\n',
    );

    const unknown = await alloy(["launch", "cluade"]);
    expect(unknown.code).toBe(2);
    expect(unknown.stderr).toContain("did you mean claude?");

    const { asked, deps } = parts();
    const model = await alloy(["launch", "claude", "--print", "-m", "nope"], deps, { env: { ...nowhere, PATH: "" } });
    expect(model).toMatchObject({ code: 1, stderr: expect.stringContaining("model 'nope' not found") });
    expect(asked).toEqual([]);

    const nobody = await alloy(["launch", "claude", "--print", "--port", "1"], {}, { env: { PATH: "" } });
    expect(nobody.stderr).toContain("nothing listens at http://127.0.0.1:1, no Alloy");
  });
});
