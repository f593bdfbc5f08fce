/** Go's text/template, as far as chat templates use it: from text to a tree. Language: https://pkg.go.dev/text/template. */

export type Operand =
  | { kind: "dot" }
  | { kind: "variable"; name: string }
  | { kind: "literal"; value: string | number | boolean | null }
  /** A function, called with the operands after it. */
  | { kind: "function"; name: string }
  | { kind: "pipe"; pipe: Pipe }
  | { kind: "field"; of: Operand; names: string[] };

export interface Pipe {
  /** Variables that are declared (`:=`) or set (`=`), without the dollar sign. */
  variables: string[];
  declares: boolean;
  commands: Operand[][];
}

/** A block with its other branch: if, with or range. */
export interface Branch<K extends string> {
  kind: K;
  pipe: Pipe;
  body: GoNode[];
  otherwise: GoNode[];
}

export type GoNode =
  | { kind: "text"; text: string }
  | { kind: "action"; pipe: Pipe }
  | Branch<"if">
  | Branch<"with">
  | Branch<"range">
  | { kind: "template"; name: string; pipe?: Pipe }
  | { kind: "break" | "continue" };

export interface GoTemplate {
  root: GoNode[];
  /** Templates that `define` and `block` name. */
  named: Map<string, GoNode[]>;
}

/** Nested blocks and parentheses. */
const MAX_DEPTH = 200;

/** Throws Error with what is wrong. */
export function parseGoTemplate(source: string): GoTemplate {
  return new Parser(pieces(source)).parse();
}

/** Text and actions in turn; trim markers are carried out. */
function pieces(source: string): { text?: string; action?: string }[] {
  const found: { text?: string; action?: string }[] = [];
  let at = 0;
  let trim = false;
  while (at <= source.length) {
    const open = source.indexOf("{{", at);
    let text = source.slice(at, open < 0 ? undefined : open);
    if (trim) text = text.trimStart();
    if (open < 0) {
      found.push({ text });
      break;
    }
    const trimBefore = /^\{\{-\s/.test(source.slice(open, open + 4));
    if (trimBefore) text = text.trimEnd();
    const start = open + (trimBefore ? 3 : 2);
    const close = endOfAction(source, start);
    if (close < 0) throw new Error("an action {{ is not closed");
    trim = /\s-$/.test(source.slice(start, close)) || source.slice(start, close) === "-";
    found.push({ text }, { action: source.slice(start, trim ? close - 1 : close).trim() });
    at = close + 2;
  }
  return found;
}

/** Where the `}}` of an action is, outside of its strings and comments. */
function endOfAction(source: string, from: number): number {
  for (let at = from; at < source.length; at++) {
    const c = source[at];
    if (c === "}" && source[at + 1] === "}") return at;
    if (c === "/" && source[at + 1] === "*") at = source.indexOf("*/", at) + 1 || source.length;
    if (c === '"') while (++at < source.length && source[at] !== '"') if (source[at] === "\\") at++;
    if (c === "`") at = source.indexOf("`", at + 1);
    if (at < 0) return -1;
  }
  return -1;
}

const TOKEN =
  /\s*(?:("(?:[^"\\]|\\.)*"|`[^`]*`)|('(?:[^'\\]|\\.)')|(:=|[=|(),])|([-+]?(?:0x[\da-fA-F]+|\d+(?:\.\d+)?(?:[eE][-+]?\d+)?))(?![\w.])|(\$?\w*(?:\.\w+)+|\$\w*|\.|\w+))/y;

function tokens(action: string): string[] {
  const list: string[] = [];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < action.trimEnd().length) {
    const at = TOKEN.lastIndex;
    const match = TOKEN.exec(action);
    if (!match) throw new Error(`"${action.slice(at).trim().slice(0, 40)}" makes no sense`);
    // A field right behind a parenthesis belongs to it; a blank in between separates.
    const glued = list.at(-1) === ")" && match[0].startsWith(".") && match[0].length > 1;
    if (glued) list[list.length - 1] = `)${match[0]}`;
    else list.push(match[0].trim());
  }
  return list;
}

class Parser {
  private at = 0;
  private depth = 0;
  private readonly named = new Map<string, GoNode[]>();

  constructor(private readonly list: { text?: string; action?: string }[]) {}

  parse(): GoTemplate {
    const { nodes, end } = this.block();
    if (end !== undefined) throw new Error(`{{ ${end} }} without a beginning`);
    return { root: nodes, named: this.named };
  }

  /** Nodes up to `end` or `else`, and that action. */
  private block(): { nodes: GoNode[]; end?: string } {
    if (++this.depth > MAX_DEPTH) throw new Error("it nests too deeply");
    const nodes: GoNode[] = [];
    for (let piece = this.list[this.at++]; piece; piece = this.list[this.at++]) {
      if (piece.text !== undefined) {
        if (piece.text !== "") nodes.push({ kind: "text", text: piece.text });
        continue;
      }
      const action = piece.action!;
      if (action === "" || action.startsWith("/*")) continue;
      if (/^(?:end|else)\b/.test(action)) {
        this.depth--;
        return { nodes, end: action };
      }
      const node = this.action(action);
      if (node) nodes.push(node);
    }
    this.depth--;
    return { nodes };
  }

  private action(action: string): GoNode | undefined {
    const [, word, rest] = /^(\w*)\s*([\s\S]*)$/.exec(action)!;
    switch (word) {
      case "if":
      case "with":
      case "range":
        return this.branch(word, rest);
      case "break":
      case "continue":
        return { kind: word };
      case "define":
        this.define(rest);
        return undefined;
      case "block": {
        const [, quoted, pipe] = /^("[^"]*"|`[^`]*`)\s+([\s\S]+)$/.exec(rest) ?? [];
        if (!quoted) throw new Error("block needs a name and a value");
        this.define(quoted);
        return { kind: "template", name: text(quoted), pipe: parsePipe(pipe) };
      }
      case "template": {
        const [, quoted, pipe] = /^("[^"]*"|`[^`]*`)\s*([\s\S]*)$/.exec(rest) ?? [];
        if (!quoted) throw new Error("template needs a name");
        return { kind: "template", name: text(quoted), pipe: pipe === "" ? undefined : parsePipe(pipe) };
      }
      default:
        return { kind: "action", pipe: parsePipe(action) };
    }
  }

  private branch(kind: "if" | "with" | "range", condition: string): GoNode {
    const pipe = parsePipe(condition);
    const { nodes: body, end } = this.block();
    if (end === undefined) throw new Error(`{{ ${kind} }} is not ended`);
    return { kind, pipe, body, otherwise: this.otherwise(end, kind) } as GoNode;
  }

  /** What follows `else`, up to the end. */
  private otherwise(end: string, kind: string): GoNode[] {
    if (end === "end") return [];
    const next = /^else\s+(if|with)\s+([\s\S]+)$/.exec(end);
    if (next) return [this.branch(next[1] as "if" | "with", next[2])];
    const { nodes, end: last } = this.block();
    if (last !== "end") throw new Error(`{{ ${kind} }} is not ended`);
    return nodes;
  }

  private define(quoted: string): void {
    const { nodes, end } = this.block();
    if (end !== "end") throw new Error(`{{ define ${quoted} }} is not ended`);
    this.named.set(text(quoted.trim()), nodes);
  }
}

function parsePipe(source: string): Pipe {
  const list = tokens(source);
  const variables: string[] = [];
  let declares = false;
  const sign = list.findIndex((t) => t === ":=" || t === "=");
  if (sign > 0 && list.slice(0, sign).every((t) => t === "," || /^\$\w+$/.test(t))) {
    variables.push(
      ...list
        .slice(0, sign)
        .filter((t) => t !== ",")
        .map((t) => t.slice(1)),
    );
    declares = list[sign] === ":=";
    list.splice(0, sign + 1);
  }
  const reader = { list, at: 0, depth: 0 };
  const commands = readCommands(reader, false);
  return { variables, declares, commands };
}

interface Reader {
  list: string[];
  at: number;
  depth: number;
}

function readCommands(r: Reader, inside: boolean): Operand[][] {
  if (++r.depth > MAX_DEPTH) throw new Error("it nests too deeply");
  const commands: Operand[][] = [[]];
  for (;;) {
    const token = r.list[r.at];
    if (token === undefined || token.startsWith(")")) {
      if (inside !== (token !== undefined)) throw new Error(inside ? "a parenthesis is not closed" : "a parenthesis too many");
      if (commands.some((c) => c.length === 0)) throw new Error("a value is missing");
      r.depth--;
      return commands;
    }
    r.at++;
    if (token === "|") commands.push([]);
    else commands.at(-1)!.push(readOperand(token, r));
  }
}

function readOperand(token: string, r: Reader): Operand {
  if (token === "(") {
    const commands = readCommands(r, true);
    const closing = r.list[r.at++];
    const inner: Operand = { kind: "pipe", pipe: { variables: [], declares: false, commands } };
    return closing === ")" ? inner : { kind: "field", of: inner, names: closing.slice(2).split(".") };
  }
  if (/^["`]/.test(token)) return { kind: "literal", value: text(token) };
  if (token.startsWith("'")) return { kind: "literal", value: text(`"${token.slice(1, -1)}"`).codePointAt(0)! };
  if (/^[-+]?\d/.test(token)) return { kind: "literal", value: Number(token) };
  if (token === "true" || token === "false") return { kind: "literal", value: token === "true" };
  if (token === "nil") return { kind: "literal", value: null };
  if (token === ".") return { kind: "dot" };
  const [head, ...names] = token.split(".");
  const of: Operand =
    head === "" ? { kind: "dot" } : head.startsWith("$") ? { kind: "variable", name: head.slice(1) } : { kind: "function", name: head };
  if (!/^\$?\w*$/.test(head)) throw new Error(`"${token}" makes no sense`);
  return names.length === 0 ? of : { kind: "field", of, names };
}

/** The text of a string literal. */
function text(token: string): string {
  if (token.startsWith("`")) return token.slice(1, -1);
  return token
    .slice(1, -1)
    .replace(/\\(?:u([\da-fA-F]{4})|x([\da-fA-F]{2})|(.))/g, (_, u?: string, x?: string, c?: string) =>
      c === undefined
        ? String.fromCharCode(Number.parseInt((u ?? x)!, 16))
        : ({ n: "\n", t: "\t", r: "\r", a: "\x07", b: "\b", f: "\f", v: "\v" }[c] ?? c),
    );
}
