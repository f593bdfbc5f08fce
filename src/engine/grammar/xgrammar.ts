/**
 * The one place that knows @mlc-ai/web-xgrammar: grammars in EBNF against a vocabulary. The package is a WebAssembly module inside of a
 * script, loaded when the first grammar comes. It reports what it cannot read on `console.error` and aborts; both become an error here.
 */
import type * as XGrammar from "@mlc-ai/web-xgrammar";
import type { Vocabulary } from "./vocabulary.ts";

/** Position in a grammar. */
export interface Matcher {
  /** The tokens that may come next, a bit each. End tokens are among them where the text may end. */
  mask(): Promise<Int32Array>;
  /** The text that has to come next; "" where there is a choice. */
  forced(): string;
  /** False: the token cannot come next, and nothing has changed. */
  accept(token: number): boolean;
  free(): void;
}

let loading: Promise<typeof XGrammar> | undefined;
let complaints: string[] = [];
let memory: WebAssembly.Memory | undefined;

/** The module takes `console.error` when it starts, and keeps it; its memory comes to light when it is instantiated. */
async function load(): Promise<typeof XGrammar> {
  const { error } = console;
  const { instantiate } = WebAssembly;
  console.error = (...parts: unknown[]) => {
    const line = parts.map(String).join(" ");
    if (/^(\[[A-Z]+\] |Aborted\()/.test(line)) complaints.push(line);
    else error(...parts);
  };
  const watched = async (...given: Parameters<typeof instantiate>): Promise<unknown> => {
    const made: unknown = await instantiate(...given);
    const { instance } = made as WebAssembly.WebAssemblyInstantiatedSource;
    memory = Object.values(instance.exports).find((e) => e instanceof WebAssembly.Memory);
    return made;
  };
  WebAssembly.instantiate = watched as typeof instantiate;
  try {
    const module = await import("@mlc-ai/web-xgrammar");
    (await module.Grammar.fromEBNF('root ::= "a"')).dispose();
    return module;
  } finally {
    console.error = error;
    WebAssembly.instantiate = instantiate;
  }
}

/** Bytes of the module's memory, which never shrinks. */
export const memoryBytes = (): number => memory?.buffer.byteLength ?? 0;

/** Lets the module's memory grow to so many bytes and no further; what needs more fails. */
export async function limitMemory(bytes: number): Promise<void> {
  await (loading ??= load());
  const held = memory;
  if (!held) return;
  const grow = held.grow.bind(held);
  held.grow = (pages) => {
    if (held.buffer.byteLength + pages * 65536 > bytes) throw new RangeError("the memory for grammars is used up");
    return grow(pages);
  };
}

export class GrammarCompiler {
  private made: Promise<XGrammar.GrammarCompiler> | undefined;
  private readonly kept = new Map<string, Promise<XGrammar.CompiledGrammar>>();

  constructor(private readonly vocabulary: Vocabulary) {}

  /** Loads the module and sorts the vocabulary. */
  async prepare(): Promise<void> {
    await (loading ??= load());
    await (this.made ??= this.make());
  }

  /** A position at the beginning of a grammar, which is compiled if it is not yet. Throws what the module has to say against it. */
  async matcher(ebnf: string): Promise<Matcher> {
    await this.prepare();
    const { GrammarMatcher } = await loading!;
    const compiled = await this.compiled(ebnf);
    const { ends } = this.vocabulary;
    const matcher = await GrammarMatcher.createGrammarMatcher(compiled, ends.length > 0 ? ends : undefined, ends.length === 0);
    return {
      mask: () => matcher.getNextTokenBitmask(),
      forced: () => (matcher.isTerminated() ? "" : matcher.findJumpForwardString()),
      accept: (token) => matcher.acceptToken(token),
      free: () => matcher.dispose(),
    };
  }

  private compiled(ebnf: string): Promise<XGrammar.CompiledGrammar> {
    const known = this.kept.get(ebnf);
    if (known) return known;
    const grammar = this.compile(ebnf);
    this.kept.set(ebnf, grammar);
    grammar.catch(() => this.kept.delete(ebnf));
    return grammar;
  }

  private async compile(ebnf: string): Promise<XGrammar.CompiledGrammar> {
    const compiler = await this.made!;
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
    const { words, ends } = this.vocabulary;
    const info = await TokenizerInfo.createTokenizerInfo(words, "byte_level", false, words.length, ends);
    const compiler = await GrammarCompiler.createGrammarCompiler(info, false);
    info.dispose();
    return compiler;
  }

  /** A matcher that still uses a grammar holds it itself. */
  free(): void {
    const quietly = (made: Promise<{ dispose(): void }> | undefined): void =>
      void made?.then(
        (m) => m.dispose(),
        () => {},
      );
    for (const grammar of this.kept.values()) quietly(grammar);
    this.kept.clear();
    quietly(this.made);
    this.made = undefined;
  }
}
