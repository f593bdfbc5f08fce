/** A grammar in EBNF under construction: named rules, and the spelling of text and of sets of characters in it. */

/** Inclusive ranges of code points, in order. */
export type Ranges = readonly (readonly [number, number])[];

export class Rules {
  private readonly bodies = new Map<string, string>();
  private readonly names = new Map<string, string>();
  private readonly keyed = new Map<string, string>();

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

  text(root: string): string {
    return [`root ::= ${root}`, ...[...this.bodies].map(([name, body]) => `${name} ::= ${body}`)].join("\n");
  }
}

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

const LAST = 0x10ffff;

/** All characters that are not in the set; surrogates are none. */
export function complement(ranges: Ranges): Ranges {
  const out: [number, number][] = [];
  let from = 0;
  for (const [a, b] of normalised([...ranges, [0xd800, 0xdfff]])) {
    if (a > from) out.push([from, a - 1]);
    from = b + 1;
  }
  if (from <= LAST) out.push([from, LAST]);
  return out;
}

export const intersection = (a: Ranges, b: Ranges): Ranges => complement([...complement(a), ...complement(b)]);

/** In order and without overlaps. */
export function normalised(ranges: Ranges): Ranges {
  const out: [number, number][] = [];
  for (const [a, b] of [...ranges].sort((x, y) => x[0] - y[0])) {
    const last = out.at(-1);
    if (last && a <= last[1] + 1) last[1] = Math.max(last[1], b);
    else out.push([a, b]);
  }
  return out;
}
