/** Loops in a compiler's assembly, for tests that count what is in them. */

/** Lines without directives and comments. */
export const assemblyLines = (text: string): string[] =>
  text
    .split("\n")
    .map((l) => l.replace(/\s*\/\/.*$/, ""))
    .filter((l) => !/^\s*\.(?!L)/.test(l));

/** x86: jumps; arm64: branches, which may test a register or one of its bits. */
const JUMP = /^\s*(?:j\w+|b\.?\w*|cbn?z\s+\w+,|tbn?z\s+\w+,\s*#?\d+,)\s+(\.L\w+)/;

/** Loops that hold a line that matches: from a label to a later line that jumps back to it. */
export function loopsOf(lines: readonly string[], inside: RegExp): string[][] {
  const loops: string[][] = [];
  lines.forEach((line, end) => {
    const jump = JUMP.exec(line);
    const start = jump ? lines.indexOf(`${jump[1]}:`) : -1;
    if (start < 0 || start > end) return;
    const loop = lines.slice(start, end + 1);
    if (loop.some((l) => inside.test(l))) loops.push(loop);
  });
  return loops;
}

/** The shortest of them. */
export const innermostLoop = (lines: readonly string[], inside: RegExp): string[] =>
  loopsOf(lines, inside).reduce((a, b) => (b.length < a.length ? b : a));

export const countOf = (lines: readonly string[], what: RegExp): number => lines.filter((l) => what.test(l)).length;
