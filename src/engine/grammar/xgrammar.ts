/**
 * The one place that knows @mlc-ai/web-xgrammar: grammars in EBNF against a tokenizer's vocabulary. The package is a WebAssembly module
 * inside of a script, loaded when the first grammar comes. It reports what it cannot read on `console.error` and aborts; both become an
 * error here.
 */
import type * as XGrammar from "@mlc-ai/web-xgrammar";
import type { Tokenizer } from "../../tokenizer/api.ts";

/** Position in a grammar. */
export interface Matcher {
  /** The tokens that may come next, a bit each. End tokens are among them where the text may end. */
  mask(): Promise<Int32Array>;
  /** False: the token cannot come next, and nothing has changed. */
  accept(token: number): boolean;
  free(): void;
}

/** Compiled grammars that are kept. */
const KEPT = 64;

let loading: Promise<typeof XGrammar> | undefined;
let complaints: string[] = [];

/** The module takes `console.error` when it starts, and keeps it. */
async function load(): Promise<typeof XGrammar> {
  const { error } = console;
  console.error = (...parts: unknown[]) => {
    const line = parts.map(String).join(" ");
    if (/^(\[[A-Z]+\] |Aborted\()/.test(line)) complaints.push(line);
    else error(...parts);
  };
  try {
    const module = await import("@mlc-ai/web-xgrammar");
    (await module.Grammar.fromEBNF('root ::= "a"')).dispose();
    return module;
  } finally {
    console.error = error;
  }
}

export class GrammarCompiler {
  private blanks: Int32Array | undefined;
  private made: Promise<XGrammar.GrammarCompiler> | undefined;
  /** In order of use, the latest last. */
  private readonly kept = new Map<string, Promise<XGrammar.CompiledGrammar>>();

  /** @param markers text in which control tokens are written as such: only those are ever part of a grammar's text */
  constructor(
    private readonly tokenizer: Tokenizer,
    private readonly vocabSize: number,
    private readonly markers: string,
  ) {}

  /** A position at the beginning of a grammar. Throws what the module has to say against it. */
  async matcher(ebnf: string): Promise<Matcher> {
    loading ??= load();
    const { GrammarMatcher } = await loading;
    const compiled = await this.compiled(ebnf);
    const ends = [...this.tokenizer.endTokens];
    const matcher = await GrammarMatcher.createGrammarMatcher(compiled, ends.length > 0 ? ends : undefined, ends.length === 0);
    return {
      mask: () => matcher.getNextTokenBitmask(),
      accept: (token) => matcher.acceptToken(token),
      free: () => matcher.dispose(),
    };
  }

  /** Tokens of nothing but white space, a bit each. */
  get blank(): Int32Array {
    if (this.blanks) return this.blanks;
    const bits = new Int32Array(Math.ceil(this.vocabSize / 32));
    for (let id = 0; id < Math.min(this.vocabSize, this.tokenizer.vocabSize); id++) {
      const bytes = this.tokenizer.bytes(id);
      if (bytes.length > 0 && bytes.every((b) => b === 32 || b === 9 || b === 10)) bits[id >> 5] |= 1 << (id & 31);
    }
    return (this.blanks = bits);
  }

  private compiled(ebnf: string): Promise<XGrammar.CompiledGrammar> {
    const known = this.kept.get(ebnf);
    this.kept.delete(ebnf);
    const grammar = known ?? this.compile(ebnf);
    this.kept.set(ebnf, grammar);
    if (!known) grammar.catch(() => this.kept.delete(ebnf));
    for (const [oldest, old] of this.kept) {
      if (this.kept.size <= KEPT) break;
      this.kept.delete(oldest);
      // A matcher that still uses it holds it itself.
      old.then(
        (g) => g.dispose(),
        () => {},
      );
    }
    return grammar;
  }

  private async compile(ebnf: string): Promise<XGrammar.CompiledGrammar> {
    this.made ??= this.make();
    const compiler = await this.made;
    complaints = [];
    try {
      return await compiler.compileGrammar(ebnf);
    } catch (e) {
      const said = complaints.find((line) => line.startsWith("[FATAL]"))?.replace(/^\[FATAL\] \S+ /, "");
      throw new Error(said ?? (e as Error).message, { cause: e });
    }
  }

  private async make(): Promise<XGrammar.GrammarCompiler> {
    const { TokenizerInfo, GrammarCompiler } = await loading!;
    const words = Array.from({ length: this.vocabSize }, (_, id) => this.word(id));
    const info = await TokenizerInfo.createTokenizerInfo(words, "byte_level", false, this.vocabSize, [...this.tokenizer.endTokens]);
    const compiler = await GrammarCompiler.createGrammarCompiler(info, false);
    info.dispose();
    return compiler;
  }

  /** A token's bytes in the letters of GPT-2's byte alphabet; "" for those that no grammar may use. */
  private word(id: number): string {
    if (id >= this.tokenizer.vocabSize) return "";
    const bytes = this.tokenizer.bytes(id);
    // No UTF-8 has them, and classes of characters let them pass.
    if (bytes.some((b) => b === 0xc0 || b === 0xc1 || b > 0xf4)) return "";
    if (this.tokenizer.isSpecial(id)) {
      const text = new TextDecoder().decode(bytes);
      if (text.length < 2 || !this.markers.includes(text)) return "";
    }
    return Array.from(bytes, (b) => ALPHABET[b]).join("");
  }

  free(): void {
    for (const grammar of this.kept.values())
      grammar.then(
        (g) => g.dispose(),
        () => {},
      );
    this.kept.clear();
    this.made?.then(
      (c) => c.dispose(),
      () => {},
    );
    this.made = undefined;
  }
}

/** GPT-2's letters for bytes: printable ones stand for themselves, the others come after U+0100 in order. */
const ALPHABET: readonly string[] = (() => {
  let next = 256;
  const printable = (b: number): boolean => (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
  return Array.from({ length: 256 }, (_, b) => String.fromCodePoint(printable(b) ? b : next++));
})();
