/** The tokenizer put together: added tokens, normaliser, splitter, model, special tokens around, decoder. */
import type { DecodeOptions, EncodeOptions, Tokenizer, TokenStream } from "./api.ts";
import { type AddedToken, AddedTokens } from "./added.ts";
import { Decoder, type DecoderOptions } from "./decode.ts";
import type { WordModel } from "./model.ts";
import type { Normalizer } from "./normalize.ts";
import type { Splitter } from "./split.ts";
import type { Vocabulary } from "./vocabulary.ts";

export interface TokenizerParts {
  kind: Tokenizer["kind"];
  vocab: Vocabulary;
  added: readonly AddedToken[];
  normalize?: Normalizer;
  split?: Splitter;
  model: WordModel;
  decoder: DecoderOptions;
  bos?: number;
  eos?: number;
  endTokens: ReadonlySet<number>;
  /** Ids put around a text when special tokens are asked for. */
  prefix: readonly number[];
  suffix: readonly number[];
}

export function createTokenizer(parts: TokenizerParts): Tokenizer {
  return new ComposedTokenizer(parts);
}

class ComposedTokenizer implements Tokenizer {
  readonly kind: Tokenizer["kind"];
  readonly vocabSize: number;
  readonly bos?: number;
  readonly eos?: number;
  readonly endTokens: ReadonlySet<number>;
  readonly addBos: boolean;
  readonly addEos: boolean;
  private readonly raw: AddedTokens;
  private readonly normalized: AddedTokens;
  private readonly decoder: Decoder;

  constructor(private readonly parts: TokenizerParts) {
    this.kind = parts.kind;
    this.vocabSize = parts.vocab.size;
    this.bos = parts.bos;
    this.eos = parts.eos;
    this.endTokens = parts.endTokens;
    this.addBos = parts.prefix.length > 0;
    this.addEos = parts.suffix.length > 0;
    this.raw = new AddedTokens(parts.added.filter((t) => !t.normalized));
    this.normalized = new AddedTokens(
      parts.added.filter((t) => t.normalized).map((t) => ({ ...t, text: parts.normalize ? parts.normalize(t.text, false) : t.text })),
    );
    this.decoder = new Decoder(parts.vocab, new Set(parts.added.map((t) => t.id)), parts.decoder);
  }

  encode(text: string, options: EncodeOptions = {}): number[] {
    const special = options.parseSpecial ?? true;
    const out: number[] = options.addSpecial ? [...this.parts.prefix] : [];
    const push = (id: number) => void out.push(id);
    this.raw.scan(
      text,
      special,
      (from, to) => {
        const raw = from === 0 && to === text.length ? text : text.slice(from, to);
        const s = this.parts.normalize ? this.parts.normalize(raw, from === 0) : raw;
        this.normalized.scan(
          s,
          special,
          (a, b) => this.words(a === 0 && b === s.length ? s : s.slice(a, b), from === 0 && a === 0, out),
          push,
        );
      },
      push,
    );
    if (options.addSpecial) out.push(...this.parts.suffix);
    return out;
  }

  private words(text: string, first: boolean, out: number[]): void {
    const { split, model } = this.parts;
    if (!split) return void (text === "" || model.encode(text, out));
    const words: string[] = [];
    split(text, words, first);
    for (let i = 0; i < words.length; i++) model.encode(words[i], out);
  }

  decode(ids: ArrayLike<number>, options?: DecodeOptions): string {
    return this.decoder.decode(ids, options);
  }

  bytes(id: number): Uint8Array {
    return this.decoder.bytes(id);
  }

  piece(id: number): string {
    return this.parts.vocab.pieces[id] ?? "";
  }

  id(piece: string): number | undefined {
    return this.parts.vocab.ids.get(piece);
  }

  isSpecial(id: number): boolean {
    return this.parts.vocab.isSpecial(id);
  }

  stream(options?: DecodeOptions): TokenStream {
    return this.decoder.stream(options);
  }
}
