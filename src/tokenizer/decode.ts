/** Ids back to bytes and text. */
import type { DecodeOptions, TokenStream } from "./api.ts";
import { byteOfFallback, fromByteChars } from "./bytes.ts";
import { SPACE } from "./char-bpe.ts";
import { TokenType, type Vocabulary } from "./vocabulary.ts";

/** How pieces spell text: byte alphabet; "▁" and "<0x0A>"; words with continuation marks; plain. */
export type Spelling = "bytes" | "sentencepiece" | "wordpiece" | "plain";

export interface DecoderOptions {
  spelling: Spelling;
  /** The encoder puts a space before the text: `decode` takes it away again. */
  stripLeadingSpace: boolean;
  /** WordPiece: prefix of a piece that starts a word, and of one that continues it. */
  wordStart?: string;
  continuation?: string;
}

const encoder = new TextEncoder();
const EMPTY = new Uint8Array(0);

export class Decoder {
  private readonly cache: (Uint8Array | undefined)[] = [];
  /** Added tokens stand for their own text, whatever the spelling of the rest. */
  constructor(
    private readonly vocab: Vocabulary,
    private readonly added: ReadonlySet<number>,
    private readonly options: DecoderOptions,
  ) {}

  bytes(id: number): Uint8Array {
    return (this.cache[id] ??= this.spell(id));
  }

  private spell(id: number): Uint8Array {
    const piece = this.vocab.pieces[id];
    if (piece === undefined || piece === "") return EMPTY;
    const { spelling, wordStart = "", continuation = "" } = this.options;
    if (spelling === "sentencepiece" || this.vocab.types[id] === TokenType.byte) {
      const b = byteOfFallback(piece);
      if (b !== undefined && (this.vocab.types[id] === TokenType.byte || !this.added.has(id))) return Uint8Array.of(b);
    }
    if (spelling === "wordpiece") {
      if (this.added.has(id)) return encoder.encode(` ${piece}`);
      if (continuation !== "" && piece.startsWith(continuation)) return encoder.encode(piece.slice(continuation.length));
      if (!piece.startsWith(wordStart)) return encoder.encode(piece);
      return encoder.encode(tidy(` ${piece.slice(wordStart.length)}`));
    }
    if (this.added.has(id)) return encoder.encode(spelling === "sentencepiece" ? piece.replaceAll(SPACE, " ") : piece);
    if (spelling === "bytes") return fromByteChars(piece);
    return encoder.encode(spelling === "sentencepiece" ? piece.replaceAll(SPACE, " ") : piece);
  }

  decode(ids: ArrayLike<number>, options: DecodeOptions = {}): string {
    const parts: Uint8Array[] = [];
    let length = 0;
    for (let i = 0; i < ids.length; i++) {
      if (options.skipSpecial && this.vocab.isSpecial(ids[i])) continue;
      const b = this.bytes(ids[i]);
      parts.push(b);
      length += b.length;
    }
    const all = new Uint8Array(length);
    let at = 0;
    for (const p of parts) {
      all.set(p, at);
      at += p.length;
    }
    const text = utf8().decode(all);
    return this.options.stripLeadingSpace && text.startsWith(" ") ? text.slice(1) : text;
  }

  stream(options: DecodeOptions = {}): TokenStream {
    const decoder = utf8();
    return {
      push: (id) => (options.skipSpecial && this.vocab.isSpecial(id) ? "" : decoder.decode(this.bytes(id), { stream: true })),
      flush: () => decoder.decode(),
    };
  }
}

/** Keeps U+FEFF, which is text here; incomplete and wrong bytes become U+FFFD. */
const utf8 = () => new TextDecoder("utf-8", { ignoreBOM: true });

/** BERT's clean-up of spaces that its splitting of punctuation made. */
function tidy(word: string): string {
  return /^ (?:[.?!,]|n't|'m|'s|'ve|'re)$/.test(word) ? word.slice(1) : word;
}
