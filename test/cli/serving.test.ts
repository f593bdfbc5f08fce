/** `serve` and `doctor`: the real server on a free loopback port, with a scripted model behind it. */
import { AlloyError } from "../../src/support/errors.ts";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LIMITS } from "../../src/cli/serve-limits.ts";
import { probe } from "../../src/cli/probe.ts";
import { start, until } from "../server/harness.ts";
import type { ScriptedOptions } from "../server/scripted-engine.ts";
import { alloy, fakeIo, type FakeIoOptions } from "./fakes.ts";
import { parts } from "./scripted.ts";

let work: string;
beforeAll(() => void (work = mkdtempSync(join(tmpdir(), "alloy-cli-test-"))));
afterAll(() => rmSync(work, { recursive: true, force: true }));

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
      "--json -m demo -m other --ctx 512 --parallel 3 --queue 7 --threads 2 --max-gap 50 --grammar-timeout 500 --cache-share 0.4 --kv-type q8_0".split(
        " ",
      ),
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
      grammarTimeout: 500,
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
      const { promise: hold, resolve: speak } = Promise.withResolvers<void>();
      const { io, engine, done, url } = await serve([], { script: () => [{ type: "text", text }], hold });
      const body = JSON.stringify({ model: "demo", stream: false, messages: [{ role: "user", content: "hi" }] });
      const response = fetch(`${url}/api/chat`, { method: "POST", body });
      await until(() => engine.running === 1, "the request runs");
      for (let i = 0; i < signals; i++) io.interrupt();
      if (signals === 1) speak();
      const answer = await response;
      speak();
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
