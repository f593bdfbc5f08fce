/** Sentences of grammars, drawn at random byte by byte. */
import { expect } from "bun:test";
import type { GrammarCompiler } from "../../src/engine/grammar/xgrammar.ts";
import { byteTokenizer, VOCAB } from "./fakes.ts";

const [END] = byteTokenizer.endTokens;

/** The bytes that may come next, end of text aside, and whether the text may end. */
export function permitted(mask: Int32Array): { bytes: number[]; ends: boolean } {
  const ids = Array.from({ length: VOCAB }, (_, id) => id).filter((id) => (mask[id >> 5] >> (id & 31)) & 1);
  return { bytes: ids.filter((id) => id < 256), ends: ids.includes(END) || ids.length === 0 };
}

export interface SentenceOptions {
  /** Bytes from which on it ends as soon as it may; before, it seldom does. Default 0. */
  length?: number;
  /** Bytes after which there is none to be had. Default 4000. */
  limit?: number;
  /** What is drawn half of the time once it is long enough: characters that bring the end nearer. */
  prefer?: string;
}

/** A sentence of a grammar; undefined: none within the limit. White space is drawn only where nothing else can be. */
export async function sentence(
  compiler: GrammarCompiler,
  ebnf: string,
  random: () => number,
  o: SentenceOptions = {},
): Promise<string | undefined> {
  const { length = 0, limit = 4000, prefer = '"]}' } = o;
  const matcher = await compiler.matcher(ebnf);
  const drawn: number[] = [];
  const pick = (from: readonly number[]): number => from[Math.floor(random() * from.length)];
  const draw = (bytes: readonly number[]): number => {
    const visible = bytes.filter((id) => id > 32);
    const from = visible.length > 0 ? visible : bytes;
    const preferred = drawn.length >= length && random() < 0.5 ? from.filter((b) => prefer.includes(String.fromCharCode(b))) : [];
    return pick(preferred.length > 0 ? preferred : from);
  };
  try {
    while (drawn.length <= limit) {
      const { bytes, ends } = permitted(await matcher.mask());
      if (ends && (bytes.length === 0 || drawn.length >= length || random() < 0.1)) return utf8(drawn);
      let byte = draw(bytes);
      // Classes of characters are lenient towards bytes that are no UTF-8.
      for (let tries = 0; !continuesUtf8(drawn, byte) && tries < 1000; tries++) byte = draw(bytes);
      drawn.push(byte);
      expect(matcher.accept(byte)).toBe(true);
    }
    return undefined;
  } finally {
    matcher.free();
  }
}

const utf8 = (bytes: number[]): string => new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(bytes));

function continuesUtf8(drawn: readonly number[], byte: number): boolean {
  const tail = drawn.slice(-8);
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.of(...tail.slice(boundary(tail)), byte), { stream: true });
    return true;
  } catch {
    return false;
  }
}

/** Where the first character begins. */
function boundary(bytes: readonly number[]): number {
  const at = bytes.findIndex((b) => (b & 0xc0) !== 0x80);
  return at === -1 ? bytes.length : at;
}

/** Whether a text is a sentence of a grammar, byte by byte. */
export async function accepts(compiler: GrammarCompiler, ebnf: string, text: string): Promise<boolean> {
  const matcher = await compiler.matcher(ebnf);
  try {
    for (const byte of new TextEncoder().encode(text)) {
      if (!permitted(await matcher.mask()).bytes.includes(byte)) return false;
      matcher.accept(byte);
    }
    return permitted(await matcher.mask()).ends;
  } finally {
    matcher.free();
  }
}
