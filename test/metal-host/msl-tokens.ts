/** Tokens of MSL text, for the lint and for mutations. */

export interface MslToken {
  kind: "word" | "number" | "punct" | "string";
  text: string;
  /** Offset in the text. */
  at: number;
  line: number;
}

const PATTERN =
  /(?<blank>\s+|\/\/[^\n]*|\/\*[\s\S]*?\*\/)|(?<directive>^[ \t]*#(?:[^\n\\]|\\[\s\S])*)|(?<word>[A-Za-z_]\w*)|(?<number>(?:\d|\.\d)(?:[eEpP][+-]|[\w.])*)|(?<string>"(?:[^"\\\n]|\\.)*")|(?<punct><<=|>>=|::|->|\+\+|--|<<|>>|[=!<>]=|&&|\|\||[-+*/%&|^]=|[\s\S])/gmy;

/** Tokens without comments and blanks. Directives are left out, and handed to `directive` with their line. */
export function tokenize(text: string, directive?: (line: number, text: string) => void): MslToken[] {
  const out: MslToken[] = [];
  let line = 1;
  for (const m of text.matchAll(new RegExp(PATTERN))) {
    const kind = (["word", "number", "string", "punct"] as const).find((k) => m.groups![k] !== undefined);
    if (kind) out.push({ kind, text: m[0], at: m.index, line });
    else if (m.groups!.directive !== undefined) directive?.(line, m[0].trim());
    for (const c of m[0]) if (c === "\n") line++;
  }
  return out;
}

const CLOSERS: Record<string, string> = { "(": ")", "[": "]", "{": "}" };

/** Index of the bracket that closes the one at `open`; the last index when there is none. */
export function closing(t: readonly MslToken[], open: number): number {
  const a = t[open].text;
  const b = CLOSERS[a];
  let depth = 0;
  for (let i = open; i < t.length; i++) {
    if (t[i].text === a) depth++;
    else if (t[i].text === b && --depth === 0) return i;
  }
  return t.length - 1;
}

/** A function with its body: indices of tokens. */
export interface MslFunction {
  name: string;
  kernel: boolean;
  /** First token of its declaration. */
  start: number;
  /** The parameters' parentheses. */
  open: number;
  close: number;
  /** The body's braces. */
  body: number;
  end: number;
}

/** Functions of a text, and the ranges [from, to) of what else stands at program scope, up to a semicolon each. */
export function outline(t: readonly MslToken[]): { functions: MslFunction[]; declarations: [from: number, to: number][] } {
  const functions: MslFunction[] = [];
  const declarations: [number, number][] = [];
  let start = 0;
  for (let i = 0; i < t.length; i++) {
    const text = t[i].text;
    if (text === "(" || text === "[") i = closing(t, i);
    else if (text === ";") {
      declarations.push([start, i]);
      start = i + 1;
    } else if (text === "{") {
      const end = closing(t, i);
      const words = t.slice(start, i).map((x) => x.text);
      if (words.includes("namespace")) {
        start = i + 1;
        continue;
      }
      const open = words.indexOf("=") >= 0 ? -1 : parameters(t, start, i);
      if (open >= 0) {
        const attributes = words.join(" ");
        const kernel = words.slice(0, open - start).includes("kernel") || attributes.includes("[ [ kernel ] ]");
        functions.push({ name: t[open - 1].text, kernel, start, open, close: closing(t, open), body: i, end });
        start = end + 1;
      }
      i = end;
    } else if (text === "}") start = i + 1;
  }
  return { functions, declarations };
}

/** The parenthesis of a function's parameters between two tokens, -1 when there is none. Attributes have parentheses too. */
function parameters(t: readonly MslToken[], from: number, to: number): number {
  for (let i = from; i < to; i++) {
    if (t[i].text === "[") i = closing(t, i);
    else if (t[i].text === "(") {
      if (t[i - 1]?.text === "alignas" || t[i - 1]?.text === "__attribute__") i = closing(t, i);
      else return t[i - 1]?.kind === "word" ? i : -1;
    }
  }
  return -1;
}
