/** What must hold for any text: nothing is lost, streaming equals decoding, long input takes linear time. */
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import fc from "fast-check";
import { openModel } from "../../src/formats/open.ts";
import type { Tokenizer } from "../../src/tokenizer/api.ts";
import { loadTokenizer } from "../../src/tokenizer/load.ts";
import { fromFolder, GOLDEN } from "./helpers.ts";

const seed = Number(process.env.ALLOY_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
console.log(`tokenizer properties: seed ${seed}`);
const runs = { seed, numRuns: 300 };

const demo = loadTokenizer(openModel(join(import.meta.dir, "../../assets/alloy-demo-q8_0.gguf")));
const byteLevel: [name: string, tokenizer: Tokenizer, normalize: (s: string) => string][] = [
  ["bpe-gpt2", fromFolder(join(GOLDEN, "bpe-gpt2")), (s) => s],
  ["bpe-llama3", fromFolder(join(GOLDEN, "bpe-llama3")), (s) => s],
  // Qwen's tokenizer normalises to NFC before anything else.
  ["demo model", demo, (s) => s.normalize("NFC")],
];
const spm = fromFolder(join(GOLDEN, "spm-llama"));
const gemma = fromFolder(join(GOLDEN, "spm-gemma"));

/** Any text: letters of all planes, lone surrogates, runs of the same character. */
const anyText = fc.oneof(
  fc.string({ unit: "binary", maxLength: 200 }),
  fc.string({ unit: "grapheme", maxLength: 100 }),
  fc
    .array(fc.string({ unit: fc.constantFrom("a", " ", "\n", "é", "🙂", "\ud83d", "\u0301", "7", "'s", "<|im_end|>"), maxLength: 60 }))
    .map((a) => a.join("")),
);

for (const [name, tokenizer, normalize] of byteLevel) {
  test(`${name}: decoding gives the text back`, () => {
    fc.assert(
      fc.property(anyText, (text) => {
        expect(tokenizer.decode(tokenizer.encode(text, { parseSpecial: false }))).toBe(normalize(text).toWellFormed());
      }),
      runs,
    );
  });
}

test("SentencePiece with byte fallback gives the text back", () => {
  fc.assert(
    fc.property(anyText, (text) => {
      // The space mark itself reads as a space.
      const plain = text.toWellFormed().replaceAll("\u2581", " ");
      expect(gemma.decode(gemma.encode(text, { parseSpecial: false }))).toBe(plain);
      expect(spm.decode(spm.encode(text, { parseSpecial: false }))).toBe(plain);
    }),
    runs,
  );
});

test("streaming gives the same text as decoding and never a broken character", () => {
  fc.assert(
    fc.property(anyText, (text) => {
      const ids = demo.encode(text, { parseSpecial: false });
      const stream = demo.stream();
      const parts = ids.map((id) => stream.push(id));
      const clean = text.toWellFormed();
      if (!clean.includes("\ufffd")) for (const p of parts) expect(p.isWellFormed() && !p.includes("\ufffd")).toBe(true);
      expect(parts.join("") + stream.flush()).toBe(demo.decode(ids));
    }),
    runs,
  );
});

test("any ids at all decode, streamed or not", () => {
  for (const tokenizer of [demo, spm, gemma, fromFolder(join(GOLDEN, "wordpiece"))]) {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: tokenizer.vocabSize - 1 }), { maxLength: 60 }), (ids) => {
        const bytes = new Uint8Array(ids.flatMap((id) => [...tokenizer.bytes(id)]));
        const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
        const stream = tokenizer.stream();
        expect(ids.map((id) => stream.push(id)).join("") + stream.flush()).toBe(text);
        expect([text, text.replace(/^ /, "")]).toContain(tokenizer.decode(ids));
      }),
      runs,
    );
  }
});

test("merging is what its definition says, by scan and by heap", () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom("a", "b", "th", "e", " the", "é", "in"), { minLength: 1, maxLength: 120 }), (words) => {
      // Words up to and beyond the length at which the heap takes over.
      const text = words.join("").replaceAll(" ", "");
      const again = byDefinition(text);
      expect(demo.encode(text)).toEqual(again);
    }),
    { seed, numRuns: 200 },
  );
});

/** Ids by the definition: merge the pair of lowest rank, leftmost first, again and again. */
function byDefinition(text: string): number[] {
  const { ranks, pieces, id } = naive;
  const symbols = Array.from(new TextEncoder().encode(text), (b) => pieces[b]);
  for (;;) {
    let best = -1;
    let rank = Infinity;
    for (let i = 0; i + 1 < symbols.length; i++) {
      const r = ranks.get(`${symbols[i]} ${symbols[i + 1]}`) ?? Infinity;
      if (r < rank) [best, rank] = [i, r];
    }
    if (best < 0) return symbols.map((s) => id(s));
    symbols.splice(best, 2, symbols[best] + symbols[best + 1]);
  }
}

const naive = (() => {
  const model = openModel(join(import.meta.dir, "../../assets/alloy-demo-q8_0.gguf"));
  const merges = model.metadata.get("tokenizer.ggml.merges") as string[];
  // The byte alphabet, written out once more: printable Latin-1, the rest from U+0100 on.
  let next = 256;
  const pieces = Array.from({ length: 256 }, (_, b) => {
    const printable = (b > 32 && b < 127) || (b > 160 && b !== 173);
    return String.fromCharCode(printable ? b : next++);
  });
  return { ranks: new Map(merges.map((m, i) => [m, i])), pieces, id: (s: string) => demo.id(s) as number };
})();

describe("very long inputs take linear time", () => {
  const units = ["a", " ", "\n", "7", "ab", "🙂", "é", "<|", "<|im_start|>", "\u0301", "'", "Aa中", "</s>"];
  for (const unit of units) {
    test(`1 MB of ${JSON.stringify(unit)}`, () => {
      const text = unit.repeat(Math.ceil((1 << 20) / unit.length));
      for (const tokenizer of [demo, spm]) {
        // A quadratic step would take longer than the test may.
        const ids = tokenizer.encode(text);
        expect(ids.length).toBeGreaterThan(1000);
      }
    }, 120_000);
  }
});
