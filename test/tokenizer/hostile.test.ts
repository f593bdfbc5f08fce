/** Damaged tokenizer files: an AlloyError or a tokenizer that works, and nothing else. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import fc from "fast-check";
import { openModel } from "../../src/formats/open.ts";
import type { MetaValue } from "../../src/formats/weights.ts";
import { AlloyError } from "../../src/support/errors.ts";
import { loadTokenizer, type TokenizerSource } from "../../src/tokenizer/load.ts";
import { GOLDEN, json } from "./helpers.ts";

const seed = Number(process.env.ALLOY_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
console.log(`damaged tokenizers: seed ${seed}`);

const junk = fc.constantFrom<unknown>(
  null,
  -1,
  0,
  1.5,
  1e12,
  NaN,
  "",
  "x",
  "\ud800",
  true,
  [],
  {},
  ["a"],
  { type: "Sequence" },
  { type: "Replace", pattern: { Regex: "(" } },
);

function survives(source: TokenizerSource): void {
  try {
    const t = loadTokenizer(source);
    const ids = t.encode("Hello, wörld <|im_end|> </s> 🙂\n\n 123", { addSpecial: true });
    expect(typeof t.decode(ids)).toBe("string");
  } catch (e) {
    if (!(e instanceof AlloyError)) throw e;
  }
}

/** A copy with the value at a random place replaced. */
function damaged(value: unknown, next: () => number, replacement: unknown): unknown {
  if (value === null || typeof value !== "object" || next() < 0.15) return replacement;
  const keys = Object.keys(value);
  if (keys.length === 0) return replacement;
  const key = keys[Math.floor(next() * keys.length)];
  const child = damaged((value as Record<string, unknown>)[key], next, replacement);
  if (Array.isArray(value)) return value.map((v, i) => (String(i) === key ? child : v));
  return { ...value, [key]: child };
}

test("tokenizer.json", () => {
  const files = ["bpe-llama3", "spm-llama", "spm-gemma", "wordpiece"].map((n) => ({
    tokenizer: json(join(GOLDEN, n, "tokenizer.json")),
    tokenizerConfig: json(join(GOLDEN, n, "tokenizer_config.json")),
  }));
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 3 }),
      fc.infiniteStream(fc.double({ min: 0, max: 0.999, noNaN: true })),
      junk,
      junk,
      (which, numbers, a, b) => {
        const next = () => numbers.next().value as number;
        const once = damaged(files[which], next, a);
        const config = { config: {}, ...(damaged(once, next, b) as object) };
        survives({ metadata: new Map(), config: config as TokenizerSource["config"] });
      },
    ),
    { seed, numRuns: 500 },
  );
});

test("GGUF metadata", () => {
  const model = openModel(join(import.meta.dir, "../../assets/alloy-demo-q8_0.gguf"));
  const entries = [...model.metadata].filter(([key]) => key.startsWith("tokenizer."));
  const values = fc.constantFrom<MetaValue>(
    "gpt2",
    "llama",
    "bert",
    "t5",
    "gemma4",
    "qwen2",
    -1,
    1e9,
    5n,
    true,
    "",
    [],
    ["a", "b"],
    Int32Array.of(1, 2),
    new Float32Array(0),
    Uint8Array.of(1, 2, 3, 4, 5),
  );
  const keys = [
    ...entries.map(([key]) => key),
    "tokenizer.ggml.scores",
    "tokenizer.ggml.add_space_prefix",
    "tokenizer.ggml.precompiled_charsmap",
    "tokenizer.ggml.unknown_token_id",
  ];
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.constantFrom(...keys), values), { minLength: 1, maxLength: 3 }), (changes) => {
      survives({ metadata: new Map<string, MetaValue>([...entries, ...changes]) });
    }),
    { seed, numRuns: 150 },
  );
});
