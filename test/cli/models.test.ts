/** pull, rm, cp, ps, create, and the offer to download. */
import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Deps, NewModel, PullRequest } from "../../src/cli/deps.ts";
import { makeStyle } from "../../src/cli/context.ts";
import { Progress } from "../../src/cli/progress.ts";
import { AlloyError } from "../../src/support/errors.ts";
import { start } from "../server/harness.ts";
import { alloy, fakeEngine, fakeIo } from "./fakes.ts";

const MB = 1_000_000;
const digest = `sha256:${"ab".repeat(32)}`;
const file = (completed: number) => ({ status: "pulling abababababab", digest, total: 100 * MB, completed });

function puller(
  events = [{ status: "pulling manifest" }, file(0), file(50 * MB), file(100 * MB), { status: "writing manifest" }, { status: "success" }],
) {
  const seen: { reference: string; request: PullRequest }[] = [];
  const pullModel: Deps["pullModel"] = async (reference, request) => {
    seen.push({ reference, request });
    for (const event of events) request.onEvent(event);
    return `${reference}:latest`;
  };
  return { seen, pullModel };
}

describe("pull", () => {
  test("in a pipe: plain lines on standard error, the name on standard output", async () => {
    const { seen, pullModel } = puller();
    const result = await alloy(["pull", "qwen3", "--revision", "v1", "--projector"], { pullModel });
    expect(result).toEqual({
      code: 0,
      stdout: "✓ qwen3:latest\n",
      stderr:
        "pulling manifest\npulling abababababab: 0% of 100 MB\npulling abababababab: 50% of 100 MB\npulling abababababab: 100% of 100 MB\nwriting manifest\n",
    });
    expect(seen[0]).toMatchObject({ reference: "qwen3", request: { revision: "v1", projector: true } });
  });

  test("a line for each tenth, not for each event", async () => {
    const { pullModel } = puller(Array.from({ length: 1000 }, (_, i) => file(i * MB * 0.1)));
    expect((await alloy(["pull", "m"], { pullModel })).stderr.trim().split("\n").length).toBe(10);
  });

  test("--json: every event on a line", async () => {
    const { stdout, stderr } = await alloy(["pull", "m", "--json"], puller());
    expect(
      stdout
        .trim()
        .split("\n")
        .map((l) => JSON.parse(l).status),
    ).toEqual(["pulling manifest", ...Array(3).fill("pulling abababababab"), "writing manifest", "success"]);
    expect(stderr).toBe("");
  });

  test("Ctrl-C: 130, and what came is kept", async () => {
    const io = fakeIo();
    const pullModel: Deps["pullModel"] = async (_, { signal }) => {
      io.interrupt();
      throw signal.reason;
    };
    expect(await alloy(["pull", "m"], { pullModel }, io)).toMatchObject({
      code: 130,
      stderr: "stopped; pulling again goes on from here\n",
    });
  });

  test("failures: 1, with what to do", async () => {
    const pullModel = async () => {
      throw new AlloyError("model_not_found", "registry.ollama.ai has no model m:latest", { hint: "Check the name." });
    };
    expect(await alloy(["pull", "m"], { pullModel })).toMatchObject({
      code: 1,
      stderr: "alloy: registry.ollama.ai has no model m:latest\nhint: Check the name.\n",
    });
    expect((await alloy(["pull"])).code).toBe(2);
  });
});

describe("the bar", () => {
  const bar = (columns: number) => {
    const io = { ...fakeIo({ tty: true }), columns };
    let text = "";
    io.err = (t) => void (text += t);
    let now = 0;
    return { progress: new Progress(io, makeStyle(false), () => now), tick: (ms: number) => (now += ms), text: () => text };
  };

  test("share, bytes, speed and time left; the last form stays", () => {
    const { progress, tick, text } = bar(100);
    for (const mb of [0, 20, 40, 100]) {
      progress.update(file(mb * MB));
      tick(1000);
    }
    const lines = text().split("\r\x1b[2K");
    expect(lines[2]).toMatch(/^abababababab ━{8}─{32}  20%  20\.0 MB of 100 MB  20\.0 MB\/s  4s$/);
    expect(lines.at(-1)).toMatch(/^abababababab ━{40} 100%  100 MB\n$/);
  });

  test("never wider than the terminal, down to no bar at all", () => {
    for (const columns of [100, 60, 50, 30, 20]) {
      const { progress, tick, text } = bar(columns);
      for (const mb of [1, 33, 66]) {
        progress.update(file(mb * MB));
        tick(500);
      }
      for (const line of text().split("\r\x1b[2K")) expect(Bun.stringWidth(line)).toBeLessThanOrEqual(columns);
    }
  });
});

test("rm: each name, what it freed; other people's models; unfinished downloads", async () => {
  const removed: string[] = [];
  const removeModel = async (name: string) => {
    if (name === "theirs")
      throw new AlloyError("forbidden", "theirs:latest belongs to Ollama, which Alloy reads only", {
        hint: "Delete it with `ollama rm theirs`.",
      });
    removed.push(name);
    return { name: `${name}:latest`, freed: 5 * MB };
  };
  const removeUnfinished = async () => ({ files: 1, freed: 2 * MB });
  expect((await alloy(["rm", "a", "b"], { removeModel })).stdout).toBe(
    "deleted a:latest (5.0 MB freed)\ndeleted b:latest (5.0 MB freed)\n",
  );
  expect(removed).toEqual(["a", "b"]);
  expect(JSON.parse((await alloy(["rm", "a", "--json"], { removeModel })).stdout)).toEqual({
    deleted: [{ name: "a:latest", freed: 5 * MB }],
  });
  expect(await alloy(["rm", "theirs"], { removeModel })).toMatchObject({ code: 1, stderr: expect.stringContaining("ollama rm theirs") });
  expect((await alloy(["rm", "--unfinished"], { removeUnfinished })).stdout).toBe(
    "deleted 1 file of unfinished downloads (2.0 MB freed)\n",
  );
  expect((await alloy(["rm"])).code).toBe(2);
});

test("cp and create", async () => {
  const copyModel = async (_: string, to: string) => `${to}:latest`;
  expect((await alloy(["cp", "a", "b"], { copyModel })).stdout).toBe("b:latest\n");
  expect((await alloy(["cp", "a"], { copyModel })).code).toBe(2);
  const made: [string, NewModel][] = [];
  const createModel: Deps["createModel"] = async (name, what, onStatus) => {
    made.push([name, what]);
    onStatus("writing manifest");
    onStatus("success");
    return `${name}:latest`;
  };
  expect(await alloy(["create", "x", "--from", "demo", "--system", "Be brief."], { createModel })).toEqual({
    code: 0,
    stdout: "✓ x:latest\n",
    stderr: "writing manifest\n",
  });
  const folder = mkdtempSync(join(tmpdir(), "alloy-create-"));
  writeFileSync(join(folder, "Modelfile"), "FROM demo\n");
  await alloy(["create", "y", "-f", join(folder, "Modelfile")], { createModel });
  await alloy(["create", "z", "-f", "-"], { createModel }, { stdin: "FROM ./m.gguf" });
  rmSync(folder, { recursive: true });
  expect(made).toEqual([
    ["x", { from: "demo", system: "Be brief." }],
    ["y", { modelfile: "FROM demo\n", folder }],
    ["z", { modelfile: "FROM ./m.gguf", folder: process.cwd() }],
  ]);
  expect((await alloy(["create", "x"])).code).toBe(2);
  expect((await alloy(["create", "x", "-f", join(folder, "none")])).stderr).toContain("cannot read");
});

test("ps: what a server has loaded, or that there is none", async () => {
  await using h = await start({}, { env: { ALLOY_API_KEY: "k1,k2" } });
  const env = { ALLOY_HOST: h.url.replace("http://", ""), ALLOY_API_KEY: "k2" };
  expect((await alloy(["ps"], {}, { env })).stdout).toBe("NAME  MEMORY  CONTEXT  UNTIL\n");
  await h.engine.load("demo", Infinity);
  expect((await alloy(["ps"], {}, { env })).stdout).toBe("NAME          MEMORY  CONTEXT  UNTIL\ndemo:latest  22.0 MB    65536  for ever\n");
  await h.engine.load("demo", 300_000);
  expect((await alloy(["ps"], {}, { env })).stdout).toContain("5 min");
  expect(JSON.parse((await alloy(["ps", "--json"], {}, { env })).stdout).models[0].name).toBe("demo:latest");
  expect((await alloy(["ps"], {}, { env: { ...env, ALLOY_API_KEY: "wrong" } })).stderr).toContain("set ALLOY_API_KEY");
  const nobody = await alloy(["ps"], {}, { env: { ALLOY_HOST: "127.0.0.1:1" } });
  expect([nobody.code, nobody.stderr]).toEqual([
    1,
    "alloy: no server answers at http://127.0.0.1:1\nhint: start one with `alloy serve`, or set ALLOY_HOST\n",
  ]);
});

describe("run with a model that is not here", () => {
  const missing = (pullable: boolean) => async () => {
    throw new AlloyError("model_not_found", 'model "qwen3:8b" is not installed', {
      hint: "`alloy pull qwen3:8b` would download it.",
      data: { pullable },
    });
  };
  const run = (answer: string, tty: boolean, pullable = true) => {
    const engine = fakeEngine();
    const { seen, pullModel } = puller();
    const deps = { createEngine: async () => engine, pullModel, resolveModel: missing(pullable) };
    const result = alloy(["run", "qwen3:8b", "hello"], deps, { tty, lines: [answer], ...(tty ? {} : { stdin: "" }) });
    return result.then((r) => ({ ...r, seen, engine }));
  };

  test("on a terminal: asks, downloads after a yes, and answers", async () => {
    const { code, stdout, stderr, seen, engine } = await run("y", true);
    expect([code, seen.map((s) => s.reference), engine.requests[0].model]).toEqual([0, ["qwen3:8b"], "qwen3:8b"]);
    expect(stdout).toBe("You said: hello\n");
    expect(stderr).toContain("qwen3:8b is not on this machine.\n");
  });

  test("anything else than yes, a pipe, or a path: the error with the hint", async () => {
    for (const [answer, tty, pullable] of [
      ["n", true],
      ["", true],
      ["end", true],
      ["y", false],
      ["y", true, false],
    ] as const) {
      const { code, stderr, seen } = await run(answer, tty, pullable);
      expect([code, seen]).toEqual([1, []]);
      expect(stderr).toContain("`alloy pull qwen3:8b` would download it.");
    }
  });
});
