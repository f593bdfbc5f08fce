/** Values in notations close to JSON (Python literals, Gemma's bare keys), rewritten as JSON while they arrive. */
import { escaped, wholeLength } from "./values.ts";

export interface LiteralSyntax {
  /** What begins and ends strings. */
  quotes: readonly { text: string; escapes: boolean }[];
  /** Words that are none of the known ones are strings; otherwise they are an error. */
  words: boolean;
  /**
   * Whether a quote ends the string, given what follows it; undefined when more must be seen. For texts whose quotes are
   * not escaped. Asked for strings outside of lists and objects only.
   */
  closes?(after: string): boolean | undefined;
}

export const PYTHON: LiteralSyntax = {
  quotes: [
    { text: "'", escapes: true },
    { text: '"', escapes: true },
  ],
  words: false,
};

/** `rest` is what follows the value, once it is complete. */
export interface LiteralState {
  rest?: string;
  failed?: boolean;
}

interface Container {
  close: string;
  isObject: boolean;
  /** What comes next. */
  next: "key" | "colon" | "value" | "comma";
  empty: boolean;
}

const CLOSE: Record<string, string | undefined> = { "{": "}", "[": "]" };
const WORDS: Record<string, string | undefined> = {
  True: "true",
  False: "false",
  None: "null",
  true: "true",
  false: "false",
  null: "null",
};
const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?$/;
const ESCAPES: Record<string, string | undefined> = {
  n: "\n",
  t: "\t",
  r: "\r",
  b: "\b",
  f: "\f",
  v: "\v",
  a: "\x07",
  "0": "\0",
  "\\": "\\",
  "'": "'",
  '"': '"',
  "/": "/",
  "\n": "",
};
const HEX: Record<string, number | undefined> = { x: 2, u: 4, U: 8 };

/** Reads one value. `emit` gets its JSON in pieces. */
export class LiteralReader {
  private buffer = "";
  private quote: LiteralSyntax["quotes"][number] | undefined;
  private readonly open: Container[] = [];
  private done = false;

  constructor(
    private readonly syntax: LiteralSyntax,
    private readonly emit: (json: string) => void,
  ) {}

  push(text: string): LiteralState {
    this.buffer += text;
    for (;;) {
      const moved = this.quote ? this.inString(this.quote) : this.between();
      if (moved === "failed") return { failed: true };
      if (this.done) return { rest: this.buffer };
      if (moved === "wait") return {};
    }
  }

  /** Inside of a text that has shown no end yet. */
  get inText(): boolean {
    return this.quote !== undefined && !this.buffer.startsWith(this.quote.text);
  }

  private get top(): Container | undefined {
    return this.open.at(-1);
  }

  private between(): "moved" | "wait" | "failed" {
    const s = this.buffer.trimStart();
    this.buffer = s;
    if (s === "") return "wait";
    const { top } = this;
    if (top && s[0] === top.close && top.next !== "colon" && !(top.next === "value" && top.isObject)) {
      this.take(1);
      this.emit(top.close);
      this.open.pop();
      this.valueEnded();
      return "moved";
    }
    if (top?.next === "comma" || top?.next === "colon") {
      if (s[0] !== (top.next === "comma" ? "," : ":")) return "failed";
      this.take(1);
      if (top.next === "colon") this.emit(": ");
      top.next = top.next === "comma" && top.isObject ? "key" : "value";
      return "moved";
    }
    return this.valueOrKey(s, top);
  }

  private valueOrKey(s: string, top: Container | undefined): "moved" | "wait" | "failed" {
    const isKey = top?.next === "key";
    const quote = this.syntax.quotes.find((q) => s.startsWith(q.text));
    const close = CLOSE[s[0]];
    if (!quote && this.syntax.quotes.some((q) => q.text.startsWith(s))) return "wait";
    if (quote || (close !== undefined && !isKey)) {
      this.item(top);
      if (quote) {
        this.take(quote.text.length);
        this.quote = quote;
        this.emit('"');
      } else {
        this.take(1);
        this.emit(s[0]);
        this.open.push({ close: close as string, isObject: s[0] === "{", next: s[0] === "{" ? "key" : "value", empty: true });
      }
      return "moved";
    }
    const length = isKey ? s.indexOf(":") : s.search(/[\s,:\]})]/);
    if (length < 0) return "wait";
    const word = s.slice(0, length).trim();
    const json = isKey
      ? this.bareKey(word)
      : (WORDS[word] ?? (NUMBER.test(word) ? word : this.syntax.words && word !== "" ? JSON.stringify(word) : undefined));
    if (json === undefined) return "failed";
    this.item(top);
    this.take(length);
    this.emit(json);
    this.valueEnded();
    return "moved";
  }

  private bareKey(word: string): string | undefined {
    return word !== "" && (this.syntax.words || NUMBER.test(word)) ? JSON.stringify(word) : undefined;
  }

  /** A member begins: what separates it from the one before. */
  private item(top: Container | undefined): void {
    if (!top || (top.isObject && top.next === "value")) return;
    if (!top.empty) this.emit(", ");
    top.empty = false;
  }

  private valueEnded(): void {
    const { top } = this;
    if (!top) this.done = true;
    else top.next = top.next === "key" ? "colon" : "comma";
  }

  private take(length: number): void {
    this.buffer = this.buffer.slice(length);
  }

  private inString(quote: LiteralSyntax["quotes"][number]): "moved" | "wait" | "failed" {
    const s = this.buffer;
    let out = "";
    let i = 0;
    let state: "moved" | "wait" = "wait";
    while (i < s.length) {
      if (s[i] === "\\" && quote.escapes) {
        const escape = readEscape(s, i);
        if (escape === undefined) break;
        out += escape.text;
        i = escape.end;
        continue;
      }
      if (s[i] !== quote.text[0]) {
        out += s[i++];
        continue;
      }
      const here = s.slice(i, i + quote.text.length);
      if (here.length < quote.text.length && quote.text.startsWith(here)) break;
      const closes =
        here !== quote.text ? false : this.open.length > 0 || !this.syntax.closes || this.syntax.closes(s.slice(i + here.length));
      if (closes === undefined) break;
      if (closes) {
        state = "moved";
        break;
      }
      out += s[i++];
    }
    const half = state === "wait" ? i - wholeLength(s.slice(0, i)) : 0;
    this.emit(escaped(out.slice(0, out.length - half)));
    this.take(i - half);
    if (state === "moved") {
      this.take(quote.text.length);
      this.quote = undefined;
      this.emit('"');
      this.valueEnded();
    }
    return state;
  }
}

/** The character that stands at a backslash, and where it ends; undefined when more must be seen. Unknown ones stay as they are. */
function readEscape(s: string, at: number): { text: string; end: number } | undefined {
  const c = s[at + 1];
  if (c === undefined) return undefined;
  const digits = HEX[c];
  if (digits === undefined) return ESCAPES[c] === undefined ? { text: "\\", end: at + 1 } : { text: ESCAPES[c] as string, end: at + 2 };
  const hex = s.slice(at + 2, at + 2 + digits);
  if (!/^[0-9a-fA-F]*$/.test(hex)) return { text: "\\", end: at + 1 };
  if (hex.length < digits) return undefined;
  const end = at + 2 + digits;
  const code = Number.parseInt(hex, 16);
  if (code > 0x10ffff) return { text: "\\", end: at + 1 };
  if (code >= 0xd800 && code <= 0xdbff) {
    // The other half of the character comes as an escape of its own.
    const next = s.slice(end, end + 6);
    const low = /^\\u([dD][c-fC-F][0-9a-fA-F]{2})$/.exec(next);
    if (low) return { text: String.fromCharCode(code, Number.parseInt(low[1], 16)), end: end + 6 };
    if (/^(\\(u([dD]([c-fC-F][0-9a-fA-F]?)?)?)?)?$/.test(next)) return undefined;
  }
  return { text: digits === 8 ? String.fromCodePoint(code) : String.fromCharCode(code), end };
}
