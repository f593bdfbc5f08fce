/** Reading lines from a terminal with editing and history, on node:readline. */
import { appendFileSync, mkdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import type { Io } from "./context.ts";

export type LineRead = { text: string } | "end" | "interrupt";

const HISTORY_LINES = 500;

/**
 * Makes a reader. Each line gets a readline interface of its own, so that between lines the terminal is in its normal mode and
 * Ctrl-C reaches the program as a signal. History is kept in a file that only its owner can read; ALLOY_HISTORY names another
 * one, and an empty value keeps none.
 */
export function lineReader(env: Readonly<Record<string, string | undefined>>): Io["readLine"] {
  const file = env.ALLOY_HISTORY ?? join(env.XDG_STATE_HOME || join(homedir(), ".local", "state"), "alloy", "history");
  let history: string[] | undefined;
  return (prompt, { history: kept = true } = {}) => {
    history ??= readHistory(file);
    const known = kept ? history : [];
    return new Promise((resolve) => {
      const terminal = createInterface({
        input: process.stdin,
        output: process.stdout,
        terminal: true,
        prompt,
        history: [...known],
        historySize: HISTORY_LINES,
      });
      let result: LineRead = "end";
      terminal.on("line", (text) => {
        result = { text };
        if (kept && text.trim() !== "" && text !== known[0]) {
          known.unshift(text);
          keepLine(file, text);
        }
        terminal.close();
      });
      terminal.on("SIGINT", () => {
        result = "interrupt";
        process.stdout.write("\n");
        terminal.close();
      });
      terminal.on("close", () => resolve(result));
      terminal.prompt();
    });
  };
}

/** Newest first, as readline wants it. */
function readHistory(file: string): string[] {
  try {
    return readFileSync(file, "utf8").split("\n").filter(Boolean).slice(-HISTORY_LINES).reverse();
  } catch {
    return [];
  }
}

/** History is a convenience: a disk that refuses it must not end the chat. */
function keepLine(file: string, text: string): void {
  if (file === "") return;
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    appendFileSync(file, text + "\n", { mode: 0o600 });
  } catch {
    return;
  }
}
