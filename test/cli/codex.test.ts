/** The real Codex CLI on a scripted model, where it is installed (`npm install -g @openai/codex`). */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TOOLS } from "../../src/cli/tools.ts";
import { start } from "../server/harness.ts";
import type { Step } from "../server/scripted-engine.ts";

const codex = Bun.which("codex");
let work: string;
beforeAll(() => void (work = mkdtempSync(join(tmpdir(), "alloy-codex-"))));
afterAll(() => rmSync(work, { recursive: true, force: true }));

test.skipIf(codex === null)(
  "Codex runs a command, calls a member of a namespace, and sends reasoning and results back",
  async () => {
    const turns: Step[][] = [
      [
        { type: "reasoning", text: "a file is wanted" },
        { type: "tool", name: "exec_command", arguments: JSON.stringify({ cmd: "echo written > made.txt; cat made.txt" }) },
      ],
      [{ type: "tool", name: "multi_agent_v1__wait_agent", arguments: '{"targets":["x"],"ids":["x"]}' }],
      [{ type: "text", text: "The file is there." }],
    ];
    const results = (messages: { role: string }[]) => messages.filter((m) => m.role === "tool").length;
    await using h = await start({ script: (r) => (r.prompt.kind === "chat" ? turns[Math.min(2, results(r.prompt.messages))] : []) });
    const home = join(work, "home");
    const folder = join(work, "project");
    mkdirSync(home);
    mkdirSync(folder);
    const endpoint = { url: h.url, model: "demo", context: 65_536, key: "alloy" };
    const flags = ["exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "Make a file"];
    const child = Bun.spawn([codex!, ...TOOLS.codex.args(endpoint, flags)], {
      cwd: folder,
      env: { PATH: process.env.PATH, HOME: home, CODEX_HOME: home, ...TOOLS.codex.env(endpoint) },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    const [out, err] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
    expect({ code: await child.exited, out: out.trim() }).toEqual({ code: 0, out: "The file is there." });
    expect(err).toContain("a file is wanted");
    expect(readFileSync(join(folder, "made.txt"), "utf8")).toBe("written\n");
    const last = h.engine.requests.at(-1)!.prompt;
    if (last.kind !== "chat") throw new Error("not a chat prompt");
    const turn = last.messages.find((m) => m.toolCalls?.[0].name === "exec_command")!;
    expect(turn.reasoning).toBe("a file is wanted");
    const answers = last.messages.filter((m) => m.role === "tool").map((m) => m.content);
    expect(answers[0]).toContain("written");
    // The member was found and run; it only knows no such agent.
    expect(answers[1]).toStartWith("invalid agent id");
  },
  120_000,
);
