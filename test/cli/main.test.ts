/** `bun src/cli/main.ts` as a process: streams, pipes, exit codes. */
import { describe, expect, test } from "bun:test";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "../..");
const MAIN = join(ROOT, "src/cli/main.ts");

async function alloy(args: string[], options: { stdin?: string; env?: Record<string, string> } = {}) {
  const child = Bun.spawn([process.execPath, MAIN, ...args], {
    cwd: ROOT,
    env: { ...process.env, NO_COLOR: "1", ...options.env },
    stdin: options.stdin === undefined ? "ignore" : new Blob([options.stdin]),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [code, stdout, stderr] = await Promise.all([child.exited, new Response(child.stdout).text(), new Response(child.stderr).text()]);
  return { code, stdout, stderr };
}

describe("the process", () => {
  test("exit codes: 0 done, 1 failed, 2 called wrongly", async () => {
    expect((await alloy(["version"])).code).toBe(0);
    expect((await alloy(["show", "./nope.gguf"])).code).toBe(1);
    expect((await alloy(["show", "demo", "--nope"])).code).toBe(2);
    expect((await alloy(["nope"])).code).toBe(2);
  });

  test("a long output arrives whole", async () => {
    const text = "Hello world, 12345. ".repeat(20_000);
    const { code, stdout } = await alloy(["tokenize", "demo", "--json"], { stdin: text });
    expect(code).toBe(0);
    expect(stdout.length).toBeGreaterThan(400_000);
    const { ids } = JSON.parse(stdout) as { ids: number[] };
    expect((await alloy(["tokenize", "demo", "--decode"], { stdin: ids.join(" ") })).stdout).toBe(text);
  });

  test("a reader that goes away is no error", async () => {
    const command = `yes hello | head -c 400000 | "${process.execPath}" "${MAIN}" tokenize demo | head -n 1; echo "\${PIPESTATUS[2]}"`;
    const shell = Bun.spawnSync(["bash", "-c", command]);
    expect(shell.stdout.toString()).toMatch(/^\d+\t.+\n0\n$/);
    expect(shell.stderr.toString()).toBe("");
  });

  test("the real tokenizer on text that is awkward", async () => {
    for (const text of ["", "\n", "a\0b", "日本語 🎉 é́", "<|im_start|>user"]) {
      const { stdout } = await alloy(["tokenize", "demo", "--json"], { stdin: text });
      const { ids, pieces } = JSON.parse(stdout) as { ids: number[]; pieces: string[] };
      expect(pieces).toHaveLength(ids.length);
      expect((await alloy(["tokenize", "demo", "--decode"], { stdin: JSON.stringify({ ids }) })).stdout).toBe(text);
    }
  });

  test("list and show find the demo model", async () => {
    expect(JSON.parse((await alloy(["list", "--json"])).stdout).models.map((m: { name: string }) => m.name)).toContain("demo");
    expect(JSON.parse((await alloy(["show", "demo", "--json"])).stdout)).toMatchObject({ architecture: "qwen3", quantization: "Q8_0" });
  });

  test("an error as JSON is on standard output", async () => {
    const { code, stdout, stderr } = await alloy(["show", "./nope.gguf", "--json"]);
    expect(code).toBe(1);
    expect(stderr).toBe("");
    expect(JSON.parse(stdout).error).toMatchObject({ code: "model_not_found", message: expect.stringContaining("nope.gguf") });
  });
});
