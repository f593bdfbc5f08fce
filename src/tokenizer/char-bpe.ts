/**
 * BPE over characters with byte fallback: SentencePiece's BPE (Llama 2, Gemma, Mistral), where the score of the merged
 * piece decides (Kudo & Richardson 2018), and the same vocabularies written with merge lists in tokenizer.json.
 * Spaces are U+2581 in text and pieces alike.
 */
import { mergeRule } from "./byte-bpe.ts";
import { fallbackPiece } from "./bytes.ts";
import { Merger, type PairRule } from "./merge.ts";
import { WordCache, type WordModel } from "./model.ts";
import { TokenType, type Vocabulary } from "./vocabulary.ts";

export const SPACE = "\u2581";

export interface CharBpeOptions {
  /** Merge by score: the higher, the sooner. */
  scores?: ArrayLike<number>;
  /** Merge by list; without scores and list by id. */
  merges?: readonly string[];
  ignoreMerges: boolean;
  /** Spell unknown characters as bytes "<0xE2>". */
  byteFallback: boolean;
  unk?: number;
  /** Several unknown characters in a row are one unknown token. */
  fuseUnk: boolean;
}

export class CharBpe implements WordModel {
  private readonly merger: Merger;
  private readonly cache = new WordCache();
  /** Text of each symbol: the vocabulary, then single characters that it lacks. */
  private readonly texts: string[];
  private readonly strays = new Map<string, number>();
  private readonly bytes: (number | undefined)[];
  /** Characters that stand before a space inside some piece: a word must not end behind them. */
  private readonly joined: ReadonlySet<string>;
  private symbols = new Int32Array(256);

  constructor(
    private readonly vocab: Vocabulary,
    private readonly options: CharBpeOptions,
  ) {
    this.texts = vocab.pieces.slice();
    this.bytes = Array.from({ length: 256 }, (_, b) => vocab.ids.get(fallbackPiece(b)));
    this.joined = beforeSpace(vocab);
    this.merger = new Merger(options.scores ? scoreRule(vocab, this.texts, options.scores) : mergeRule(vocab, this.texts, options.merges));
  }

  encode(text: string, out: number[]): void {
    // No piece reaches over such a border, so cutting there changes nothing and lets the cache work.
    let start = 0;
    for (let i = text.indexOf(SPACE, 1); i > 0; i = text.indexOf(SPACE, i + 1)) {
      const before = text[i - 1];
      if (before === SPACE || this.joined.has(before)) continue;
      this.word(text.slice(start, i), out);
      start = i;
    }
    if (start < text.length) this.word(start === 0 ? text : text.slice(start), out);
  }

  private word(word: string, out: number[]): void {
    if (this.cache.emit(word, out)) return;
    const from = out.length;
    const whole = this.options.ignoreMerges ? this.vocab.ids.get(word) : undefined;
    if (whole !== undefined) out.push(whole);
    else {
      // First: it may replace the array.
      const loaded = this.load(word);
      const n = this.merger.merge(this.symbols, loaded);
      for (let i = 0; i < n; i++) {
        if (this.symbols[i] < this.vocab.size) out.push(this.symbols[i]);
        else this.unknown(this.symbols[i], out, from);
      }
    }
    this.cache.keep(word, out, from);
  }

  private load(word: string): number {
    if (word.length > this.symbols.length) this.symbols = new Int32Array(word.length);
    let n = 0;
    for (const c of word) this.symbols[n++] = this.vocab.ids.get(c) ?? this.stray(c);
    return n;
  }

  private stray(c: string): number {
    let s = this.strays.get(c);
    if (s === undefined) {
      s = this.texts.push(c) - 1;
      this.strays.set(c, s);
    }
    return s;
  }

  private unknown(symbol: number, out: number[], from: number): void {
    const { byteFallback, unk, fuseUnk } = this.options;
    if (byteFallback) {
      const ids = Array.from(new TextEncoder().encode(this.texts[symbol]), (b) => this.bytes[b]);
      if (ids.every((id) => id !== undefined)) {
        out.push(...ids);
        return;
      }
    }
    if (unk !== undefined && !(fuseUnk && out.length > from && out[out.length - 1] === unk)) out.push(unk);
  }
}

/** Ranks are the order of the distinct scores, so that equal scores are equal ranks and the leftmost pair wins. */
function scoreRule(vocab: Vocabulary, texts: readonly string[], scores: ArrayLike<number>): PairRule {
  const sorted = Float64Array.from({ length: vocab.size }, (_, i) => -scores[i]).sort();
  const order = new Map<number, number>();
  for (const s of sorted) if (!order.has(s)) order.set(s, order.size);
  return (a, b) => {
    const id = vocab.ids.get(texts[a] + texts[b]);
    return id === undefined ? undefined : { rank: order.get(-scores[id]) ?? 0, id };
  };
}

function beforeSpace(vocab: Vocabulary): Set<string> {
  const set = new Set<string>();
  for (let id = 0; id < vocab.size; id++) {
    const piece = vocab.pieces[id];
    if (vocab.types[id] === TokenType.control) continue;
    for (let i = piece.indexOf(SPACE, 1); i > 0; i = piece.indexOf(SPACE, i + 1)) if (piece[i - 1] !== SPACE) set.add(piece[i - 1]);
  }
  return set;
}
