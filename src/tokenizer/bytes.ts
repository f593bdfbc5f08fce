/**
 * The byte alphabet of byte-level BPE (GPT-2's `bytes_to_unicode`): every byte has a printable character, so that
 * vocabularies can be stored as text. Printable Latin-1 bytes stand for themselves, the other 68 follow from U+0100 on.
 */

const printable = (b: number) => (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;

/** Character of each byte. */
export const BYTE_CHARS: readonly string[] = (() => {
  let next = 0x100;
  return Array.from({ length: 256 }, (_, b) => String.fromCharCode(printable(b) ? b : next++));
})();

const BYTE_OF_CHAR = new Map(BYTE_CHARS.map((c, b) => [c, b]));

const encoder = new TextEncoder();

/** Text in the byte alphabet: " é" becomes "ĠÃ©". */
export function toByteChars(text: string): string {
  let s = "";
  for (const b of encoder.encode(text)) s += BYTE_CHARS[b];
  return s;
}

/** Bytes of a piece written in the byte alphabet; characters outside of it (added tokens) stand for their own UTF-8. */
export function fromByteChars(piece: string): Uint8Array {
  const out: number[] = [];
  for (const c of piece) {
    const b = BYTE_OF_CHAR.get(c);
    if (b !== undefined) out.push(b);
    else out.push(...encoder.encode(c));
  }
  return Uint8Array.from(out);
}

const BYTE_TOKEN = /^<0x([0-9A-Fa-f]{2})>$/;

/** Value of a byte-fallback piece such as "<0x0A>", or undefined. */
export function byteOfFallback(piece: string): number | undefined {
  const m = BYTE_TOKEN.exec(piece);
  return m ? parseInt(m[1], 16) : undefined;
}

/** The byte-fallback piece of a byte: "<0x0A>". */
export const fallbackPiece = (b: number) => `<0x${b.toString(16).toUpperCase().padStart(2, "0")}>`;
