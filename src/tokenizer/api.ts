/** Text to ids and back. Built from GGUF metadata or tokenizer.json; see `loadTokenizer` in ./load.ts. */

export interface EncodeOptions {
  /** Add the special tokens that the tokenizer adds by itself (BOS/EOS, CLS/SEP). Default false. */
  addSpecial?: boolean;
  /** Recognise special/control tokens written in the text (`<|im_end|>`). Default true; false treats them as plain text. */
  parseSpecial?: boolean;
}

export interface DecodeOptions {
  /** Leave out control tokens. Default false: they are printed as their text. */
  skipSpecial?: boolean;
}

export interface Tokenizer {
  readonly kind: "bpe" | "spm" | "wordpiece";
  readonly vocabSize: number;
  readonly bos?: number;
  readonly eos?: number;
  /** All ids that end a generation: eos, eot, eom and the like. */
  readonly endTokens: ReadonlySet<number>;
  readonly addBos: boolean;
  readonly addEos: boolean;
  encode(text: string, options?: EncodeOptions): number[];
  decode(ids: ArrayLike<number>, options?: DecodeOptions): string;
  /** Raw bytes of one token as it appears in running text. */
  bytes(id: number): Uint8Array;
  /** The vocabulary's own spelling of a token, for display ("Ġthe", "▁the"). */
  piece(id: number): string;
  /** Id of exactly this vocabulary entry, if there is one. */
  id(piece: string): number | undefined;
  isSpecial(id: number): boolean;
  /**
   * Incremental detokeniser for streaming; never emits half a UTF-8 character. It goes on with a text: the space that a
   * SentencePiece tokenizer puts before a text, and that `decode` takes away again, stays.
   */
  stream(options?: DecodeOptions): TokenStream;
}

export interface TokenStream {
  /** Text that became complete with this token ("" while bytes of a character are missing). */
  push(id: number): string;
  /** What is left at the end; incomplete bytes come out as U+FFFD. */
  flush(): string;
}
