/** What a grammar is compiled against: the bytes of every token. */
import type { Tokenizer } from "../../tokenizer/api.ts";

/** Survives structured cloning. */
export interface Vocabulary {
  /** A token's bytes in the letters of GPT-2's byte alphabet; "" for those that no grammar may use. */
  words: string[];
  /** Tokens that end an answer. */
  ends: number[];
}

/** @param markers text in which control tokens are written as such: only those are ever part of a grammar's text */
export function vocabularyOf(tokenizer: Tokenizer, size: number, markers: string): Vocabulary {
  const word = (id: number): string => {
    if (id >= tokenizer.vocabSize) return "";
    const bytes = tokenizer.bytes(id);
    // No UTF-8 has them, and classes of characters let them pass.
    if (bytes.some((b) => b === 0xc0 || b === 0xc1 || b > 0xf4)) return "";
    if (tokenizer.isSpecial(id)) {
      const text = new TextDecoder().decode(bytes);
      if (text.length < 2 || !markers.includes(text)) return "";
    }
    return Array.from(bytes, (b) => ALPHABET[b]).join("");
  };
  return { words: Array.from({ length: size }, (_, id) => word(id)), ends: [...tokenizer.endTokens] };
}

/** Tokens of nothing but white space, a bit each. */
export function blanksOf(tokenizer: Tokenizer, size: number): Int32Array {
  const bits = new Int32Array(Math.ceil(size / 32));
  for (let id = 0; id < Math.min(size, tokenizer.vocabSize); id++) {
    const bytes = tokenizer.bytes(id);
    if (bytes.length > 0 && bytes.every((b) => b === 32 || b === 9 || b === 10)) bits[id >> 5] |= 1 << (id & 31);
  }
  return bits;
}

/** GPT-2's letters for bytes: printable ones stand for themselves, the others come after U+0100 in order. */
const ALPHABET: readonly string[] = (() => {
  let next = 256;
  const printable = (b: number): boolean => (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
  return Array.from({ length: 256 }, (_, b) => String.fromCodePoint(printable(b) ? b : next++));
})();
