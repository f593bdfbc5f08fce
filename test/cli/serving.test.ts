/** `serve`, `launch` and `doctor`: the real server on a free loopback port, with a scripted model behind it. */
import { AlloyError } from "../../src/support/errors.ts";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CreateOptions } from "../../src/cli/deps.ts";
import { LIMITS } from "../../src/cli/serve-limits.ts";
import { probe } from "../../src/cli/probe.ts";
import { TOOLS } from "../../src/cli/tools.ts";
import { createServer } from "../../src/server/app.ts";
import { start, until } from "../server/harness.ts";
import { ScriptedEngine, scriptedModel, type ScriptedOptions } from "../server/scripted-engine.ts";
import { alloy, fakeIo, type FakeIoOptions } from "./fakes.ts";

let work: string;
beforeAll(() => void (work = mkdtempSync(join(tmpdir(), "alloy-cli-test-"))));
afterAll(() => rmSync(work, { recursive: true, force: true }));

function parts(options: ScriptedOptions = {}) {
  const engine = new ScriptedEngine({ models: [scriptedModel("demo")], ...options });
  const asked: CreateOptions[] = [];
  const deps = {
    createEngine: async (o: CreateOptions) => {
      asked.push(o);
      return engine;
    },
    startServer: async (e: typeof engine, o: { host: string; port: number }) => createServer({ engine: e, ...o, env: {} }),
  };
  return { engine, asked, deps: deps as never };
}

/** Starts `alloy serve` and resolves when it listens. */
async function serve(argv: string[], options: ScriptedOptions = {}, ioOptions: FakeIoOptions = {}) {
  const io = fakeIo(ioOptions);
  const { engine, asked, deps } = parts(options);
  const done = alloy(["serve", "--port", "0", ...argv], deps, io);
  await until(() => io.stdout.includes("\n") || io.stderr.includes("alloy:"), "the server listens");
  return { io, engine, asked, done, url: /http:\/\/[\d.]+:\d+/.exec(io.stdout)?.[0] ?? "" };
}

describe("serve", () => {
  test("prints where it listens and a curl line that works; Ctrl-C ends it with 0", async () => {
    const { io, engine, done, url } = await serve([]);
    const curl = /curl (\S+) -H '[^']*' \\\n +-d '([^']*)'/.exec(io.stdout)!;
    const response = await fetch(curl[1], { method: "POST", body: curl[2] });
    expect(await response.json()).toMatchObject({ choices: [{ message: { content: "echo: What is the capital of France?" } }] });
    expect(curl[1]).toBe(`${url}/v1/chat/completions`);
    io.interrupt();
    expect((await done).code).toBe(0);
    expect(engine.closed).toBe(true);
    expect((await probe(url)).kind).toBe("nobody");
  });

  test("--json prints one line for programs; options reach the engine", async () => {
    const { io, asked, done } = await serve(
      "--json -m demo -m other --ctx 512 --parallel 3 --queue 7 --threads 2 --max-gap 50 --cache-share 0.4 --kv-type q8_0".split(" "),
    );
    expect(JSON.parse(io.stdout)).toMatchObject({
      url: expect.stringContaining("http://127.0.0.1:"),
      models: ["demo", "other"],
      pid: process.pid,
    });
    expect(asked[0]).toEqual({
      place: "process",
      onDeath: expect.any(Function),
      models: ["demo", "other"],
      contextLength: 512,
      parallel: 3,
      maxQueue: 7,
      clientParallel: undefined,
      clientQueue: undefined,
      memory: undefined,
      maxLoaded: undefined,
      loadTimeout: undefined,
      keepAlive: 300_000,
      maxGap: 50,
      cacheShare: 0.4,
      kvType: "q8_0",
      threads: 2,
      device: undefined,
    });
    io.interrupt();
    await done;
  });

  test("Ollama's variables are read, flags go before them, nonsense is passed over", async () => {
    const env = {
      OLLAMA_CONTEXT_LENGTH: "1024",
      OLLAMA_NUM_PARALLEL: "2",
      OLLAMA_MAX_QUEUE: "many",
      OLLAMA_KEEP_ALIVE: "1h",
      OLLAMA_KV_CACHE_TYPE: "q8_0",
      OLLAMA_MAX_LOADED_MODELS: "2",
      OLLAMA_LOAD_TIMEOUT: "90s",
      ALLOY_MEMORY: "12GiB",
      ALLOY_CLIENT_PARALLEL: "3",
      ALLOY_CLIENT_QUEUE: "4",
    };
    for (const [argv, expected] of [
      [[], { contextLength: 1024, parallel: 2, maxQueue: undefined, keepAlive: 3_600_000 }],
      [["--ctx", "64", "--keep-alive", "30s"], { contextLength: 64, keepAlive: 30_000 }],
      [["--keep-alive=-1"], { keepAlive: Infinity, kvType: "q8_0" }],
      [["--kv-type", "f32"], { kvType: "f32" }],
      [[], { maxLoaded: 2, loadTimeout: 90_000, memory: 12 * 2 ** 30, clientParallel: 3, clientQueue: 4 }],
      [
        "--max-loaded 1 --load-timeout 7 --memory 500MB --client-parallel 1 --client-queue 0".split(" "),
        { maxLoaded: 1, loadTimeout: 7000, memory: 5e8, clientParallel: 1, clientQueue: 0 },
      ],
    ] as const) {
      const { io, asked, done } = await serve([...argv], {}, { env });
      expect(asked[0]).toMatchObject(expected);
      io.interrupt();
      await done;
    }
    expect((await alloy(["serve", "--keep-alive", "soon"])).stderr).toContain('--keep-alive must be a duration, got "soon"');
    for (const [option, value] of [
      ["--memory", "much"],
      ["--memory", "0"],
      ["--max-body", "-1"],
      ["--timeout", "soon"],
      ["--load-timeout", "soon"],
    ]) {
      const { code, stderr } = await alloy(["serve", `${option}=${value}`]);
      expect([option, code]).toEqual([option, 2]);
      expect(stderr).toContain(`${option} must be a`);
    }
  });

  test("a type of the KV cache that there is not is refused, with those that there are", async () => {
    const small = await alloy(["serve", "--kv-type", "q4_0"]);
    expect(small.code).toBe(2);
    expect(small.stderr).toContain("--kv-type: Alloy has no KV cache of type q4_0");
    expect(small.stderr).toContain("q8_0 is the smallest there is");
    const env = await alloy(["serve"], {}, { env: { OLLAMA_KV_CACHE_TYPE: "q4_0" } });
    expect(env.stderr).toContain("OLLAMA_KV_CACHE_TYPE: Alloy has no KV cache of type q4_0");
    expect((await alloy(["serve", "--kv-type", "int3"])).stderr).toContain('--kv-type is no type of a KV cache: "int3"');
  });

  test("the log: JSON where it is piped, for people on a terminal, as the options say, without colours if so wanted", async () => {
    const run = async (argv: string[], ioOptions: FakeIoOptions) => {
      const { io, done, url } = await serve(argv, {}, ioOptions);
      await (await fetch(`${url}/api/tags`)).text();
      io.interrupt();
      await done;
      return io.stderr;
    };
    const piped = (await run([], {})).trimEnd().split("\n");
    expect(piped.map((line) => JSON.parse(line))).toMatchObject([
      { level: "info", msg: "listening", url: expect.stringContaining("http://127.0.0.1:") },
      { level: "info", msg: "request", path: "/api/tags", status: 200 },
      { msg: expect.stringContaining("finishing running requests") },
      { msg: "stopped" },
    ]);
    const terminal = await run([], { tty: true });
    expect(terminal).toContain("\x1b[32mINFO");
    expect(terminal).toContain("200 GET /api/tags");
    expect(await run([], { tty: true, env: { NO_COLOR: "1" } })).not.toContain("\x1b");
    expect(await run(["--log-format", "json", "--log-level", "warn"], { tty: true })).toBe("");
    expect(await run(["--log-format", "pretty"], {})).toMatch(/^\d\d:\d\d:\d\d INFO {2}listening url=/);
    const unknown = JSON.parse((await run([], { env: { ALLOY_LOG: "loud" } })).split("\n")[0]);
    expect(unknown).toMatchObject({ level: "warn", msg: expect.stringContaining('"loud"') });
    expect((await alloy(["serve", "--log-level", "loud"])).stderr).toContain("--log-level");
  });

  test("every limit is in the table of docs/serving.md, with its variable", () => {
    const table = readFileSync(join(import.meta.dir, "../../docs/serving.md"), "utf8");
    for (const [name, { description }] of Object.entries(LIMITS)) {
      const row = table.split("\n").find((line) => line.startsWith(`| \`--${name}\` `)) ?? "";
      for (const [variable] of description.matchAll(/\b(OLLAMA|ALLOY)_[A-Z_]+/g))
        expect([name, row]).toEqual([name, expect.stringContaining(variable)]);
      expect([name, row]).not.toEqual([name, ""]);
    }
  });

  test("a running request finishes after the first signal; a second one ends it", async () => {
    for (const signals of [1, 2]) {
      const text = "one two three four five six seven eight nine ten eleven twelve";
      const { io, done, url } = await serve([], { script: () => [{ type: "text", text }], delayMs: 20 });
      const body = JSON.stringify({ model: "demo", stream: false, messages: [{ role: "user", content: "hi" }] });
      const response = fetch(`${url}/api/chat`, { method: "POST", body });
      await Bun.sleep(60);
      for (let i = 0; i < signals; i++) io.interrupt();
      const answer = await response;
      if (signals === 1) expect(await answer.json()).toMatchObject({ message: { content: text } });
      else expect(answer.status).toBe(503);
      expect((await done).code).toBe(0);
      expect(io.stderr).toContain("finishing running requests");
    }
  });

  test("a port in use: exit 1, says by whom, and the engine is closed", async () => {
    await using other = await start();
    const io = fakeIo();
    const { engine, deps } = parts();
    const { code, stderr } = await alloy(["serve", "--host", "127.0.0.1", "--port", String(other.server.port)], deps, io);
    expect(code).toBe(1);
    expect(stderr).toContain(`port ${other.server.port} on 127.0.0.1 is already in use by process ${process.pid}`);
    expect(stderr).toContain("another Alloy server");
    expect(engine.closed).toBe(true);
  });

  test("a port that is none is a usage error", async () => {
    expect((await alloy(["serve", "--port", "70000"])).stderr).toContain("--port must be between 0 and 65535, got 70000");
  });
});

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
    expect(report).toMatchObject({
      args: expect.stringMatching(/^--settings \S+\.json -p hi there$/),
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
        alloy: { options: { baseURL: "http://HOST/v1" }, models: { demo: { limit: { context: 65_536, output: 8192 }, reasoning: true } } },
      },
    });
    expect(await plan("goose")).toMatchObject({
      command: ["goose", "session"],
      env: { GOOSE_PROVIDER: "openai", OPENAI_HOST: "http://HOST" },
    });
    expect(await plan("qwen", "-p", "hi")).toMatchObject({
      command: ["qwen", "--auth-type", "openai", "--model", "demo", "-p", "hi"],
      env: { OPENAI_BASE_URL: "http://HOST/v1", OPENAI_MODEL: "demo", QWEN_CODE_MAX_OUTPUT_TOKENS: "8192" },
    });
    expect((await plan("copilot")).env).toMatchObject({
      COPILOT_PROVIDER_BASE_URL: "http://HOST/v1",
      COPILOT_PROVIDER_MAX_PROMPT_TOKENS: "57344",
      COPILOT_PROVIDER_MAX_OUTPUT_TOKENS: "8192",
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

    const { engine, deps } = parts();
    const model = await alloy(["launch", "claude", "--print", "-m", "nope"], deps, { env: { ...nowhere, PATH: "" } });
    expect(model.code).toBe(1);
    expect(model.stderr).toContain("nope");
    expect(engine.closed).toBe(true);

    const nobody = await alloy(["launch", "claude", "--print", "--port", "1"], {}, { env: { PATH: "" } });
    expect(nobody.stderr).toContain("nothing listens at http://127.0.0.1:1, no Alloy");
  });
});

describe("doctor", () => {
  const doctor = async (env: Record<string, string>) => {
    const { code, stdout } = await alloy(["doctor", "--json"], {}, { env: { ALLOY_HOST: "127.0.0.1:1", PATH: process.env.PATH!, ...env } });
    return { code, checks: Object.fromEntries(JSON.parse(stdout).checks.map((c: { name: string }) => [c.name, c])) };
  };

  test("covers program, processor, device, memory, compiler, cache, models and port", async () => {
    const { code, checks } = await doctor({});
    expect(Object.keys(checks)).toEqual(["alloy", "processor", "device", "memory", "compiler", "cache", "models", "port"]);
    expect(code).toBe(0);
    expect(checks.models.detail).toBe("1 demo");
    expect(checks.port.detail).toBe("127.0.0.1:1 is free");
  });

  test("no compiler is a warning; an Alloy on the port is fine, another program is not", async () => {
    expect((await doctor({ PATH: "/nonexistent" })).checks.compiler.status).toBe("warn");
    await using running = await start();
    const taken = await doctor({ ALLOY_HOST: `127.0.0.1:${running.server.port}` });
    expect(taken.checks.port).toMatchObject({ status: "ok", detail: expect.stringContaining("Alloy") });
    const stranger = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response("hello") });
    const strange = await doctor({ ALLOY_HOST: `127.0.0.1:${stranger.port}` });
    expect(strange.checks.port).toMatchObject({ status: "warn", detail: expect.stringContaining("another program") });
    await stranger.stop(true);
  });

  test("a GPU is named with its memory; a device that is not there is a failure", async () => {
    const gpu = { name: "Apple M2 Pro", kind: "metal" as const, isa: "apple8", threads: 19, memoryBytes: 21.3e9, hostPointers: false };
    const found = await alloy(["doctor"], { deviceProperties: async () => gpu });
    expect(found.stdout).toContain("Apple M2 Pro by way of Metal, apple8, 19 cores, up to 21.3 GB");
    const deviceProperties = async () => {
      throw new AlloyError("device_error", "There is no Metal on linux", { hint: "Use --device cpu." });
    };
    const missing = await alloy(["doctor"], { deviceProperties }, { env: { ALLOY_DEVICE: "metal", ALLOY_HOST: "127.0.0.1:1" } });
    expect(missing.code).toBe(1);
    expect(missing.stdout).toContain("ALLOY_DEVICE=metal: There is no Metal on linux");
  });

  test("a cache folder that cannot be made is a failure: exit 1", async () => {
    const { code, checks } = await doctor({ ALLOY_CACHE_DIR: "/etc/passwd/alloy" });
    expect(checks.cache).toMatchObject({ status: "fail", hint: expect.stringContaining("ALLOY_CACHE_DIR") });
    expect(code).toBe(1);
  });

  describe("--selftest", () => {
    const report = { kernel: "rms_norm", cases: 4, worst: 3e-7, tolerance: 1e-6, failures: [] as string[], ms: 1 };
    const bad = { ...report, kernel: "linear", worst: 0.5, failures: ["n 3: y[2] (1, not 2) differs by 5.0e-1", "b", "c", "d"] };
    const selftest = (...reports: (typeof report)[]) => ({
      selftest: async () => ({
        device: "Apple M2 apple8",
        reports: (async function* () {
          yield* reports;
        })(),
      }),
    });

    test("a line per kernel, and a sum", async () => {
      const { code, stdout } = await alloy(["doctor", "--selftest"], selftest(report));
      expect(code).toBe(0);
      expect(stdout).toContain("Apple M2 apple8, seed 1");
      expect(stdout).toMatch(/ok {4}rms_norm +4 +3\.0e-7 +1\.0e-6/);
      expect(stdout).toContain("1 kernels agree with the interpreter in 4 cases");
    });

    test("what differs is shown, and the exit code is 1", async () => {
      const { code, stdout } = await alloy(["doctor", "--selftest"], selftest(report, bad));
      expect(code).toBe(1);
      expect(stdout).toContain("y[2] (1, not 2) differs by 5.0e-1");
      expect(stdout).toContain("and 1 more");
      expect(stdout).toContain("1 of 2 kernels do not agree with the interpreter: linear");
      const json = await alloy(["doctor", "--selftest", "--json"], selftest(report, bad));
      expect(JSON.parse(json.stdout)).toMatchObject({
        ok: false,
        kernels: 2,
        cases: 8,
        reports: [{ kernel: "rms_norm" }, { kernel: "linear" }],
      });
    });

    test("a name that no kernel has, and options that need --selftest", async () => {
      expect(await alloy(["doctor", "--selftest", "--kernel", "zzz"], selftest())).toMatchObject({
        code: 1,
        stdout: expect.stringContaining('contains "zzz"'),
      });
      expect(await alloy(["doctor", "--seed", "3"])).toMatchObject({
        code: 2,
        stderr: expect.stringContaining("--seed belongs to --selftest"),
      });
    });
  });
});
