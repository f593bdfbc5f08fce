/**
 * Grammars to what xgrammar 0.1.27 reads without mistakes. Two of its faults are avoided here:
 * - A class of characters beyond ASCII is read as bytes unless it is negated: such sets are written as the bytes of their UTF-8.
 * - Where one state has equal edges to two others, it may merge those with states that are not equal, and permits what the grammar does not:
 *   alternatives of a rule that begin alike are factored if they are text, and begin with empty rules of their own otherwise.
 */
import { complement, intersection, type Ranges, utf8Sequences } from "./sets.ts";
import type { Dispatch, Grammar, Node, Rule, Sequence } from "./syntax.ts";

/** Text of a grammar with the same sentences, root first. */
export function lowered(grammar: Grammar): string {
  return new Lowering(grammar).text();
}

const ASCII: Ranges = [[0, 0x7f]];
const WIDE: Ranges = [[0x80, 0x10ffff]];
/** First bytes of characters beyond ASCII, as xgrammar groups them. */
const LEADS = ["c0-df", "e0-ef", "f0-f7"];

/** Ways to begin that are told apart: an object with thousands of properties that may be left out can begin with each of them. */
const MOST_HEADS = 256;
/** Stands for more: what begins so may begin like anything else. */
const MANY = "many";

class Lowering {
  private readonly names = new Map<string, string>();
  private readonly heads = new Map<string, ReadonlySet<string>>();
  private guards = 0;

  constructor(private readonly grammar: Grammar) {
    for (const name of grammar.keys()) this.names.set(name, name === "root" ? name : `g${this.names.size}`);
  }

  text(): string {
    const lines = [...this.grammar].map(
      ([name, rule]) => `${this.name(name)} ::= ${"tags" in rule ? this.dispatch(rule) : this.rule(rule)}`,
    );
    const empty = Array.from({ length: this.guards }, (_, i) => `e${i} ::= ""`);
    return [...lines, ...empty].join("\n");
  }

  private name(rule: string): string {
    return this.names.get(rule)!;
  }

  private rule({ options, follows }: Rule): string {
    const body = this.alternatives(options);
    return follows ? `(${body}) (= ${this.sequence(follows)})` : body;
  }

  private dispatch({ tags, loop, stop }: Dispatch): string {
    const parts = tags.map(({ tag, rule }) => `(${quoted(tag)}, ${this.name(rule)})`);
    const end = stop === undefined ? "stop_eos=true" : `stop_eos=false, stop_str=(${quoted(stop)})`;
    return `TagDispatch(${[...parts, end, `loop_after_dispatch=${loop}`].join(", ")})`;
  }

  private alternatives(all: readonly Sequence[]): string {
    const options = factored(all);
    const seen = new Set<string>();
    return options
      .map((option) => {
        const begins = this.begins(option);
        const alike = begins.some((b) => seen.has(b)) || (begins.includes(MANY) && seen.size > 0) || seen.has(MANY);
        const guarded = options.length > 1 && alike;
        begins.forEach((b) => seen.add(b));
        const text = this.sequence(option);
        return guarded || this.startsWithLoop(option) ? `e${this.guards++} ${text}` : text;
      })
      .join(" | ");
  }

  private sequence(nodes: Sequence): string {
    const parts = nodes.map((n) => this.node(n)).filter((text) => text !== '""');
    return parts.length > 0 ? parts.join(" ") : '""';
  }

  private node(n: Node): string {
    switch (n.is) {
      case "text":
        return quoted(n.text);
      case "set":
        return setText(n.ranges);
      case "rule":
        return this.name(n.name);
      case "either":
        return `(${this.alternatives(n.options)})`;
      case "repeat": {
        if (n.most === 0) return '""';
        const inner = this.node(n.node);
        const one = n.node.is === "repeat" ? `(${inner})` : inner;
        if (n.least === 0 && n.most === undefined) return `${one}*`;
        if (n.least === 0 && n.most === 1) return `${one}?`;
        return `${one}{${n.least},${n.most ?? ""}}`;
      }
    }
  }

  /** A loop over a class at the very beginning, whose way out may look like the loop. */
  private startsWithLoop([first, ...rest]: Sequence): boolean {
    return first?.is === "repeat" && first.node.is === "set" && first.most === undefined && rest.length > 0;
  }

  /** The edges by which a sequence may begin, as ranges of bytes. */
  private begins(nodes: Sequence): readonly string[] {
    const [first, ...rest] = nodes;
    if (first === undefined) return [];
    switch (first.is) {
      case "text":
        return first.text === "" ? this.begins(rest) : [byteRange(new TextEncoder().encode(first.text)[0])];
      case "set":
        return setBegins(first.ranges);
      case "rule":
        return [first.name, ...this.ruleBegins(first.name)];
      case "either":
        return first.options.flatMap((o) => this.begins(o));
      case "repeat":
        // Optional elements become rules of their own.
        if (first.node.is === "set" && first.most === undefined) return this.begins([first.node]);
        return first.least === 0 ? [] : this.begins([first.node]);
    }
  }

  private ruleBegins(name: string): ReadonlySet<string> {
    const known = this.heads.get(name);
    if (known) return known;
    this.heads.set(name, new Set());
    const rule = this.grammar.get(name)!;
    const heads = new Set("tags" in rule ? [] : rule.options.flatMap((o) => this.begins(o)));
    const kept = heads.size > MOST_HEADS ? new Set([MANY]) : heads;
    this.heads.set(name, kept);
    return kept;
  }
}

/** Alternatives that are nothing but text as a tree of what they begin with. */
function factored(options: readonly Sequence[]): Sequence[] {
  const out: Sequence[] = [];
  const texts = new Map<string, Set<string>>();
  for (const option of options) {
    const text = option.map((n) => (n.is === "text" ? n.text : undefined));
    if (option.length === 0 || text.includes(undefined)) {
      out.push(option);
      continue;
    }
    const whole = text.join("");
    const [first = ""] = whole;
    if (!texts.has(first)) texts.set(first, new Set());
    texts.get(first)!.add(whole);
  }
  for (const group of texts.values()) {
    const [one, ...others] = [...group];
    const shared = others.reduce(sharedBeginning, one);
    if (others.length === 0) out.push([{ is: "text", text: one }]);
    else
      out.push([
        { is: "text", text: shared },
        { is: "either", options: [...group].map((t) => [{ is: "text", text: t.slice(shared.length) }]) },
      ]);
  }
  return out;
}

function sharedBeginning(a: string, b: string): string {
  const [x, y] = [[...a], [...b]];
  const end = x.findIndex((c, i) => c !== y[i]);
  return end === -1 ? a : x.slice(0, end).join("");
}

function setText(ranges: Ranges): string {
  const [ascii, wide] = [intersection(ranges, ASCII), intersection(ranges, WIDE)];
  if (wide.length === 0) return classText(ascii);
  if (ascii.length === 0 && wide.length === 1 && wide[0][0] === wide[0][1]) return quoted(String.fromCodePoint(wide[0][0]));
  if (isAllWide(wide)) {
    const others = intersection(complement(ascii), ASCII);
    return others.length > 0 ? classText(others, "^") : `(${classText(ASCII)} | ${classText(ASCII, "^")})`;
  }
  const bytes = bytesText(utf8Sequences(wide));
  return ascii.length > 0 ? `(${classText(ascii)} | ${bytes})` : `(${bytes})`;
}

function setBegins(ranges: Ranges): string[] {
  const [ascii, wide] = [intersection(ranges, ASCII), intersection(ranges, WIDE)];
  const leads = isAllWide(wide) ? LEADS : utf8Sequences(wide).map(([[a, b]]) => byteRange(a, b));
  return [...ascii.map(([a, b]) => byteRange(a, b)), ...leads];
}

const isAllWide = (wide: Ranges): boolean => complement([...wide, ...ASCII]).length === 0;

/** Sequences of bytes as a tree: what begins with the same range comes together. */
function bytesText(sequences: readonly (readonly (readonly [number, number])[])[]): string {
  const groups = new Map<string, (readonly (readonly [number, number])[])[]>();
  for (const [first, ...rest] of sequences) {
    const head = byteText(first);
    if (!groups.has(head)) groups.set(head, []);
    groups.get(head)!.push(rest);
  }
  const options = [...groups].map(([head, rests]) => {
    if (rests[0].length === 0) return head;
    return rests.length === 1 ? `${head} ${bytesText(rests)}` : `${head} (${bytesText(rests)})`;
  });
  return options.join(" | ");
}

/** A class of one character would become text, so that a single byte is named twice. */
const byteText = ([a, b]: readonly [number, number]): string => (a === b ? `[${point(a)}${point(a)}]` : classText([[a, b]]));

const byteRange = (a: number, b = a): string => `${a.toString(16)}-${b.toString(16)}`;

const classText = (ranges: Ranges, not = ""): string =>
  `[${not}${ranges.map(([a, b]) => (a === b ? point(a) : `${point(a)}-${point(b)}`)).join("")}]`;

const quoted = (text: string): string => `"${[...text].map((c) => point(c.codePointAt(0)!)).join("")}"`;

function point(code: number): string {
  const c = String.fromCodePoint(code);
  if (/[A-Za-z0-9 ]/.test(c)) return c;
  // Not \x: xgrammar takes any number of hex digits behind that.
  if (code < 0x10000) return `\\u${code.toString(16).padStart(4, "0")}`;
  return `\\U${code.toString(16).padStart(8, "0")}`;
}
