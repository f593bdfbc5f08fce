/** Byte-level BPE (GPT-2 and its descendants): words are UTF-8 bytes, merged by rank. */
import { BYTE_CHARS, toByteChars } from "./bytes.ts";
import { Merger, type PairRule } from "./merge.ts";
import { WordCache, type WordModel } from "./model.ts";
import type { Vocabulary } from "./vocabulary.ts";

/**
 * Merge ranks from a list of "left right" lines in order of priority. Without a list (tiktoken-style vocabularies) a
 * merge's rank is the id of its result.
 */
export function mergeRule(vocab: Vocabulary, texts: readonly string[], merges?: readonly string[]): PairRule {
  const { ids } = vocab;
  if (!merges) {
    return (a, b) => {
      const id = ids.get(texts[a] + texts[b]);
      return id === undefined ? undefined : { rank: id, id };
    };
  }
  const ranks = new Map<string, number>();
  for (let i = 0; i < merges.length; i++) if (!ranks.has(merges[i])) ranks.set(merges[i], i);
  return (a, b) => {
    const rank = ranks.get(texts[a] + " " + texts[b]);
    if (rank === undefined) return undefined;
    const id = ids.get(texts[a] + texts[b]);
    return id === undefined ? undefined : { rank, id };
  };
}

export interface ByteBpeOptions {
  merges?: readonly string[];
  /** A word that is an entry of the vocabulary is that entry, whatever the merges say. */
  ignoreMerges: boolean;
}

export class ByteBpe implements WordModel {
  private readonly merger: Merger;
  private readonly cache = new WordCache();
  /** Id of each byte; -1 where the vocabulary lacks it (such bytes are dropped). */
  private readonly byteIds: Int32Array;
  private symbols = new Int32Array(256);

  constructor(
    private readonly vocab: Vocabulary,
    private readonly options: ByteBpeOptions,
  ) {
    this.byteIds = Int32Array.from(BYTE_CHARS, (c) => vocab.ids.get(c) ?? -1);
    this.merger = new Merger(mergeRule(vocab, vocab.pieces, options.merges));
  }

  encode(word: string, out: number[]): void {
    if (this.cache.emit(word, out)) return;
    const from = out.length;
    const whole = this.options.ignoreMerges ? this.vocab.ids.get(toByteChars(word)) : undefined;
    if (whole !== undefined) out.push(whole);
    else {
      // First: it may replace the array.
      const loaded = this.load(word);
      const n = this.merger.merge(this.symbols, loaded);
      for (let i = 0; i < n; i++) out.push(this.symbols[i]);
    }
    this.cache.keep(word, out, from);
  }

  /** Writes the word's bytes as symbols; returns their number. A lone surrogate becomes U+FFFD. */
  private load(word: string): number {
    if (word.length * 3 > this.symbols.length) this.symbols = new Int32Array(word.length * 3);
    const { symbols, byteIds } = this;
    let n = 0;
    const put = (b: number) => {
      if (byteIds[b] >= 0) symbols[n++] = byteIds[b];
    };
    for (let i = 0; i < word.length; i++) {
      let c = word.charCodeAt(i);
      if (c < 0x80) {
        put(c);
        continue;
      }
      if (c < 0x800) {
        put(0xc0 | (c >> 6));
        put(0x80 | (c & 63));
        continue;
      }
      if ((c & 0xf800) === 0xd800) {
        const d = c < 0xdc00 && i + 1 < word.length ? word.charCodeAt(i + 1) : 0;
        if ((d & 0xfc00) === 0xdc00) {
          i++;
          c = 0x10000 + ((c & 0x3ff) << 10) + (d & 0x3ff);
          put(0xf0 | (c >> 18));
          put(0x80 | ((c >> 12) & 63));
          put(0x80 | ((c >> 6) & 63));
          put(0x80 | (c & 63));
          continue;
        }
        c = 0xfffd;
      }
      put(0xe0 | (c >> 12));
      put(0x80 | ((c >> 6) & 63));
      put(0x80 | (c & 63));
    }
    return n;
  }
}
