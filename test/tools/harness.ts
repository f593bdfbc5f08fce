/**
 * Real coding tools on a scripted model: where their programs are, a home of their own, and how to script a conversation.
 *
 * `sh install.sh --test` brings the versions of package.json into .cache/tools; a program in PATH serves where that has none. Nothing but
 * loopback is reached: every other address goes to a proxy that is not there.
 */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ChatMessage, ToolSpec } from "../../src/chat/api.ts";
import type { GenerateRequest } from "../../src/engine/api.ts";
import type { Endpoint } from "../../src/cli/tools.ts";
import type { Harness } from "../server/harness.ts";
import type { ScriptedOptions, Step } from "../server/scripted-engine.ts";

const PACKAGES = join(import.meta.dir, "../../.cache/tools/node_modules");
const platform = `${process.platform}-${process.arch}`;

/** The programs of the packages for this platform: the packages' own starters want Node. */
const PROGRAMS = {
  claude: `@anthropic-ai/claude-code-${platform}/claude`,
  codex: `@openai/codex-${platform}/vendor/*/bin/codex`,
  opencode: `opencode-${platform}-baseline/bin/opencode`,
} as const;

export type Program = keyof typeof PROGRAMS;

/** Path of a tool's program, or null: its tests are skipped then, with a line that says why. */
export function program(name: Program): string | null {
  const [installed] = new Bun.Glob(PROGRAMS[name]).scanSync({
    cwd: PACKAGES,
    absolute: true,
    onlyFiles: true,
    throwErrorOnBrokenSymlink: false,
  });
  const path = installed ?? Bun.which(name);
  if (path === null) console.error(`${name} is not here (sh install.sh --test brings it): its tests are skipped`);
  return path;
}

/** A test with several starts of a tool takes seconds; on a busy machine, minutes. */
export const MINUTES = 180_000;

/** Variables that keep a program on loopback and quiet. */
const QUIET = {
  HTTP_PROXY: "http://127.0.0.1:9",
  HTTPS_PROXY: "http://127.0.0.1:9",
  NO_PROXY: "127.0.0.1,localhost",
  NO_COLOR: "1",
  CI: "1",
  DO_NOT_TRACK: "1",
  // opencode installs packages at its start.
  npm_config_offline: "true",
};

/** A user without any configuration, and an empty project. */
export class Person implements Disposable {
  readonly #root = mkdtempSync(join(tmpdir(), "alloy-tools-"));
  readonly home = join(this.#root, "home");
  readonly project = join(this.#root, "project");
  /** A folder for PATH that holds the tools under their own names. */
  readonly bin = join(this.#root, "bin");

  constructor(...programs: Program[]) {
    for (const folder of [this.home, this.project, this.bin]) mkdirSync(folder);
    for (const name of programs) symlinkSync(program(name)!, join(this.bin, name));
  }

  get env(): Record<string, string> {
    const path = `${this.bin}:${process.env.PATH}`;
    return { PATH: path, HOME: this.home, SHELL: "/bin/sh", USER: "someone", LANG: "C.UTF-8", TMPDIR: this.#root, ...QUIET };
  }

  /** Runs a program in the project to its end, without a terminal. */
  async run(command: string[], env: Record<string, string> = {}): Promise<Ran> {
    const child = Bun.spawn(command, { cwd: this.project, env: { ...this.env, ...env }, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
    const [out, err] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
    return { code: await child.exited, out: out.trim(), err };
  }

  [Symbol.dispose](): void {
    rmSync(this.#root, { recursive: true, force: true, maxRetries: 5 });
  }
}

export interface Ran {
  code: number;
  out: string;
  err: string;
}

export function messages({ prompt }: GenerateRequest): ChatMessage[] {
  return prompt.kind === "chat" ? prompt.messages : [];
}

export function tools({ prompt }: GenerateRequest): ToolSpec[] {
  return prompt.kind === "chat" ? (prompt.tools ?? []) : [];
}

/** Contents of the tool messages, in order. */
export function results(request: GenerateRequest): string[] {
  return messages(request)
    .filter((m) => m.role === "tool")
    .map((m) => m.content);
}

/** The last words of the user. */
export function lastUser(request: GenerateRequest): string {
  return messages(request).findLast((m) => m.role === "user")?.content ?? "";
}

/**
 * Answers requests that offer tools with the script's next turn after each round of tools. Requests without tools are a tool's own: titles,
 * summaries; they get `aside`.
 */
export function turnByTurn(turns: Step[][], aside: Step[] = [{ type: "text", text: '{"title":"A title"}' }]): ScriptedOptions {
  return {
    script: (request) => (tools(request).length === 0 ? aside : turns[Math.min(turns.length - 1, rounds(request))]),
  };
}

/** Rounds of tools so far: assistant messages with calls. */
function rounds(request: GenerateRequest): number {
  return messages(request).filter((m) => m.toolCalls !== undefined && m.toolCalls.length > 0).length;
}

/** What `alloy launch` finds out of a scripted server. */
export function endpoint(h: Harness, context: number): Endpoint {
  return { url: h.url, model: "demo", context, key: "alloy", vision: false, thinking: true };
}

/** How many requests of a route were answered with a status, as the server's metrics say. */
export async function countRequests(h: Harness, route: string, status: number): Promise<number> {
  const text = await (await fetch(`${h.url}/metrics`)).text();
  const lines = text.split("\n").filter((line) => line.startsWith("alloy_http_requests_total{"));
  const mine = lines.filter((line) => line.includes(`route="${route}"`) && line.includes(`status="${status}"`));
  return mine.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
}

export const say = (text: string): Step => ({ type: "text", text });
let calls = 0;
/** A call with an id of its own: clients drop results of an id that they have seen. */
export const call = (name: string, args: unknown): Step => ({ type: "tool", name, arguments: JSON.stringify(args), id: `call_${++calls}` });
