/** The user's text at a place, for comments in emitted code and for messages. */
import type { Loc } from "./types.ts";

/** Longest text that is shown. */
const LIMIT = 140;

/**
 * The line at `loc`. Where a line declares several variables (Bun joins neighbouring declarations when it strips types) only the one that is
 * meant: `const a = f(x), b = g(x)` gives `const b = g(x)` for a place in g(x). Empty without a source.
 */
export function sourceText(source: string | undefined, loc: Loc | undefined): string {
  const line = loc && source?.split("\n")[loc.line - 1];
  if (!loc || line === undefined) return "";
  const text = declaration(line, loc.column);
  return text.length > LIMIT ? `${text.slice(0, LIMIT - 3)}...` : text;
}

function declaration(line: string, column: number): string {
  const whole = line.trim();
  const keyword = /^(const|let) /.exec(whole)?.[1];
  if (keyword === undefined) return whole;
  const commas = [...topCommas(line, line.indexOf(whole) + keyword.length)];
  const start = commas.findLast((at) => at < column);
  const end = commas.find((at) => at >= column) ?? line.length;
  const own = line.slice(start === undefined ? 0 : start + 1, end).trim();
  return start === undefined ? own : `${keyword} ${own}`;
}

/** Where commas stand that are in no bracket and no text. */
function* topCommas(line: string, from: number): Generator<number> {
  let depth = 0;
  let quote = "";
  for (let i = from; i < line.length; i++) {
    const c = line[i];
    if (quote) {
      if (c === "\\") i++;
      else if (c === quote) quote = "";
    } else if ("\"'`".includes(c)) quote = c;
    else if ("([{".includes(c)) depth++;
    else if (")]}".includes(c)) depth--;
    else if (c === "," && depth === 0) yield i;
  }
}
