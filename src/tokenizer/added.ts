/** Added tokens (special and user-defined): found in the text before anything else happens to it. */

export interface AddedToken {
  id: number;
  text: string;
  /** Control tokens can be switched off (`parseSpecial: false`); user-defined ones are always found. */
  special: boolean;
  /** Takes the white space before / after it along. */
  lstrip?: boolean;
  rstrip?: boolean;
  /** Only between non-word characters. */
  singleWord?: boolean;
  /** Matched after normalisation instead of in the text as written. */
  normalized?: boolean;
}

interface Node {
  next: Map<number, Node>;
  token?: AddedToken;
}

/** Finds added tokens: the leftmost, and there the longest. */
export class AddedTokens {
  private readonly root: Node = { next: new Map() };
  private readonly ordinary: AddedTokens | undefined;
  private readonly starts: RegExp | undefined;

  constructor(tokens: readonly AddedToken[]) {
    const usable = tokens.filter((t) => t.text !== "");
    for (const token of usable) {
      let node = this.root;
      for (let i = 0; i < token.text.length; i++) {
        const c = token.text.charCodeAt(i);
        let next = node.next.get(c);
        if (!next) node.next.set(c, (next = { next: new Map() }));
        node = next;
      }
      node.token = token;
    }
    if (usable.some((t) => t.special)) this.ordinary = new AddedTokens(usable.filter((t) => !t.special));
    const codes = [...this.root.next.keys()].map((c) => `\\u${c.toString(16).padStart(4, "0")}`);
    if (codes.length > 0) this.starts = new RegExp(`[${codes.join("")}]`, "g");
  }

  /** Calls `text` for stretches between added tokens and `token` for each added token, in order. */
  scan(input: string, special: boolean, text: (from: number, to: number) => void, token: (id: number) => void): void {
    const { starts } = special || !this.ordinary ? this : this.ordinary;
    const matcher = special || !this.ordinary ? this : this.ordinary;
    let last = 0;
    if (starts) {
      starts.lastIndex = 0;
      for (let m = starts.exec(input); m; m = starts.exec(input)) {
        const found = matcher.longest(input, m.index);
        if (!found) continue;
        let from = m.index;
        let to = from + found.text.length;
        if (found.lstrip) while (from > last && isSpace(input, from - 1)) from--;
        if (found.rstrip) while (to < input.length && isSpace(input, to)) to++;
        if (from > last) text(last, from);
        token(found.id);
        last = to;
        starts.lastIndex = to;
      }
    }
    if (last < input.length) text(last, input.length);
  }

  private longest(input: string, at: number): AddedToken | undefined {
    let node: Node | undefined = this.root;
    let best: AddedToken | undefined;
    for (let i = at; i < input.length; i++) {
      node = node.next.get(input.charCodeAt(i));
      if (!node) break;
      if (node.token && (!node.token.singleWord || isAlone(input, at, i + 1))) best = node.token;
    }
    return best;
  }
}

const isSpace = (s: string, i: number) => /\p{White_Space}/u.test(s[i]);
const isWord = (s: string, i: number) => i >= 0 && i < s.length && /[\p{L}\p{N}\p{M}_]/u.test(s[i]);
const isAlone = (s: string, from: number, to: number) => !isWord(s, from - 1) && !isWord(s, to);
