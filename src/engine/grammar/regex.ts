/** Regular expressions as EBNF: for whole answers, and for strings inside of JSON, where quotes and backslashes are escaped. */
import { either, literal, oneOf } from "./rules.ts";
import { complement, intersection, type Ranges } from "./sets.ts";
import { parseGrammar, writtenOut } from "./syntax.ts";

/** Characters that stand for themselves in a JSON string. */
const PLAIN = complement([
  [0, 0x1f],
  [0x22, 0x22],
  [0x5c, 0x5c],
]);
/** Those that do not and have a short form. */
const ESCAPES: readonly (readonly [number, string])[] = [
  [0x22, '\\"'],
  [0x5c, "\\\\"],
  [0x08, "\\b"],
  [0x09, "\\t"],
  [0x0a, "\\n"],
  [0x0c, "\\f"],
  [0x0d, "\\r"],
];
/** The other control characters. */
const CONTROL: Ranges = intersection([[0, 0x1f]], complement(ESCAPES.map(([code]): [number, number] => [code, code])));
const DIGIT: Ranges = [[0x30, 0x39]];
const WORD: Ranges = [
  [0x30, 0x39],
  [0x41, 0x5a],
  [0x5f, 0x5f],
  [0x61, 0x7a],
];
/** What JavaScript takes for white space. */
const SPACE: Ranges = [
  [0x09, 0x0d],
  [0x20, 0x20],
  [0xa0, 0xa0],
  [0x1680, 0x1680],
  [0x2000, 0x200a],
  [0x2028, 0x2029],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff],
];
const NEWLINES: Ranges = [
  [0x0a, 0x0a],
  [0x0d, 0x0d],
  [0x2028, 0x2029],
];
const CONTROLS: Record<string, number> = { n: 0x0a, r: 0x0d, t: 0x09, f: 0x0c, v: 0x0b, 0: 0 };
const CLASSES: Record<string, Ranges> = {
  d: DIGIT,
  w: WORD,
  s: SPACE,
  D: complement(DIGIT),
  W: complement(WORD),
  S: complement(SPACE),
};
const DIGITS = [..."0123456789abcdef"];
const MAX_REPEAT = 1024;
/** Elements of a pattern once its counts are written out. */
const MAX_ELEMENTS = 4096;

/** What a pattern holds that has no grammar; the message completes "the pattern ...". */
export class PatternError extends Error {}

/**
 * The grammar of a pattern. In JSON a pattern may match anywhere in the string unless it is anchored, as JSON Schema has it; a whole
 * answer always matches from its beginning to its end.
 */
export function regexGrammar(pattern: string, where: "json" | "answer"): string {
  try {
    new RegExp(pattern, "u");
  } catch (e) {
    throw new PatternError(`is no regular expression: ${(e as Error).message}`);
  }
  const grammar = new Reader(pattern, where).whole();
  const elements = writtenOut(parseGrammar(`root ::= ${grammar}`));
  if (elements > MAX_ELEMENTS)
    throw new PatternError(`repeats what repeats too often: ${elements} elements, at most ${MAX_ELEMENTS} are taken`);
  return grammar;
}

class Reader {
  private readonly chars: string[];
  private at = 0;

  constructor(
    pattern: string,
    private readonly where: "json" | "answer",
  ) {
    this.chars = [...pattern];
  }

  whole(): string {
    const options: string[] = [];
    const any = this.where === "json" ? `${this.set(complement([]))}*` : "";
    do {
      const from = this.take("^") ? "" : any;
      const body = this.sequence();
      const to = this.take("$") ? "" : any;
      options.push(`${from} ${body} ${to}`.trim());
    } while (this.take("|"));
    if (this.at < this.chars.length) throw new PatternError(`has '${this.chars[this.at]}' where it cannot be followed`);
    return either(options);
  }

  private take(c: string): boolean {
    if (this.chars[this.at] !== c) return false;
    this.at++;
    return true;
  }

  private sequence(): string {
    const parts: string[] = [];
    for (;;) {
      const c = this.chars[this.at];
      if (c === undefined || c === "|" || c === ")" || c === "$") break;
      parts.push(this.repeated(this.atom()));
    }
    return parts.length > 0 ? parts.join(" ") : '""';
  }

  private repeated(atom: string): string {
    const rest = this.chars.slice(this.at, this.at + 16).join("");
    const found = /^(?:[*+?]|\{(\d+)(,?)(\d*)\})/.exec(rest);
    if (!found) return atom;
    this.at += found[0].length;
    this.take("?");
    const [text, least, comma, most] = found;
    if (Math.max(Number(least ?? 0), Number(most ?? 0)) > MAX_REPEAT) throw new PatternError(`repeats more than ${MAX_REPEAT} times`);
    return `${atom}${least === undefined ? text : comma === "" ? `{${least}}` : `{${least},${most}}`}`;
  }

  private atom(): string {
    const c = this.chars[this.at++];
    if (c === "(") return this.group();
    if (c === "[") return this.set(this.characterClass());
    if (c === ".") return this.set(complement(NEWLINES));
    if (c === "^") throw new PatternError("has '^' inside, which is supported at the beginning only");
    if (c !== "\\") return this.set([[c.codePointAt(0)!, c.codePointAt(0)!]]);
    return this.set(this.escape());
  }

  private group(): string {
    const head = /^\?(?::|<[A-Za-z_]\w*>)/.exec(this.chars.slice(this.at, this.at + 64).join(""));
    if (head) this.at += head[0].length;
    else if (this.chars[this.at] === "?") throw new PatternError("looks ahead or behind, which is not supported");
    const options: string[] = [];
    do options.push(this.sequence());
    while (this.take("|"));
    if (!this.take(")")) throw new PatternError("has '$' inside, which is supported at the end only");
    return `(${options.join(" | ")})`;
  }

  private escape(): Ranges {
    const c = this.chars[this.at++];
    if (c in CLASSES) return CLASSES[c];
    if (c in CONTROLS) return [[CONTROLS[c], CONTROLS[c]]];
    const hex = c === "x" || c === "u" ? /^(?:\{([0-9A-Fa-f]+)\}|([0-9A-Fa-f]{2,4}))/.exec(this.hexDigits(c)) : undefined;
    if (hex) {
      this.at += hex[0].length;
      const code = parseInt(hex[1] ?? hex[2], 16);
      return [[code, code]];
    }
    if (/[A-Za-z0-9]/.test(c)) throw new PatternError(`has '\\${c}', which is not supported`);
    return [[c.codePointAt(0)!, c.codePointAt(0)!]];
  }

  private hexDigits(c: string): string {
    const braced = this.chars[this.at] === "{";
    return this.chars.slice(this.at, this.at + (braced ? 10 : c === "x" ? 2 : 4)).join("");
  }

  private characterClass(): Ranges {
    const negated = this.take("^");
    const ranges: [number, number][] = [];
    while (!this.take("]")) {
      const from = this.member();
      const dash = this.chars[this.at] === "-" && this.chars[this.at + 1] !== "]";
      if (from.length > 1 || from[0][0] !== from[0][1] || !dash) {
        ranges.push(...from.map(([a, b]): [number, number] => [a, b]));
        continue;
      }
      this.at++;
      ranges.push([from[0][0], this.member()[0][1]]);
    }
    return negated ? complement(ranges) : intersection(ranges, complement([]));
  }

  private member(): Ranges {
    const c = this.chars[this.at++];
    if (c !== "\\") return [[c.codePointAt(0)!, c.codePointAt(0)!]];
    if (this.take("b")) return [[8, 8]];
    return this.escape();
  }

  /** A character of a set, in JSON as it is written in a string. */
  private set(ranges: Ranges): string {
    if (ranges.length === 0) throw new PatternError("has a class that permits no character");
    if (this.where === "answer") return oneOf(ranges);
    const plain = intersection(ranges, PLAIN);
    const escapes = ESCAPES.filter(([code]) => ranges.some(([a, b]) => a <= code && code <= b)).map(([, text]) => literal(text));
    const hex = ["0", "1"].flatMap((high) => {
      const low = DIGITS.filter((d) =>
        intersection(ranges, CONTROL).some(([a, b]) => a <= parseInt(high + d, 16) && parseInt(high + d, 16) <= b),
      );
      return low.length > 0 ? [`${literal(`\\u00${high}`)} [${low.join("")}]`] : [];
    });
    return either([...(plain.length > 0 ? [oneOf(plain)] : []), ...escapes, ...hex]);
  }
}
