/** Only what a program uses of the C that stands before it: parsing what it does not use takes longer than compiling a small kernel. */

/** What stands at the top level of a C text, in order. */
interface Piece {
  text: string;
  /** Function or macro that it defines; without one it is kept, and so is all that it names. */
  name?: string;
  /** Words in it, found when they are first asked for. */
  words?: readonly string[];
}

/** The text without the functions and macros that neither `program` nor what it uses names. */
export function needed(text: string, program: string): string {
  const pieces = known(text);
  const byName = Map.groupBy(
    pieces.filter((p) => p.name !== undefined),
    (p) => p.name!,
  );
  const kept = new Set<Piece>();
  const waiting: Piece[] = [{ text: program }];
  for (const p of pieces) if (p.name === undefined) keep(p);
  function keep(p: Piece): void {
    if (kept.has(p)) return;
    kept.add(p);
    waiting.push(p);
  }
  for (let p = waiting.pop(); p; p = waiting.pop()) {
    p.words ??= [...new Set(p.text.match(/[A-Za-z_]\w*/g))];
    for (const w of p.words) byName.get(w)?.forEach(keep);
  }
  return pieces
    .filter((p) => kept.has(p))
    .map((p) => p.text)
    .join("\n");
}

const cache = new Map<string, readonly Piece[]>();

function known(text: string): readonly Piece[] {
  let pieces = cache.get(text);
  if (!pieces) cache.set(text, (pieces = [...split(text)]));
  return pieces;
}

/** What matters at the top level: comments, literals, directives (with continued lines), brackets, ends of declarations. */
const TOKEN = /\/\*[^]*?\*\/|\/\/[^\n]*|"(?:\\[^]|[^"\\])*"|'(?:\\[^]|[^'\\])*'|^[ \t]*#(?:\\\r?\n|[^\n])*|[;{}()]/gm;

function* split(text: string): Generator<Piece> {
  let [start, depth, open, call] = [0, 0, 0, ""];
  let body = false;
  for (const m of text.matchAll(TOKEN)) {
    const token = m[0];
    const end = m.index + token.length;
    const piece = (): string => text.slice(start, (start = end)).trim();
    if (depth === 0 && token.trimStart().startsWith("#")) {
      // Between declarations: a directive within one would be torn from it.
      if (text.slice(start, m.index).trim() === "") yield { text: piece(), name: /^#\s*define\s+(\w+)/.exec(token.trimStart())?.[1] };
    } else if (token === "(" && depth++ === 0) {
      open = m.index;
    } else if (token === ")" && --depth === 0) {
      const name = /([A-Za-z_]\w*)\s*$/.exec(text.slice(Math.max(start, open - 200), open))?.[1];
      if (name !== undefined && !name.startsWith("__attribute")) call = name;
    } else if (token === "{" && depth++ === 0) {
      body = call !== "" && text.slice(start, m.index).trimEnd().endsWith(")") && !/^\s*typedef\b/.test(text.slice(start, start + 200));
    } else if ((token === "}" && --depth === 0 && body) || (token === ";" && depth === 0)) {
      yield body && token === "}" ? { text: piece(), name: call } : { text: piece() };
      [call, body] = ["", false];
    }
  }
  const rest = text.slice(start).trim();
  if (rest) yield { text: rest };
}
