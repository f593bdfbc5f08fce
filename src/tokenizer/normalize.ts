/** Text normalisation before pre-tokenisation. */

/** `first`: the text stands at the start of the whole input. */
export type Normalizer = (text: string, first: boolean) => string;

export interface BertOptions {
  cleanText: boolean;
  chineseChars: boolean;
  stripAccents: boolean;
  lowercase: boolean;
}

// Control and format characters, U+FFFD and private use, without the three that count as white space.
const BERT_DROP = /[\0\ufffd]|(?![\t\n\r])[\p{Cc}\p{Cf}\p{Co}]/gu;
// The blocks that BERT calls Chinese (U+2B920 is in its published tokenizer, for U+2B820).
const CJK =
  /[\u4e00-\u9fff\u3400-\u4dbf\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b920}-\u{2ceaf}\uf900-\ufaff\u{2f800}-\u{2fa1f}]/gu;

/** The BERT normaliser: cleaning, space around CJK characters, accents, case, in this order. */
export function bertNormalizer(o: BertOptions): Normalizer {
  return (text) => {
    let s = text;
    if (o.cleanText) s = s.replace(BERT_DROP, "").replace(/\p{White_Space}/gu, " ");
    if (o.chineseChars) s = s.replace(CJK, " $& ");
    if (o.stripAccents) s = s.normalize("NFD").replace(/\p{Mn}/gu, "");
    return o.lowercase ? lowercase(s) : s;
  };
}

/** Case character by character: JavaScript would give a capital sigma at the end of a word another form. */
export const lowercase = (s: string) => (s.includes("Σ") ? Array.from(s, (c) => c.toLowerCase()).join("") : s.toLowerCase());

/** Runs normalisers one after another. */
export function sequence(steps: readonly Normalizer[]): Normalizer | undefined {
  if (steps.length < 2) return steps[0];
  return (text, first) => steps.reduce((s, step) => step(s, first), text);
}

/**
 * SentencePiece's precompiled character map: a trie as XOR-compressed double array (32-bit units) and the replacement
 * strings, zero-terminated. The longest prefix in the trie is replaced. Layout: length of the trie in bytes (u32), trie, strings.
 */
export function charsMap(blob: Uint8Array): Normalizer {
  const view = new DataView(blob.buffer, blob.byteOffset, blob.byteLength);
  if (blob.byteLength < 4) return (s) => s;
  const trieBytes = Math.min(view.getUint32(0, true), blob.byteLength - 4) & ~3;
  const units = Uint32Array.from({ length: trieBytes / 4 }, (_, i) => view.getUint32(4 + 4 * i, true));
  const strings = blob.subarray(4 + trieBytes);
  const base = (u: number) => (u >>> 10) << ((u & 0x200) >>> 6);
  const decoder = new TextDecoder();
  const replacement = (offset: number) => {
    const end = strings.indexOf(0, offset);
    return decoder.decode(strings.subarray(offset, end < 0 ? strings.length : end));
  };
  /** Length in bytes of the longest prefix at `from` and the offset of its replacement. */
  const longest = (bytes: Uint8Array, from: number): [number, number] => {
    let length = 0;
    let value = 0;
    let node = base(units[0] ?? 0);
    for (let i = from; i < bytes.length && bytes[i] !== 0; i++) {
      node ^= bytes[i];
      const unit = units[node];
      if (unit === undefined || (unit & 0x800000ff) >>> 0 !== bytes[i]) break;
      node ^= base(unit);
      if (unit & 0x100) {
        length = i - from + 1;
        value = (units[node] ?? 0) & 0x7fffffff;
      }
    }
    return [length, value];
  };
  const encoder = new TextEncoder();
  return (text) => {
    const bytes = encoder.encode(text);
    let out = "";
    let kept = 0;
    for (let i = 0; i < bytes.length;) {
      const [length, value] = longest(bytes, i);
      if (length > 0) {
        out += decoder.decode(bytes.subarray(kept, i)) + replacement(value);
        kept = i += length;
      } else {
        i++;
        while (i < bytes.length && (bytes[i] & 0xc0) === 0x80) i++;
      }
    }
    return kept === 0 ? text : out + decoder.decode(bytes.subarray(kept));
  };
}
