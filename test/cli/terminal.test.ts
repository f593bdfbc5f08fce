/** The chat in a real terminal (tmux): editing, history, streaming, Ctrl-C. */
import { afterEach, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const HAS_TMUX = Bun.which("tmux") !== null;
const MAIN = join(import.meta.dir, "terminal-main.ts");

class Terminal {
  readonly folder = mkdtempSync(join(tmpdir(), "alloy-terminal-"));
  readonly history = join(this.folder, "history");
  private readonly socket = join(this.folder, "tmux");

  constructor(args = "run") {
    const status = `${this.folder}/status`;
    const command = `ALLOY_HISTORY=${this.history} TERM=xterm-256color ${process.execPath} ${MAIN} ${args}; echo $? > ${status}; sleep 60`;
    this.tmux("-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "40", command);
  }

  private tmux(...args: string[]): string {
    const { stdout, stderr, success } = Bun.spawnSync(["tmux", "-S", this.socket, ...args]);
    if (!success) throw new Error(`tmux ${args[0]}: ${stderr}`);
    return stdout.toString();
  }

  type(text: string): void {
    this.tmux("send-keys", "-l", text);
  }

  key(...names: string[]): void {
    this.tmux("send-keys", ...names);
  }

  screen(): string {
    return this.tmux("capture-pane", "-p").trimEnd();
  }

  /** Waits until the screen matches; fails with what is on it. */
  async sees(pattern: RegExp): Promise<string> {
    const end = performance.now() + 60_000;
    for (;;) {
      const screen = this.screen();
      if (pattern.test(screen)) return screen;
      if (performance.now() > end) throw new Error(`${pattern} does not show up on:\n${screen}`);
      await Bun.sleep(20);
    }
  }

  /** Waits until the program ends. */
  async exitCode(): Promise<number> {
    const file = join(this.folder, "status");
    const end = performance.now() + 60_000;
    while (!existsSync(file) || statSync(file).size === 0) {
      if (performance.now() > end) throw new Error(`still running:\n${this.screen()}`);
      await Bun.sleep(20);
    }
    return Number(readFileSync(file, "utf8"));
  }

  close(): void {
    this.tmux("kill-server");
    rmSync(this.folder, { recursive: true, force: true });
  }
}

describe.skipIf(!HAS_TMUX)("in a terminal (skipped: no tmux here)", () => {
  let terminal: Terminal;
  afterEach(() => terminal.close());

  test("a turn, an edited line, the history, and Ctrl-D", async () => {
    terminal = new Terminal();
    await terminal.sees(/type a message.*\n>>> *$/);
    terminal.type("hello");
    terminal.key("Enter");
    await terminal.sees(/>>> hello\nLet me see\.\n\nYou said: hello\.\n>>> *$/);

    // Left twice, a letter, Enter: "abc" becomes "aXbc".
    terminal.type("abc");
    terminal.key("Left", "Left");
    terminal.type("X");
    terminal.key("Enter");
    await terminal.sees(/You said: aXbc\.\n>>> *$/);

    terminal.key("Up", "Up");
    await terminal.sees(/>>> hello$/);
    terminal.key("Down");
    await terminal.sees(/>>> aXbc$/);
    terminal.key("C-u");
    await terminal.sees(/>>> *$/);
    terminal.key("C-d");
    expect(await terminal.exitCode()).toBe(0);
    expect(readFileSync(terminal.history, "utf8")).toBe("hello\naXbc\n");
    expect(statSync(terminal.history).mode & 0o777).toBe(0o600);
  }, 120_000);

  test("Ctrl-C stops the answer and not the program; at the prompt it says how to leave; /bye leaves", async () => {
    terminal = new Terminal();
    await terminal.sees(/>>> *$/);
    terminal.type("count");
    terminal.key("Enter");
    await terminal.sees(/n0 n1 n2/);
    terminal.key("C-c");
    await terminal.sees(/n2.*\n\(stopped\)\n>>> *$/s);
    terminal.key("C-c");
    await terminal.sees(/Ctrl-D or \/bye leaves\n>>> *$/);
    terminal.type("still there?");
    terminal.key("Enter");
    await terminal.sees(/You said: still there\?\.\n>>> *$/);
    terminal.type("/bye");
    terminal.key("Enter");
    expect(await terminal.exitCode()).toBe(0);
  }, 120_000);

  test("Ctrl-C ends a single answer with 130", async () => {
    terminal = new Terminal("run count");
    await terminal.sees(/n0 n1/);
    terminal.key("C-c");
    expect(await terminal.exitCode()).toBe(130);
  }, 120_000);
});
