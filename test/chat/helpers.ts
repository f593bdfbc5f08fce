/** Small things that the chat tests share. */
import type { ChatDelta, OutputParser } from "../../src/chat/api.ts";
import type { Tokenizer } from "../../src/tokenizer/api.ts";

/** A tokenizer that knows only the special pieces given. */
export function tokenizerWith(...pieces: string[]): Tokenizer {
  const all = ["<s>", "</s>", ...pieces];
  const none = (): never => {
    throw new Error("not part of this test");
  };
  return {
    kind: "bpe",
    vocabSize: all.length,
    bos: 0,
    eos: 1,
    endTokens: new Set([1]),
    addBos: false,
    addEos: false,
    encode: none,
    decode: none,
    bytes: none,
    stream: none,
    piece: (id) => all[id],
    id: (piece) => (all.includes(piece) ? all.indexOf(piece) : undefined),
    isSpecial: () => true,
  };
}

export interface Turn {
  text: string;
  reasoning: string;
  calls: { name: string; arguments: string; ended: boolean }[];
  /** Kinds of pieces in order, repeats left out. */
  order: string[];
}

/** All that came out, put together; fails on deltas of a call that is not the current one. */
export function collect(deltas: readonly ChatDelta[]): Turn {
  const turn: Turn = { text: "", reasoning: "", calls: [], order: [] };
  const byIndex = new Map<number, Turn["calls"][number]>();
  for (const d of deltas) {
    if (turn.order.at(-1) !== d.type) turn.order.push(d.type);
    if (d.type === "text") turn.text += d.text;
    else if (d.type === "reasoning") turn.reasoning += d.text;
    else if (d.type === "tool_call_start") {
      if (byIndex.has(d.index)) throw new Error(`call ${d.index} started twice`);
      const call = { name: d.name, arguments: "", ended: false };
      byIndex.set(d.index, call);
      turn.calls.push(call);
    } else {
      const call = byIndex.get(d.index);
      if (!call || call.ended) throw new Error(`${d.type} for call ${d.index}, which is not open`);
      if (d.type === "tool_call_end") call.ended = true;
      else call.arguments += d.text;
    }
  }
  return turn;
}

/** Feeds the pieces to a parser and collects. */
export const feed = (parser: OutputParser, pieces: readonly string[]): Turn =>
  collect([...pieces.flatMap((p) => parser.push(p)), ...parser.finish()]);

/** Numbers in [0, 1) from a seed (mulberry32). */
export function random(seed: number): () => number {
  let a = seed;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** The text in pieces of one to `longest` characters. */
export function pieces(text: string, next: () => number, longest: number): string[] {
  const out: string[] = [];
  for (let i = 0; i < text.length;) {
    const n = 1 + Math.floor(next() * longest);
    out.push(text.slice(i, i + n));
    i += n;
  }
  return out;
}

/** A new seed per run, printed so that a failure can be repeated with ALLOY_TEST_SEED. */
export function seed(of: string): number {
  const s = Number(process.env.ALLOY_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
  console.log(`${of}: seed ${s}`);
  return s;
}
