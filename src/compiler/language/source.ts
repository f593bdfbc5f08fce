/** The text of a user's function: parsing it, and errors that point into it. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseExpressionAt } from "acorn";
import type * as ES from "estree";
import { AlloyError } from "../../support/errors.ts";
import type { Loc } from "../ir/types.ts";

/** Place in the user's file where `kernel()` or `fn()` was called. */
export interface CallSite {
  file: string;
  line: number;
}

export type FunctionNode = ES.ArrowFunctionExpression | ES.FunctionExpression;

export interface Source {
  /** "kernel matmul" or "fn dequant". */
  title: string;
  text: string;
  readonly node: FunctionNode;
  site?: CallSite;
}

/** The caller of `kernel()` or `fn()`: the first stack frame outside this folder. */
export function callSite(depth: (...args: never[]) => unknown): CallSite | undefined {
  const holder: { stack?: string } = {};
  Error.captureStackTrace(holder, depth);
  for (const frame of holder.stack?.split("\n").slice(1) ?? []) {
    const m = /(?:\(|at )((?:file:\/\/|\/|[A-Za-z]:\\)[^()]*?):(\d+):\d+\)?$/.exec(frame.trim());
    if (m) return { file: m[1].startsWith("file:") ? fileURLToPath(m[1]) : m[1], line: Number(m[2]) };
  }
  return undefined;
}

/**
 * The text that a function was written as. Bundling renames the free names of functions where modules collide, and with them the names
 * of helpers, so `build.ts` records the text of every kernel and helper as `kernelSource` beforehand.
 */
function sourceText(body: ((...args: never[]) => unknown) & { kernelSource?: string }): string {
  return body.kernelSource ?? body.toString();
}

/**
 * The text of an arrow function or function expression, and its tree. Throws AlloyError `kernel_error`. A text that the build recorded was
 * parsed there: its tree is made when it is first asked for, since a start that compiles nothing needs none of them.
 */
export function parseFunction(title: string, body: (...args: never[]) => unknown, site?: CallSite): Source {
  const text = sourceText(body);
  let node = "kernelSource" in body ? undefined : parsed(title, text, site);
  return {
    title,
    text,
    site,
    get node() {
      return (node ??= parsed(title, text, site));
    },
  };
}

function parsed(title: string, text: string, site: CallSite | undefined): FunctionNode {
  const where = site ? ` (${site.file}:${site.line})` : "";
  let node: ES.Expression;
  try {
    node = parseExpressionAt(text, 0, { ecmaVersion: "latest", locations: true }) as unknown as ES.Expression;
  } catch (cause) {
    throw new AlloyError("kernel_error", `${title}: its body cannot be read as a function${where}`, {
      cause,
      hint: "Pass an arrow function or a function expression, not a method or a built-in.",
    });
  }
  if (node.type !== "ArrowFunctionExpression" && node.type !== "FunctionExpression") {
    throw new AlloyError("kernel_error", `${title}: its body must be an arrow function or a function expression${where}`, {
      hint: "Methods print without `function` and cannot be compiled; write (al, p) => { … }.",
    });
  }
  if (node.async || node.generator) {
    throw new AlloyError("kernel_error", `${title}: its body must not be async or a generator${where}`, {
      hint: "Kernels run to completion on the device.",
    });
  }
  return node;
}

export const locOf = (node: ES.Node | undefined): Loc | undefined =>
  node?.loc ? { line: node.loc.start.line, column: node.loc.start.column } : undefined;

/** AlloyError whose message names the source, the file when it can be found, and shows the line with a caret. */
export function sourceError(source: Source, node: ES.Node | undefined, message: string, hint?: string, cause?: unknown): AlloyError {
  const loc = locOf(node);
  const place = loc && locate(source, loc);
  const shown = loc && (place?.text === undefined ? { text: source.text.split("\n")[loc.line - 1], column: loc.column } : place);
  const at = place ? ` (${place.file}:${place.line})` : "";
  const { text, column = 0 } = shown ?? {};
  const indent = text?.match(/^\s*/)?.[0].length ?? 0;
  const lines = text === undefined ? "" : `\n  ${text.slice(indent).trimEnd()}\n  ${" ".repeat(Math.max(0, column - indent))}^`;
  return new AlloyError("kernel_error", `${source.title}: ${message}${at}${lines}`, { hint, cause });
}

/** A place in the user's file; with the line's own text when the place is exact. */
interface Place extends CallSite {
  text?: string;
  column?: number;
}

const squash = (s: string): string => s.replace(/[\s;"'`,()]/g, "");

/** Characters that count, in code that Bun's transpiler may have printed, each with its position. */
function significant(text: string): { chars: string; at: number[] } {
  let chars = "";
  const at: number[] = [];
  // Comments are gone from printed text, and `true` is `!0`.
  const pattern = /\/\/[^\n]*|\/\*[^]*?\*\/|\btrue\b|\bfalse\b|[^\s;"'`,()]/g;
  for (const m of text.matchAll(pattern)) {
    if (m[0].startsWith("//") || m[0].startsWith("/*")) continue;
    const plain = m[0] === "true" ? "!0" : m[0] === "false" ? "!1" : m[0];
    for (const ch of plain) {
      chars += ch;
      at.push(m.index);
    }
  }
  return { chars, at };
}

const QUOTES = /["'`]/;

/** Where the character at `offset` of printed text stands in the text as it was written, if that contains it. */
function positionIn(writtenText: string, printedText: string, offset: number): number | undefined {
  const printed = significant(printedText);
  const written = significant(writtenText);
  const start = written.chars.indexOf(printed.chars);
  const rank = printed.at.findIndex((p) => p >= offset);
  if (start < 0 || rank < 0) return undefined;
  const position = written.at[start + rank];
  // A string starts at its quote, which does not count.
  return QUOTES.test(printedText[offset]) && QUOTES.test(writtenText[position - 1] ?? "") ? position - 1 : position;
}

/** The place by position: the whole function is found in the file, which works unless types or long numbers stand in it. */
function exactPlace(source: Source, loc: Loc, lines: readonly string[]): Place | undefined {
  const first = source.site!.line - 1;
  const file = lines.slice(first).join("\n");
  const printedLines = source.text.split("\n");
  const offset = printedLines.slice(0, loc.line - 1).reduce((sum, l) => sum + l.length + 1, 0) + loc.column;
  const position = positionIn(file, source.text, offset);
  if (position === undefined) return undefined;
  const before = file.slice(0, position).split("\n");
  const line = first + before.length;
  return { file: source.site!.file, line, text: lines[line - 1], column: before.at(-1)!.length };
}

/**
 * File and line of a place in the function's text. The text was printed by Bun's transpiler, so lines are compared without
 * spaces, quotes and punctuation that printing changes; without a match the call of `kernel()` is named.
 */
function locate(source: Source, loc: Loc): Place | undefined {
  const { site } = source;
  if (!site) return undefined;
  let lines: string[];
  try {
    lines = readFileSync(site.file, "utf8").split("\n");
  } catch {
    return site;
  }
  const exact = exactPlace(source, loc, lines);
  if (exact) return exact;
  const text = source.text.split("\n").map(squash);
  const wanted = text[loc.line - 1];
  if (wanted.length < 3) return site;
  // The same text may occur several times: take the occurrence with the same rank among equal lines.
  const rank = text.slice(0, loc.line - 1).filter((t) => t === wanted).length;
  const matches: number[] = [];
  for (let i = site.line - 1; i < lines.length && i < site.line + text.length * 4 + 20; i++) {
    if (squash(lines[i].replace(/\/\/.*$/, "")).includes(wanted)) matches.push(i + 1);
  }
  const line = matches[Math.min(rank, matches.length - 1)];
  if (line === undefined) return site;
  const column = positionIn(lines[line - 1], source.text.split("\n")[loc.line - 1], loc.column);
  return { file: site.file, line, text: column === undefined ? undefined : lines[line - 1], column };
}
