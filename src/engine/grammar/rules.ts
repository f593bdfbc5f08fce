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

/**
 * One character of a set; an empty set has no spelling. xgrammar 0.1.27 reads the numbers of a class as bytes, so beyond ASCII a class means
 * what it says only where it is negated (then it takes every such character). Other sets are written as the bytes of their UTF-8.
 */
export function oneOf(ranges: Ranges): string {
  const ascii = intersection(ranges, ASCII);
  const wide = intersection(ranges, WIDE);
  if (wide.length === 0) return classOf(ascii);
  if (ascii.length === 0 && wide.length === 1 && wide[0][0] === wide[0][1]) return literal(String.fromCodePoint(wide[0][0]));
  const others = intersection(complement(ascii), ASCII);
  if (complement([...wide, ...ASCII]).length === 0)
    return others.length > 0 ? classOf(others, "^") : either(["[\\u0000-\\u007f]", "[^\\u0000-\\u007f]"]);
  const sequences = utf8Sequences(wide).map((s) => s.map(byteOf).join(" "));
  return `(${[...(ascii.length > 0 ? [classOf(ascii)] : []), ...sequences].join(" | ")})`;
}

const ASCII: Ranges = [[0, 0x7f]];
const WIDE: Ranges = [[0x80, 0x10ffff]];

const classOf = (ranges: Ranges, not = ""): string =>
  `[${not}${ranges.map(([a, b]) => (a === b ? point(a) : `${point(a)}-${point(b)}`)).join("")}]`;

/** A byte in a range. A class of one character becomes text, so that a single byte is named twice. */
const byteOf = ([a, b]: readonly [number, number]): string => (a === b ? `[${point(a)}${point(a)}]` : classOf([[a, b]]));

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
/** Last character of one, two, three and four bytes. */
const LENGTHS = [0x7f, 0x7ff, 0xffff, LAST];

/** The UTF-8 of the characters in `ranges`, none of them a surrogate: sequences of bytes, each byte in a range of its own. */
export function utf8Sequences(ranges: Ranges): [number, number][][] {
  const out: [number, number][][] = [];
  const split = (a: number, b: number): void => {
    const last = LENGTHS.find((l) => a <= l)!;
    if (b > last) {
      split(a, last);
      split(last + 1, b);
      return;
    }
    // Where the last n bytes do not run through all their values, the range has an end of its own.
    for (let bits = 6; bits < 6 * (utf8(b).length - 1) + 1; bits += 6) {
      const mask = 2 ** bits - 1;
      if (a >> bits === b >> bits) break;
      if ((a & mask) !== 0) {
        split(a, a | mask);
        split((a | mask) + 1, b);
        return;
      }
      if ((b & mask) !== mask) {
        split(a, (b & ~mask) - 1);
        split(b & ~mask, b);
        return;
      }
    }
    const [from, to] = [utf8(a), utf8(b)];
    out.push(from.map((byte, i) => [byte, to[i]]));
  };
  for (const [a, b] of ranges) split(a, b);
  return out;
}

const utf8 = (code: number): number[] => [...new TextEncoder().encode(String.fromCodePoint(code))];

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
