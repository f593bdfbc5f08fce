/** What every command is handed: where text goes, how it may look, and the parts of Alloy it may call. */
import { AlloyError } from "../support/errors.ts";
import type { Deps } from "./deps.ts";
import type { LineRead } from "./lines.ts";

export interface Io {
  out(text: string): void;
  err(text: string): void;
  /** Lines of a log, to standard error as well, but without ever waiting for its reader. */
  log(line: string): void;
  /** Resolves when the log is written, or after so many milliseconds. */
  flushLog(ms: number): Promise<void>;
  /** Everything on standard input. */
  readStdin(): Promise<string>;
  /** A line typed at a terminal, with editing and history (which keeps it, unless told otherwise); "end" for Ctrl-D, "interrupt" for Ctrl-C. */
  readLine(prompt: string, options?: { history?: boolean }): Promise<LineRead>;
  /** Calls back on Ctrl-C (SIGINT) or SIGTERM instead of ending the program; the result undoes it. */
  onInterrupt(callback: (signal: "SIGINT" | "SIGTERM") => void): () => void;
  readonly stdinIsTty: boolean;
  readonly stdoutIsTty: boolean;
  readonly stderrIsTty: boolean;
  /** Width of the terminal in characters. */
  readonly columns: number;
  readonly env: Readonly<Record<string, string | undefined>>;
}

export interface Style {
  dim(text: string): string;
  bold(text: string): string;
  red(text: string): string;
  green(text: string): string;
  yellow(text: string): string;
}

export interface Context {
  readonly io: Io;
  /** `--json`: standard output carries JSON and nothing else. */
  readonly json: boolean;
  readonly style: Style;
  /** `--color` or `--no-color`, if given. */
  readonly color: boolean | undefined;
  readonly deps: Deps;
}

/** Colours for a terminal; plain text otherwise. */
export function makeStyle(color: boolean): Style {
  const wrap = (on: number, off: number) => (text: string) => (color && text !== "" ? `\x1b[${on}m${text}\x1b[${off}m` : text);
  return { dim: wrap(2, 22), bold: wrap(1, 22), red: wrap(31, 39), green: wrap(32, 39), yellow: wrap(33, 39) };
}

/** Colour unless told otherwise: `--no-color`, NO_COLOR (any non-empty value), TERM=dumb, or output that is not a terminal. */
export function wantsColor(flag: boolean | undefined, io: Io, isTty = io.stdoutIsTty): boolean {
  if (flag !== undefined) return flag;
  if (io.env.NO_COLOR !== undefined && io.env.NO_COLOR !== "") return false;
  return io.env.TERM !== "dumb" && isTty;
}

/** One JSON document and a newline. */
export function printJson(io: Io, value: unknown): void {
  io.out(JSON.stringify(value) + "\n");
}

/**
 * Shows an error: for people `alloy: what was wrong` and `hint: what to do` on standard error; with `--json` one object
 * `{"error":{"code","message","hint"}}` on standard output, so that a program reads its answer or the error from one place.
 */
export function printError(io: Io, style: Style, json: boolean, error: AlloyError): void {
  if (json) {
    printJson(io, { error: error.toJSON() });
    return;
  }
  io.err(`${style.red("alloy:")} ${error.message}\n`);
  const bug = error.code === "internal" && !io.env.ALLOY_DEBUG;
  const hint = error.hint ?? (bug ? "this is a mistake in Alloy; ALLOY_DEBUG=1 shows where" : undefined);
  if (hint !== undefined) io.err(`${style.dim("hint:")} ${hint}\n`);
  if (error.code === "internal" && !bug) io.err(`${Bun.inspect(error.cause ?? error)}\n`);
}

/** Columns padded to equal width; the last one is left alone. `right` names columns of numbers. */
export function table(head: readonly string[], rows: readonly (readonly string[])[], right: readonly number[] = []): string {
  const widths = head.map((h, c) => Math.max(Bun.stringWidth(h), ...rows.map((r) => Bun.stringWidth(r[c]))));
  const pad = (cell: string, c: number) => {
    const space = " ".repeat(widths[c] - Bun.stringWidth(cell));
    if (right.includes(c)) return space + cell;
    return c === head.length - 1 ? cell : cell + space;
  };
  return [head, ...rows].map((row) => row.map(pad).join("  ").trimEnd() + "\n").join("");
}

/** 596049920 -> "596M", 1.7e9 -> "1.7B": how model sizes are spoken of. */
export function formatCount(n: number): string {
  for (const [size, unit] of [
    [1e12, "T"],
    [1e9, "B"],
    [1e6, "M"],
    [1e3, "k"],
  ] as const) {
    if (n >= size) return `${n / size >= 100 ? Math.round(n / size) : Number((n / size).toFixed(1))}${unit}`;
  }
  return String(n);
}
