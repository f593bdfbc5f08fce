/**
 * The code in the documents runs. ```sh blocks run in a shell where `alloy` is this checkout's; a block that talks to port 11434 gets a server
 * of its own. ```ts blocks run under Bun. Blocks marked `no-run` do not.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { read, repositoryFiles, ROOT } from "./files.ts";

interface Block {
  file: string;
  line: number;
  language: string;
  code: string;
}

function blocks(file: string): Block[] {
  const text = read(file);
  return [...text.matchAll(/^```(\w+)([^\n]*)\n([\s\S]*?)^```$/gm)]
    .filter((m) => ["sh", "ts"].includes(m[1]) && !m[2].includes("no-run"))
    .map((m) => ({ file, line: text.slice(0, m.index).split("\n").length, language: m[1], code: m[3] }));
}

const documents = repositoryFiles(".md").filter((f) => f === "README.md" || /^docs\/[^/]+\.md$/.test(f));
const PORT = /(127\.0\.0\.1|localhost):11434/g;

let work: string;
let server: ReturnType<typeof Bun.spawn> | undefined;
let address = "";

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "alloy-docs-"));
  mkdirSync(join(work, "bin"));
  writeFileSync(join(work, "bin", "alloy"), `#!/bin/sh\nexec "${process.execPath}" "${ROOT}/src/cli/main.ts" "$@"\n`);
  chmodSync(join(work, "bin", "alloy"), 0o755);
});

afterAll(async () => {
  server?.kill();
  await server?.exited;
  rmSync(work, { recursive: true, force: true });
});

/** What the documents make and delete is not in the store of whoever runs the tests. */
const ownStore = () => ({ ALLOY_MODELS: join(work, "models") });

/** Address of a server with the demo model, started when it is first needed. */
async function serverAddress(): Promise<string> {
  if (server === undefined) {
    const command = [process.execPath, "src/cli/main.ts", "serve", "--port", "0", "--json", "--log-level", "error"];
    const child = Bun.spawn(command, { cwd: ROOT, env: { ...process.env, ...ownStore() }, stdout: "pipe" });
    server = child;
    const { value } = await child.stdout.getReader().read();
    address = new URL((JSON.parse(new TextDecoder().decode(value)) as { url: string }).url).host;
  }
  return address;
}

async function run(block: Block): Promise<{ code: number; output: string }> {
  let { code } = block;
  if (PORT.test(code)) code = code.replaceAll(PORT, await serverAddress());
  const folder = mkdtempSync(join(work, "block-"));
  let command = ["sh", "-e", join(folder, "block.sh")];
  if (block.language === "ts") {
    // Imports are written from the document's own folder.
    code = code.replace(/(from |import\()"(\.[^"]*)"/g, (_, how, path) => `${how}"${join(ROOT, dirname(block.file), path)}"`);
    command = [process.execPath, join(folder, "block.ts")];
  }
  writeFileSync(command.at(-1)!, code);
  const child = Bun.spawn(command, {
    cwd: folder,
    env: { ...process.env, ...ownStore(), PATH: `${join(work, "bin")}:${process.env.PATH}` },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [exit, stdout, stderr] = await Promise.all([child.exited, new Response(child.stdout).text(), new Response(child.stderr).text()]);
  return { code: exit, output: stdout + stderr };
}

test.each(documents.map((file) => [file, blocks(file)] as const).filter(([, all]) => all.length > 0))(
  "the code blocks of %s run",
  async (_, all) => {
    const failed: string[] = [];
    for (const block of all) {
      const { code, output } = await run(block);
      if (code !== 0) failed.push(`${block.file}:${block.line} ended with ${code}:\n${output.slice(-1500)}`);
    }
    expect(failed).toEqual([]);
  },
  120_000,
);

test("a curl of the README gets an answer", async () => {
  const block = blocks("README.md").find((b) => b.code.includes("curl"))!;
  const { output } = await run(block);
  expect(output).toContain('"content":');
}, 120_000);
