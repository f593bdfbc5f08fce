/** Unigram language model (Kudo 2018; T5, XLM-RoBERTa): the segmentation of highest total score, by Viterbi search. */
import { fallbackPiece } from "./bytes.ts";
import { WordCache, type WordModel } from "./model.ts";
import { TokenType, type Vocabulary } from "./vocabulary.ts";

/** An unknown character costs this much more than the worst piece. */
const UNKNOWN_PENALTY = 10;

export interface UnigramOptions {
  scores: ArrayLike<number>;
  unk: number;
  byteFallback: boolean;
}

export class Unigram implements WordModel {
  private readonly cache = new WordCache();
  /** Trie of the pieces: node * 2^16 + UTF-16 unit -> node. */
  private readonly edges = new Map<number, number>();
  private readonly leaf: number[] = [-1];
  private readonly unknownScore: number;

  constructor(
    private readonly vocab: Vocabulary,
    private readonly options: UnigramOptions,
  ) {
    let worst = 0;
    for (let id = 0; id < vocab.size; id++) {
      const type = vocab.types[id];
      if (type === TokenType.normal) worst = Math.min(worst, options.scores[id]);
      if (type === TokenType.normal || type === TokenType.user || type === TokenType.unused) this.insert(vocab.pieces[id], id);
    }
    this.unknownScore = worst - UNKNOWN_PENALTY;
  }

  private insert(piece: string, id: number): void {
    if (piece === "") return;
    let node = 0;
    for (let i = 0; i < piece.length; i++) {
      const key = node * 0x10000 + piece.charCodeAt(i);
      let next = this.edges.get(key);
      if (next === undefined) {
        next = this.leaf.push(-1) - 1;
        this.edges.set(key, next);
      }
      node = next;
    }
    this.leaf[node] = id;
  }

  encode(text: string, out: number[]): void {
    if (this.cache.emit(text, out)) return;
    const from = out.length;
    this.search(text, out);
    this.cache.keep(text, out, from);
  }

  private search(text: string, out: number[]): void {
    const n = text.length;
    const best = new Float64Array(n + 1).fill(-Infinity);
    const token = new Int32Array(n + 1).fill(this.options.unk);
    const start = new Int32Array(n + 1);
    best[0] = 0;
    for (let i = 0; i < n;) {
      const width = (text.codePointAt(i) as number) > 0xffff ? 2 : 1;
      let single = false;
      let node = 0;
      for (let j = i; j < n;) {
        const next = this.edges.get(node * 0x10000 + text.charCodeAt(j));
        if (next === undefined) break;
        node = next;
        j++;
        const id = this.leaf[node];
        if (id < 0) continue;
        if (j - i === width) single = true;
        const score = best[i] + (this.vocab.types[id] === TokenType.user ? 0 : this.options.scores[id]);
        if (score > best[j]) [best[j], token[j], start[j]] = [score, id, i];
      }
      const j = i + width;
      if (!single && best[i] + this.unknownScore > best[j])
        [best[j], token[j], start[j]] = [best[i] + this.unknownScore, this.options.unk, i];
      i = j;
    }
    const spans: number[] = [];
    for (let i = n; i > 0; i = start[i]) spans.push(i);
    let previous = -1;
    for (const end of spans.reverse()) {
      const id = token[end];
      if (id !== this.options.unk) out.push(id);
      else if (this.options.byteFallback) {
        for (const b of new TextEncoder().encode(text.slice(start[end], end))) out.push(this.vocab.ids.get(fallbackPiece(b)) ?? id);
      } else if (previous !== id) out.push(id);
      previous = id;
    }
  }
}
