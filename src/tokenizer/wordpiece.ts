/** WordPiece (BERT): words are cut into the longest known prefixes; the rest of a word carries a continuation mark. */
import { WordCache, type WordModel } from "./model.ts";
import type { Splitter } from "./split.ts";
import type { Vocabulary } from "./vocabulary.ts";

export interface WordPieceOptions {
  unk: number;
  /** Put before the first piece of a word ("▁" in GGUF files, nothing in tokenizer.json). */
  start: string;
  /** Put before the pieces that continue a word ("" in GGUF files, "##" in tokenizer.json). */
  continuation: string;
  /** Longer words are unknown. Counted in characters. */
  maxChars: number;
}

export class WordPiece implements WordModel {
  private readonly cache = new WordCache();
  private readonly longest: number;

  constructor(
    private readonly vocab: Vocabulary,
    private readonly options: WordPieceOptions,
  ) {
    this.longest = vocab.pieces.reduce((n, p) => Math.max(n, p.length), 0);
  }

  encode(word: string, out: number[]): void {
    if (this.cache.emit(word, out)) return;
    const from = out.length;
    if (!this.cut(word, out)) {
      out.length = from;
      out.push(this.options.unk);
    }
    this.cache.keep(word, out, from);
  }

  private cut(word: string, out: number[]): boolean {
    const { start, continuation, maxChars } = this.options;
    if (word.length > maxChars && Array.from(word).length > maxChars) return false;
    for (let i = 0; i < word.length;) {
      const prefix = i === 0 ? start : continuation;
      let end = Math.min(word.length, i + this.longest);
      let id: number | undefined;
      for (; end > i; end--) {
        id = this.vocab.ids.get(prefix + word.slice(i, end));
        if (id !== undefined) break;
      }
      if (id === undefined) return false;
      out.push(id);
      i = end;
    }
    return true;
  }
}

const BERT_WORDS = /[!-/:-@[-`{-~\p{P}]|[^\p{White_Space}!-/:-@[-`{-~\p{P}]+/gu;

/** BERT's pre-tokenizer: words between white space, every punctuation character on its own. */
export const bertSplit: Splitter = (text, out) => {
  for (const w of text.match(BERT_WORDS) ?? []) out.push(w);
};
