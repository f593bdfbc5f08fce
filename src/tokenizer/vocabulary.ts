/** The list of pieces with their roles, shared by all models. */

/** Role of a vocabulary entry; numbers are those of `tokenizer.ggml.token_type`. */
export const TokenType = { normal: 1, unknown: 2, control: 3, user: 4, unused: 5, byte: 6 } as const;

export class Vocabulary {
  /** Piece to id; where a piece occurs twice the later entry wins. Holes (empty pieces) are not in it. */
  readonly ids = new Map<string, number>();

  constructor(
    readonly pieces: string[],
    /** `TokenType` per id. */
    readonly types: Uint8Array,
  ) {
    for (let id = 0; id < pieces.length; id++) if (pieces[id] !== "") this.ids.set(pieces[id], id);
  }

  get size(): number {
    return this.pieces.length;
  }

  /** Control and unknown tokens: never part of running text. */
  isSpecial(id: number): boolean {
    const t = this.types[id];
    return t === TokenType.control || t === TokenType.unknown;
  }
}
