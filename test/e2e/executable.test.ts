/** `dist/alloy` as it is shipped: from an empty folder, without a repository, Bun or a compiler in reach. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspectableKernels } from "../../src/cli/kernel-stages.ts";
import { SEED } from "../kernels/runners.ts";
import { metalHost } from "../metal-host/build.ts";

const ALLOY = join(import.meta.dir, "../../dist/alloy");
const BUILT = existsSync(ALLOY);
const host = metalHost();

let work: string;
beforeAll(() => void (work = mkdtempSync(join(tmpdir(), "alloy-executable-"))));
afterAll(() => rmSync(work, { recursive: true, force: true }));

/** An empty folder to start in and an empty home. */
function place(): { here: string; home: string } {
  const root = mkdtempSync(join(work, "place-"));
  const [here, home] = [join(root, "here"), join(root, "home")];
  mkdirSync(here);
  mkdirSync(home);
  return { here, home };
}

interface Options {
  at?: { here: string; home: string };
  env?: Record<string, string>;
  stdin?: string;
}

function start(args: string[], { at = place(), env = {}, stdin }: Options = {}) {
  return Bun.spawn([ALLOY, ...args], {
    cwd: at.here,
    env: { HOME: at.home, PATH: "/nonexistent", TMPDIR: join(at.home, ".."), ...env },
    stdin: stdin === undefined ? "ignore" : new Blob([stdin]),
    stdout: "pipe",
    stderr: "pipe",
  });
}

async function alloy(args: string[], options: Options = {}) {
  const child = start(args, options);
  const [code, stdout, stderr] = await Promise.all([child.exited, new Response(child.stdout).text(), new Response(child.stderr).text()]);
  return { code, stdout, stderr };
}

describe.skipIf(!BUILT)("the executable (skipped: dist/alloy is not built; run `bun build.ts`)", () => {
  test("says that it is the executable, and which build", async () => {
    const { code, stdout } = await alloy(["version", "--json"]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout).build).not.toBe("source");
  });

  test("reads neither .env nor bunfig.toml of the folder it is started in", async () => {
    const at = place();
    const trap = join(at.here, "trapped");
    writeFileSync(join(at.here, ".env"), `ALLOY_CACHE_DIR=${trap}\n`);
    writeFileSync(join(at.here, "bunfig.toml"), 'preload = ["./preload.ts"]\n');
    writeFileSync(join(at.here, "preload.ts"), `require("node:fs").writeFileSync(${JSON.stringify(trap)}, "");\n`);
    writeFileSync(join(at.here, "package.json"), "not even JSON");
    writeFileSync(join(at.here, "tsconfig.json"), "not even JSON");
    const { code, stdout, stderr } = await alloy(["tokenize", "demo", "hi", "--count"], { at });
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: "1\n", stderr: "" });
    expect(existsSync(trap)).toBe(false);
  });

  test("every command's help works: nothing was left out of the bundle", async () => {
    const { commands } = JSON.parse((await alloy(["--json"])).stdout) as { commands: { name: string }[] };
    expect(commands.length).toBeGreaterThan(8);
    for (const { name } of commands) {
      const { code, stdout } = await alloy([name, "--help"]);
      expect(code).toBe(0);
      expect(stdout).toStartWith(`alloy ${name}: `);
    }
  }, 120_000);

  test("unpacks the demo model once, under a name made from its content, also when several start at once", async () => {
    const at = place();
    const all = await Promise.all(Array.from({ length: 4 }, () => alloy(["show", "demo", "--json"], { at })));
    expect(all.map((r) => r.code)).toEqual([0, 0, 0, 0]);
    const folder = join(at.home, process.platform === "darwin" ? "Library/Caches" : ".cache", "alloy", "embedded");
    const files = readdirSync(folder);
    expect(files).toHaveLength(1);
    expect(JSON.parse(all[0].stdout).path).toBe(join(folder, files[0]));
  });

  test("without a cache folder it uses a temporary copy, and takes it away", async () => {
    const at = place();
    const tmp = join(at.home, "tmp");
    mkdirSync(tmp);
    const env = { ALLOY_CACHE_DIR: "/dev/null/alloy", TMPDIR: tmp };
    expect(await alloy(["tokenize", "demo", "--count", "hi"], { at, env })).toEqual({ code: 0, stdout: "1\n", stderr: "" });
    expect(readdirSync(tmp)).toEqual([]);
  });

  test("answers a question", async () => {
    const at = place();
    const { code, stdout, stderr } = await alloy(["run", "--temperature", "0", "What is the capital of France?"], { at });
    expect(stderr).toBe("");
    expect(stdout).toContain("Paris");
    expect(code).toBe(0);
    const piped = await alloy(["run", "--temperature", "0", "--json"], { at, stdin: "What is the capital of France?\n" });
    expect(JSON.parse(piped.stdout)).toMatchObject({ model: "demo", text: stdout.trimEnd(), reason: "stop" });
  }, 120_000);

  test("gives the logits that the sources give", async () => {
    const args = ["logits", "demo", "--ids", "39,68,75,75,78", "-n", "8", "--json"];
    const source = JSON.parse(Bun.spawnSync([process.execPath, join(import.meta.dir, "../../src/cli/main.ts"), ...args]).stdout.toString());
    const shipped = JSON.parse((await alloy(args)).stdout);
    expect(shipped.greedy).toHaveLength(8);
    expect(shipped.greedy).toEqual(source.greedy);
    const distance = Math.max(...shipped.logits.map((v: number, i: number) => Math.abs(v - source.logits[i])));
    expect(distance).toBeLessThan(1e-4);
  }, 120_000);

  test("every kernel compiles to the same C as from the sources: bundling changed no name that counts", async () => {
    const code = (stages: { name: string; text: string }[]) =>
      stages
        .find((s) => s.name === "c")!
        .text.split("\n")
        // Comments quote the kernel's lines, which the bundler prints in its own way.
        .filter((line) => !line.trim().startsWith("//"))
        .join("\n");
    const kernels = inspectableKernels();
    expect(kernels.length).toBeGreaterThan(20);
    // A third each time: a process for every kernel takes a minute.
    for (const kernel of kernels.filter((_, i) => i % 3 === SEED % 3)) {
      const { stdout } = await alloy(["inspect", kernel.name, "--isa", "avx2", "--json"]);
      const { stages, error } = JSON.parse(stdout);
      expect({ kernel: kernel.name, error }).toEqual({ kernel: kernel.name, error: undefined });
      expect(code(stages)).toBe(code(kernel.stages({ isa: "avx2", constexprs: {} })));
    }
  }, 120_000);

  test.skipIf(!host.available)(
    "computes through Metal: kernels and shim fit together in it",
    async () => {
      const env = { ALLOY_METAL_SHIM: host.available ? host.shim : "", PATH: process.env.PATH! };
      const { code, stdout } = await alloy(["doctor", "--selftest", "--device", "metal", "--kernel", "norm", "--json"], { env });
      expect(JSON.parse(stdout)).toMatchObject({ ok: true, kernels: 3 });
      expect(code).toBe(0);
    },
    120_000,
  );

  test("serves, and ends on SIGTERM with 0", async () => {
    const child = start(["serve", "--port", "0", "--json", "--model", "demo"]);
    const { value } = await child.stdout.getReader().read();
    const { url } = JSON.parse(new TextDecoder().decode(value)) as { url: string };
    const response = await fetch(`${url}/v1/chat/completions`, {
      method: "POST",
      body: JSON.stringify({ model: "demo", temperature: 0, messages: [{ role: "user", content: "What is the capital of France?" }] }),
    });
    expect(JSON.stringify(await response.json())).toContain("Paris");
    const page = await (await fetch(url, { headers: { accept: "text/html" } })).text();
    const script = /src="(web\/main\.[^"]+)"/.exec(page)?.[1];
    expect((await fetch(`${url}/${script}`)).headers.get("content-type")).toBe("text/javascript; charset=utf-8");
    // Bun shares ports in production mode unless told not to.
    const second = await alloy(["serve", "--port", new URL(url).port]);
    expect(second).toMatchObject({ code: 1, stderr: expect.stringContaining(`already in use by process ${child.pid}`) });
    child.kill("SIGTERM");
    expect(await child.exited).toBe(0);
  }, 120_000);
});
