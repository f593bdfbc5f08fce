/** A grammar under construction: named rules, and the spelling of text and of sets of characters in it. */

import type { Ranges } from "./sets.ts";
import { type Dispatch, type Grammar, type Node, parseGrammar, type Rule, type Sequence } from "./syntax.ts";

export class Rules {
  private readonly bodies = new Map<string, string>();
  private readonly names = new Map<string, string>();
  private readonly keyed = new Map<string, string>();
  private readonly following = new Map<string, string>();
  private readonly dispatches = new Map<string, Dispatch>();
  private readonly adopted = new Map<string, Rule>();

  /** Name of a rule with this body; equal bodies share one. */
  define(body: string): string {
    const known = this.names.get(body);
    if (known !== undefined) return known;
    const name = this.reserve();
    this.names.set(body, name);
    this.bodies.set(name, body);
    return name;
  }

  /** Name of a rule that contains itself, made once for each `key`. */
  recursive(key: string, body: (self: string) => string): string {
    const known = this.keyed.get(key);
    if (known !== undefined) return known;
    const name = this.reserve();
    this.keyed.set(key, name);
    this.set(name, body(name));
    return name;
  }

  /** A name whose rule comes later, through `set`: for rules that contain themselves. */
  reserve(): string {
    const name = `r${this.bodies.size}`;
    this.bodies.set(name, "");
    return name;
  }

  set(name: string, body: string): void {
    this.bodies.set(name, body);
  }

  get size(): number {
    return this.bodies.size;
  }

  /** Takes a grammar's rules over; the name of its root. */
  adopt(grammar: ReadonlyMap<string, Rule>): string {
    for (const [name, rule] of grammar) this.adopted.set(`${name}.adopted`, { ...rule, options: renamed(rule.options) });
    return "root.adopted";
  }

  /** Says what stands behind a rule wherever it is used: xgrammar is faster when it knows. */
  follows(name: string, what: string): void {
    this.following.set(name, what);
  }

  /** Name of a rule of free text with tags in it. */
  dispatch(dispatch: Dispatch): string {
    for (const [name, known] of this.dispatches) if (Bun.deepEquals(known, dispatch)) return name;
    const name = `d${this.dispatches.size}`;
    this.dispatches.set(name, dispatch);
    return name;
  }

  grammar(root: string): Grammar {
    const line = ([name, body]: readonly [string, string]): string => `${name} ::= ${body}`;
    const ahead = [...this.following].map(([name, body]): [string, string] => [`${name}.follows`, body]);
    const text = [`root ::= ${root}`, ...[...this.bodies, ...ahead].map(line)].join("\n");
    const rules = parseGrammar(text, new Set([...this.dispatches.keys(), ...this.adopted.keys()]));
    for (const [name] of ahead) {
      const rule = name.slice(0, -".follows".length);
      const [follows] = rules.get(name)!.options;
      rules.delete(name);
      rules.set(rule, { ...rules.get(rule)!, follows });
    }
    return new Map<string, Rule | Dispatch>([...rules, ...this.dispatches, ...this.adopted]);
  }
}

const renamed = (options: readonly Sequence[]): Sequence[] => options.map((o) => o.map(renamedNode));

function renamedNode(node: Node): Node {
  if (node.is === "rule") return { is: "rule", name: `${node.name}.adopted` };
  if (node.is === "either") return { is: "either", options: renamed(node.options) };
  return node.is === "repeat" ? { ...node, node: renamedNode(node.node) } : node;
}

/** Any text; control tokens are none. */
export const ANY_TEXT = String.raw`[^\x00]*`;

/** Constant text. */
export const literal = (text: string): string => `"${[...text].map(escaped).join("")}"`;

/** One character of a set; an empty set has no spelling. */
export const oneOf = (ranges: Ranges): string => `[${ranges.map(([a, b]) => (a === b ? point(a) : `${point(a)}-${point(b)}`)).join("")}]`;

/** One of several; each stands for itself. */
export const either = (options: readonly string[]): string => (options.length === 1 ? options[0] : `(${options.join(" | ")})`);

const escaped = (c: string): string => point(c.codePointAt(0)!);

function point(code: number): string {
  const c = String.fromCodePoint(code);
  if (/[A-Za-z0-9 ]/.test(c)) return c;
  // Not \x: xgrammar takes any number of hex digits behind that.
  if (code < 0x10000) return `\\u${code.toString(16).padStart(4, "0")}`;
  return `\\U${code.toString(16).padStart(8, "0")}`;
}
