/**
 * Grammars as text to grammars as trees: GBNF as llama-server takes it (its grammars/README.md), with what other writers of EBNF use beside
 * it (`|` at the beginning of a line, `_` and `.` in names). Alloy's own grammars are written in it too.
 */
import { complement, intersection, type Ranges } from "./sets.ts";

/** Elements one after the other. */
export type Sequence = readonly Node[];

export type Node =
  | { is: "text"; text: string }
  | { is: "set"; ranges: Ranges }
  | { is: "rule"; name: string }
  | { is: "either"; options: readonly Sequence[] }
  | { is: "repeat"; node: Node; least: number; most?: number };

/** A rule's body, and what must follow it. */
export interface Rule {
  options: readonly Sequence[];
  follows?: Sequence;
}

/** Free text in which each tag is followed by its rule, once or (`loop`) again and again. Ends at the end of the answer or at `stop`. */
export interface Dispatch {
  tags: readonly { tag: string; rule: string }[];
  loop: boolean;
  stop?: string;
}

export type Grammar = ReadonlyMap<string, Rule | Dispatch>;

/** Where a grammar is wrong; the message completes "the grammar ...". */
export class SyntaxProblem extends Error {}

/** Deepest nesting of groups. */
const MAX_DEPTH = 200;
const NAME = /[A-Za-z0-9_.-]+/y;
const NUMBER = /\d{1,9}/y;
const SHORT: Record<string, string> = {
  n: "\n",
  r: "\r",
  t: "\t",
  '"': '"',
  "'": "'",
  "\\": "\\",
  "[": "[",
  "]": "]",
  "-": "-",
  "^": "^",
  "/": "/",
};
const HEX: Record<string, number> = { x: 2, u: 4, U: 8 };
const ANY = complement([]);

/** Reads a grammar whose root is `root`; it may use rules named in `known`. Throws `SyntaxProblem` with line and column. */
export function parseGrammar(text: string, known: ReadonlySet<string> = new Set()): Map<string, Rule> {
  return new Reader(text).grammar(known);
}

/** Elements of a grammar once its counts are written out, as `(a{1,300} b){1,300}` has 90 300 of them. */
export function writtenOut(rules: ReadonlyMap<string, Rule>): number {
  const all = (options: readonly Sequence[]): number => options.flat().reduce((n, node) => n + one(node), 0);
  const one = (n: Node): number => {
    if (n.is === "either") return all(n.options);
    return n.is === "repeat" ? one(n.node) * Math.max(1, n.most ?? n.least) : 1;
  };
  return [...rules.values()].reduce((n, { options }) => n + all(options), 0);
}

/** A rule that can come to itself without taking a character; no position in such a grammar is ever found. */
export function leftRecursive(rules: ReadonlyMap<string, Rule>): string | undefined {
  const empty = new Set<string>();
  const nullable = (nodes: Sequence): boolean =>
    nodes.every((n) => {
      if (n.is === "text") return n.text === "";
      if (n.is === "rule") return empty.has(n.name);
      if (n.is === "either") return n.options.some(nullable);
      return n.is === "repeat" && (n.least === 0 || nullable([n.node]));
    });
  for (let size = -1; size < empty.size;) {
    size = empty.size;
    for (const [name, { options }] of rules) if (options.some(nullable)) empty.add(name);
  }
  /** The rules that a sequence may begin with. */
  const first = (nodes: Sequence): string[] => {
    const out: string[] = [];
    for (const n of nodes) {
      if (n.is === "rule") out.push(n.name);
      if (n.is === "either") out.push(...n.options.flatMap(first));
      if (n.is === "repeat") out.push(...first([n.node]));
      if (!nullable([n])) break;
    }
    return out;
  };
  const state = new Map<string, "open" | "done">();
  const visit = (name: string): string | undefined => {
    if (state.get(name) === "open") return name;
    if (state.has(name)) return undefined;
    state.set(name, "open");
    for (const next of rules.get(name)!.options.flatMap(first)) {
      const found = visit(next);
      if (found !== undefined) return found;
    }
    state.set(name, "done");
    return undefined;
  };
  for (const name of rules.keys()) {
    const found = visit(name);
    if (found !== undefined) return found;
  }
  return undefined;
}

class Reader {
  private at = 0;
  private depth = 0;
  private readonly uses = new Map<string, number>();

  constructor(private readonly text: string) {}

  grammar(known: ReadonlySet<string>): Map<string, Rule> {
    const rules = new Map<string, Rule>();
    for (this.space(); this.at < this.text.length; this.space()) {
      const from = this.at;
      const name = this.word(NAME);
      if (name === undefined) this.fail("expects the name of a rule");
      if (rules.has(name)) this.fail(`defines the rule '${name}' a second time`, from);
      this.space();
      if (!this.take("::=")) this.fail(`expects '::=' behind the rule's name '${name}'`);
      rules.set(name, { options: this.options() });
      this.space();
      if (this.at < this.text.length && !this.startsRule()) this.fail("expects the next rule or the end");
    }
    if (!rules.has("root")) throw new SyntaxProblem("has no rule named 'root', from which answers begin");
    for (const [name, from] of this.uses)
      if (!rules.has(name) && !known.has(name)) this.fail(`uses the rule '${name}', which is not defined`, from);
    return rules;
  }

  private options(): Sequence[] {
    const options: Sequence[] = [];
    do options.push(this.sequence());
    while (this.take("|"));
    return options;
  }

  private sequence(): Sequence {
    const nodes: Node[] = [];
    for (;;) {
      this.space();
      if (this.at >= this.text.length || "|)".includes(this.text[this.at]) || this.startsRule()) return nodes;
      nodes.push(this.repeated(this.element()));
    }
  }

  private element(): Node {
    const c = this.text[this.at];
    if (c === '"') return { is: "text", text: this.quoted() };
    if (c === "[") return this.set();
    if (c === "(") return this.group();
    if (c === ".") {
      this.at++;
      return { is: "set", ranges: ANY };
    }
    if (c === "<" || c === "!") this.fail("names a token ('<...>'), which is not supported: write its text in quotes");
    const from = this.at;
    const name = this.word(NAME);
    if (name === undefined) this.fail(`has ${JSON.stringify(c)} where no element begins`);
    if (!this.uses.has(name)) this.uses.set(name, from);
    return { is: "rule", name };
  }

  private group(): Node {
    const from = this.at++;
    if (this.text[this.at] === "=") this.fail("looks ahead ('(='), which is not supported", from);
    if (++this.depth > MAX_DEPTH) this.fail(`nests groups more than ${MAX_DEPTH} deep`, from);
    const options = this.options();
    this.depth--;
    if (!this.take(")")) this.fail("does not close this group", from);
    return { is: "either", options };
  }

  private repeated(first: Node): Node {
    let node = first;
    for (;;) {
      const end = this.at;
      this.space();
      const from = this.at;
      if (this.take("*")) node = { is: "repeat", node, least: 0 };
      else if (this.take("+")) node = { is: "repeat", node, least: 1 };
      else if (this.take("?")) node = { is: "repeat", node, least: 0, most: 1 };
      else if (this.take("{")) node = this.counted(node, from);
      else {
        this.at = end;
        return node;
      }
    }
  }

  private counted(node: Node, from: number): Node {
    this.space();
    const least = this.word(NUMBER);
    this.space();
    let most = least;
    if (this.take(",")) {
      this.space();
      most = this.word(NUMBER);
      this.space();
    }
    if (!this.take("}") || (least === undefined && most === undefined)) this.fail("expects a count as {n}, {n,}, {,n} or {n,m}", from);
    const [low, high] = [Number(least ?? 0), most === undefined ? undefined : Number(most)];
    if (high !== undefined && high < low) this.fail(`counts from ${low} down to ${high}`, from);
    return { is: "repeat", node, least: low, most: high };
  }

  private quoted(): string {
    const from = this.at++;
    let out = "";
    for (;;) {
      const c = this.character();
      if (c === undefined || (c.text === "\n" && !c.escaped)) this.fail("does not close this text", from);
      if (c.text === '"' && !c.escaped) return out;
      out += c.text;
    }
  }

  private set(): Node {
    const from = this.at++;
    const negated = this.take("^");
    const ranges: [number, number][] = [];
    for (;;) {
      const start = this.at;
      const c = this.character();
      if (c === undefined || (c.text === "\n" && !c.escaped)) this.fail("does not close this class of characters", from);
      if (c.text === "]" && !c.escaped) break;
      const low = c.text.codePointAt(0)!;
      if (this.text[this.at] !== "-" || this.text[this.at + 1] === "]") {
        ranges.push([low, low]);
        continue;
      }
      this.at++;
      const high = this.character()?.text.codePointAt(0);
      if (high === undefined) this.fail("does not close this class of characters", from);
      if (high < low) this.fail("has a range whose end comes before its beginning", start);
      ranges.push([low, high]);
    }
    const set = negated ? complement(ranges) : intersection(ranges, ANY);
    if (set.length === 0) this.fail("has a class that permits no character", from);
    return { is: "set", ranges: set };
  }

  private character(): { text: string; escaped: boolean } | undefined {
    const code = this.text.codePointAt(this.at);
    if (code === undefined) return undefined;
    const from = this.at;
    const text = String.fromCodePoint(code);
    this.at += text.length;
    if (text !== "\\") return { text, escaped: false };
    const letter = this.text[this.at++] ?? "";
    const digits = HEX[letter];
    if (digits === undefined) {
      if (!(letter in SHORT)) this.fail(`has '\\${letter}', which is no escape`, from);
      return { text: SHORT[letter], escaped: true };
    }
    const hex = this.text.slice(this.at, this.at + digits);
    if (hex.length < digits || !/^[\da-f]+$/i.test(hex)) this.fail(`expects ${digits} hexadecimal digits behind '\\${letter}'`, from);
    this.at += digits;
    const value = parseInt(hex, 16);
    if (value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) this.fail(`has '\\${letter}${hex}', which is no character`, from);
    return { text: String.fromCodePoint(value), escaped: true };
  }

  /** Whether a name with `::=` behind it stands here. */
  private startsRule(): boolean {
    const from = this.at;
    const name = this.word(NAME);
    this.space();
    const starts = name !== undefined && this.text.startsWith("::=", this.at);
    this.at = from;
    return starts;
  }

  private word(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text)?.[0];
    this.at += found?.length ?? 0;
    return found;
  }

  private take(text: string): boolean {
    if (!this.text.startsWith(text, this.at)) return false;
    this.at += text.length;
    return true;
  }

  /** White space and comments. */
  private space(): void {
    const rest = /(?:\s|#[^\n]*)*/y;
    rest.lastIndex = this.at;
    this.at += rest.exec(this.text)![0].length;
  }

  private fail(what: string, at = this.at): never {
    const before = this.text.slice(0, at).split("\n");
    throw new SyntaxProblem(`${what} (line ${before.length}, column ${[...before.at(-1)!].length + 1})`);
  }
}
