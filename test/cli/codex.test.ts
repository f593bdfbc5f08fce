/** The real Codex CLI on a scripted model, where it is installed (`npm install -g @openai/codex`). */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TOOLS } from "../../src/cli/tools.ts";
import type { ChatMessage } from "../../src/chat/api.ts";
import { type Harness, start } from "../server/harness.ts";
import type { ScriptedOptions, Step } from "../server/scripted-engine.ts";

const codex = Bun.which("codex");
let home: string;
let folder: string;
beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), "alloy-codex-"));
  folder = join(home, "project");
  mkdirSync(folder);
});
afterAll(() => rmSync(home, { recursive: true, force: true }));

const messagesOf = (h: Harness): ChatMessage[] => {
  const { prompt } = h.engine.requests.at(-1)!;
  return prompt.kind === "chat" ? prompt.messages : [];
};
const results = (messages: ChatMessage[]) => messages.filter((m) => m.role === "tool").map((m) => m.content);

/** Answers with the script's next turn after each round of tools. */
const turnByTurn = (turns: Step[][]): ScriptedOptions => ({
  script: ({ prompt }) => (prompt.kind === "chat" ? turns[Math.min(turns.length - 1, results(prompt.messages).length)] : []),
});

async function exec(h: Harness, model: string): Promise<{ code: number; out: string; err: string }> {
  const endpoint = { url: h.url, model, context: 65_536, key: "alloy" };
  const flags = ["exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "Make a file"];
  const child = Bun.spawn([codex!, ...TOOLS.codex.args(endpoint, flags)], {
    cwd: folder,
    env: { PATH: process.env.PATH, HOME: home, CODEX_HOME: home, ...TOOLS.codex.env(endpoint) },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  return { code: await child.exited, out: out.trim(), err };
}

const MINUTES = 120_000;

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
    await using h = await start(turnByTurn(turns));
    const { code, out, err } = await exec(h, "demo");
    expect({ code, out }).toEqual({ code: 0, out: "The file is there." });
    expect(err).toContain("a file is wanted");
    expect(readFileSync(join(folder, "made.txt"), "utf8")).toBe("written\n");
    expect(messagesOf(h).find((m) => m.toolCalls?.[0].name === "exec_command")!.reasoning).toBe("a file is wanted");
    const [command, member] = results(messagesOf(h));
    expect(command).toContain("written");
    // The member was found and run; it only knows no such agent.
    expect(member).toStartWith("invalid agent id");
  },
  MINUTES,
);

test.skipIf(codex === null)(
  "under a name that it knows Codex offers a patch tool and a tool search; both work",
  async () => {
    const patch = "*** Begin Patch\n*** Add File: patched.txt\n+hello\n*** End Patch\n";
    const turns: Step[][] = [
      [{ type: "tool", name: "apply_patch", arguments: JSON.stringify({ input: patch }) }],
      [{ type: "tool", name: "tool_search", arguments: JSON.stringify({ query: "agents", limit: 3 }) }],
      [{ type: "text", text: "Patched." }],
    ];
    await using h = await start(turnByTurn(turns));
    expect(await exec(h, "gpt-5.5")).toMatchObject({ code: 0, out: "Patched." });
    expect(readFileSync(join(folder, "patched.txt"), "utf8")).toBe("hello\n");
    expect(results(messagesOf(h))[1]).toContain("spawn_agent");
  },
  MINUTES,
);

test.skipIf(codex === null)(
  "a prompt beyond the window is said at once, without another try",
  async () => {
    await using h = await start({ contextLength: 1000 });
    const { err } = await exec(h, "demo");
    expect(err).toContain("ran out of room in the model's context window");
    expect(h.engine.requests).toHaveLength(1);
  },
  MINUTES,
);
