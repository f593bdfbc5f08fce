/** Special tokens, options, loading and its errors, and the parts that the golden tokenizers do not use. */
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import type { MetaValue } from "../../src/formats/weights.ts";
import { AlloyError } from "../../src/support/errors.ts";
import { AddedTokens } from "../../src/tokenizer/added.ts";
import { fromByteChars, toByteChars } from "../../src/tokenizer/bytes.ts";
import { loadTokenizer } from "../../src/tokenizer/load.ts";
import { charsMap } from "../../src/tokenizer/normalize.ts";
import { PRE_TOKENIZER_NAMES, preTokenizer, splitter } from "../../src/tokenizer/pretokenizers.ts";
import { toRegExp } from "../../src/tokenizer/regex.ts";
import { digitsFromRight, split, type SplitBehavior, type Splitter } from "../../src/tokenizer/split.ts";
import { fromFolder, GOLDEN } from "./helpers.ts";

const qwen = fromFolder(join(GOLDEN, "bpe-qwen2"));
const llama3 = fromFolder(join(GOLDEN, "bpe-llama3"));
const words = (s: Splitter, text: string) => {
  const out: string[] = [];
  s(text, out, true);
  return out;
};

function failure(run: () => unknown): AlloyError {
  try {
    run();
  } catch (e) {
    if (e instanceof AlloyError) return e;
    throw e;
  }
  throw new Error("nothing was thrown");
}

describe("special tokens", () => {
  const end = qwen.id("<|im_end|>") as number;

  test("are parsed unless that is switched off", () => {
    expect(qwen.encode("a<|im_end|>b")).toEqual([...qwen.encode("a"), end, ...qwen.encode("b")]);
    const plain = qwen.encode("a<|im_end|>b", { parseSpecial: false });
    expect(plain).not.toContain(end);
    expect(qwen.decode(plain)).toBe("a<|im_end|>b");
  });

  test("are shown or left out when decoding", () => {
    const ids = [...qwen.encode("hi"), end];
    expect(qwen.decode(ids)).toBe("hi<|im_end|>");
    expect(qwen.decode(ids, { skipSpecial: true })).toBe("hi");
    const stream = qwen.stream({ skipSpecial: true });
    expect(ids.map((id) => stream.push(id)).join("") + stream.flush()).toBe("hi");
    expect(qwen.isSpecial(end)).toBe(true);
    expect(qwen.isSpecial(0)).toBe(false);
  });

  test("BOS is added on demand", () => {
    expect(llama3.addBos).toBe(true);
    expect(llama3.encode("a", { addSpecial: true })).toEqual([llama3.bos as number, ...llama3.encode("a")]);
  });

  test("incomplete characters come out as U+FFFD at the end only", () => {
    const [first, ...rest] = qwen.encode("🙂");
    expect(rest.length).toBeGreaterThan(0);
    const stream = qwen.stream();
    expect(stream.push(first)).toBe("");
    expect(stream.flush()).toBe("\ufffd");
    expect(stream.push(qwen.id("a") as number)).toBe("a");
  });
});

describe("added tokens", () => {
  const scan = (tokens: ConstructorParameters<typeof AddedTokens>[0], text: string, special = true) => {
    const out: (string | number)[] = [];
    new AddedTokens(tokens).scan(
      text,
      special,
      (a, b) => out.push(text.slice(a, b)),
      (id) => out.push(id),
    );
    return out;
  };

  test("the leftmost, and there the longest", () => {
    const tokens = [
      { id: 1, text: "<a", special: true },
      { id: 2, text: "<a>", special: true },
      { id: 3, text: "a>b", special: true },
    ];
    expect(scan(tokens, "x<a>b<a")).toEqual(["x", 2, "b", 1]);
  });

  test("take white space along where they say so", () => {
    expect(scan([{ id: 1, text: "<m>", special: true, lstrip: true }], "a \n<m> b")).toEqual(["a", 1, " b"]);
    expect(scan([{ id: 1, text: "<m>", special: true, rstrip: true }], "a <m> \n b")).toEqual(["a ", 1, "b"]);
    expect(scan([{ id: 1, text: "<m>", special: true, rstrip: true, lstrip: true }], "<m> <m> ")).toEqual([1, 1]);
  });

  test("single words, and user-defined ones without special parsing", () => {
    expect(scan([{ id: 1, text: "cat", special: false, singleWord: true }], "cat concat cat!")).toEqual([1, " concat ", 1, "!"]);
    const both = [
      { id: 1, text: "<s>", special: true },
      { id: 2, text: "<u>", special: false },
    ];
    expect(scan(both, "<s><u>", false)).toEqual(["<s>", 2]);
  });
});

test("the byte alphabet", () => {
  expect(toByteChars(" é\n")).toBe("ĠÃ©Ċ");
  const all = Uint8Array.from({ length: 256 }, (_, i) => i);
  const text = new TextDecoder("latin1").decode(all);
  expect(text.length).toBe(256);
  expect(fromByteChars(toByteChars("\u0000\u007f\u00adß🙂"))).toEqual(new TextEncoder().encode("\u0000\u007f\u00adß🙂"));
});

describe("regular expressions of tokenizer files", () => {
  const all = (source: string, text: string) => text.match(toRegExp(source)) ?? [];

  test("classes are Unicode's", () => {
    expect(all("\\s+", "a\u0085\u2003b\ufeffc")).toEqual(["\u0085\u2003"]);
    expect(all("[^\\s\\p{L}]", "a b1")).toEqual(["1"]);
    expect(all("\\d", "٣½3")).toEqual(["٣", "3"]);
    expect(all("\\w+", "naïve_x y")).toEqual(["naïve_x", "y"]);
    expect(all("\\bé\\b", "é aé")).toEqual(["é"]);
    expect(all("\\p{Han}+", "a中文b")).toEqual(["中文"]);
  });

  test("syntax that JavaScript writes otherwise", () => {
    expect(all("(?i:'s|'t)|\\'x", "a'S'x")).toEqual(["'S", "'x"]);
    expect(all("[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++", " ab")).toEqual([" ab"]);
    expect(all("(?>ab)c", "abc")).toEqual(["abc"]);
    expect(all("[[\\p{L}]&&[^\\p{Han}]]+", "ab中c")).toEqual(["ab", "c"]);
    expect(all("[]a]+\\x{4e2d}", "]a中")).toEqual(["]a中"]);
    expect(all("[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+", "-ab ~c")).toEqual(["-ab", "~c"]);
  });

  test("what cannot be expressed is an error that names it", () => {
    const e = failure(() => toRegExp("(?<unclosed"));
    expect(e.code).toBe("unsupported_model");
    expect(e.message).toContain("unclosed");
  });
});

describe("pre-tokenizers", () => {
  const by = (name: string, text: string) => words(splitter(preTokenizer(name)), text);

  test("loses nothing, whatever the name", () => {
    const text = "Hello  World's 12345 naïve中文テスト한국어\r\n\n\t x+=1; // ünï 🙂 ½ \u00a0 end  ";
    for (const name of PRE_TOKENIZER_NAMES) expect(by(name, text).join("")).toBe(text);
  });

  test("digits", () => {
    expect(by("llama3", "1234567")).toEqual(["123", "456", "7"]);
    expect(by("qwen2", "123")).toEqual(["1", "2", "3"]);
    expect(by("gpt-2", "123")).toEqual(["123"]);
    expect(by("superbpe", "1234567")).toEqual(["1", "234", "567"]);
    expect(words(digitsFromRight, "a1234b123c12")).toEqual(["a", "1", "234", "b", "123", "c", "12"]);
  });

  test("case, contractions, spaces, scripts", () => {
    expect(by("gpt-4o", "HelloWorld's")).toEqual(["Hello", "World's"]);
    expect(by("qwen2", "I'LL  go\n\n x")).toEqual(["I", "'LL", " ", " go", "\n\n", " x"]);
    expect(by("gpt-2", "I'LL  go")).toEqual(["I", "'", "LL", " ", " go"]);
    expect(by("kimi-k2", "ab中文cd")).toEqual(["ab", "中文", "cd"]);
    expect(by("starcoder", "x12")).toEqual(["x", "1", "2"]);
    expect(by("gemma4", "a b\n\nc")).toEqual(["a b", "\n\n", "c"]);
  });

  test("an unknown name falls back and says so", () => {
    const warnings: string[] = [];
    const metadata = new Map<string, MetaValue>([
      ["tokenizer.ggml.model", "gpt2"],
      ["tokenizer.ggml.pre", "from-the-future"],
      ["tokenizer.ggml.tokens", ["a", "b", "ab"]],
      ["tokenizer.ggml.merges", ["a b"]],
    ]);
    expect(loadTokenizer({ metadata }, (w) => warnings.push(w)).encode("abba")).toEqual([2, 1, 0]);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toContain("from-the-future");
  });
});

test("ways of splitting", () => {
  const by = (behavior: SplitBehavior, invert = false) => words(split(/-/gu, behavior, invert), "the-final--countdown");
  expect(by("Isolated")).toEqual(["the", "-", "final", "-", "-", "countdown"]);
  expect(by("Removed")).toEqual(["the", "final", "countdown"]);
  expect(by("MergedWithPrevious")).toEqual(["the-", "final-", "-", "countdown"]);
  expect(by("MergedWithNext")).toEqual(["the", "-final", "-", "-countdown"]);
  expect(by("Contiguous")).toEqual(["the", "-", "final", "--", "countdown"]);
  expect(words(split(/[a-z]+/gu, "Removed", true), "ab--cd")).toEqual(["ab", "cd"]);
});

describe("Unigram", () => {
  const load = (model: object, rest: object = {}) =>
    loadTokenizer({ metadata: new Map(), config: { config: {}, tokenizer: { model: { type: "Unigram", ...model }, ...rest } } });
  const metaspace = {
    pre_tokenizer: { type: "Metaspace", replacement: "▁", prepend_scheme: "always" },
    decoder: { type: "Metaspace", prepend_scheme: "always" },
  };
  const vocab = [
    ["<unk>", 0],
    ["▁", -2],
    ["▁ab", -3],
    ["a", -4],
    ["b", -4],
    ["c", -5],
    ["bc", -3.5],
    ["▁a", -3.2],
  ];

  test("takes the segmentation of highest score", () => {
    const t = load({ vocab, unk_id: 0 }, metaspace);
    expect(t.kind).toBe("spm");
    // "▁a"+"bc" (-6.7) beats "▁ab"+"c" (-8).
    expect(t.encode("abc").map((id) => t.piece(id))).toEqual(["▁a", "bc"]);
    expect(t.encode("ab ab").map((id) => t.piece(id))).toEqual(["▁ab", "▁ab"]);
    expect(t.decode(t.encode("ab abc"))).toBe("ab abc");
  });

  test("unknown characters in a row are one token, or bytes", () => {
    const t = load({ vocab, unk_id: 0 }, metaspace);
    expect(t.encode("axyzb").map((id) => t.piece(id))).toEqual(["▁a", "<unk>", "b"]);
    const bytes = Array.from({ length: 256 }, (_, b) => [`<0x${b.toString(16).toUpperCase().padStart(2, "0")}>`, -9]);
    const f = load({ vocab: [...vocab, ...bytes], unk_id: 0, byte_fallback: true }, metaspace);
    expect(f.encode("aé").map((id) => f.piece(id))).toEqual(["▁a", "<0xC3>", "<0xA9>"]);
    expect(f.decode(f.encode("aé🙂"))).toBe("aé🙂");
  });
});

test("a precompiled character map replaces the longest prefix", () => {
  // Built by hand: the root's base is 0, so byte b of the first level sits at unit b; "A" -> "a", "ﬀ" has three bytes.
  const units = new Uint32Array(512);
  const base = (offset: number) => offset << 10;
  units[0] = base(0);
  // "A" (0x41): leaf, its value at 0x41 ^ 256.
  units[0x41] = 0x41 | 0x100 | base(256);
  units[0x41 ^ 256] = 0x80000000;
  const strings = new TextEncoder().encode("xyz\0");
  const blob = new Uint8Array(4 + units.byteLength + strings.length);
  new DataView(blob.buffer).setUint32(0, units.byteLength, true);
  blob.set(new Uint8Array(units.buffer), 4);
  blob.set(strings, 4 + units.byteLength);
  const normalize = charsMap(blob);
  expect(normalize("bAé A", true)).toBe("bxyzé xyz");
  expect(normalize("none", true)).toBe("none");
  // Damaged maps do no harm.
  expect(charsMap(new Uint8Array(2))("A", true)).toBe("A");
  expect(charsMap(blob.slice(0, 40))("A", true)).toBe("A");
});

describe("loading", () => {
  const tokens: [string, MetaValue][] = [
    ["tokenizer.ggml.model", "gpt2"],
    ["tokenizer.ggml.pre", "gpt-2"],
    ["tokenizer.ggml.tokens", ["a", "b", "<|im_end|>", "<|endoftext|>", "</s>"]],
    ["tokenizer.ggml.token_type", Int32Array.from([1, 1, 3, 3, 1])],
    ["tokenizer.ggml.merges", []],
  ];
  const load = (...more: [string, MetaValue][]) => loadTokenizer({ metadata: new Map<string, MetaValue>([...tokens, ...more]) });

  test("end tokens: declared, known by name, never out of range", () => {
    const t = load(["tokenizer.ggml.eos_token_id", 3], ["tokenizer.ggml.eot_token_id", 99]);
    expect([...t.endTokens].sort()).toEqual([2, 3]);
    expect(load(["tokenizer.ggml.eos_token_id", 4]).endTokens.has(4)).toBe(true);
    expect(load(["tokenizer.ggml.eos_token_id", 1000]).eos).toBeUndefined();
  });

  test("add_bos_token and add_eos_token", () => {
    const t = load(
      ["tokenizer.ggml.bos_token_id", 0],
      ["tokenizer.ggml.add_bos_token", true],
      ["tokenizer.ggml.eos_token_id", 3],
      ["tokenizer.ggml.add_eos_token", true],
    );
    expect(t.encode("b", { addSpecial: true })).toEqual([0, 1, 3]);
    expect(t.encode("b")).toEqual([1]);
    expect([t.addBos, t.addEos]).toEqual([true, true]);
  });

  test("what is missing or wrong is named", () => {
    const cases: [RegExp, string, MetaValue][] = [
      [/tokenizer type "rwkv"/i, "tokenizer.ggml.model", "rwkv"],
      [/tokens is missing or empty/, "tokenizer.ggml.tokens", []],
      [/tokens is not an array of strings/, "tokenizer.ggml.tokens", 5],
      [/token_type has 1 entries for 5 tokens/, "tokenizer.ggml.token_type", Int32Array.of(1)],
      [/merges is not an array of strings/, "tokenizer.ggml.merges", Int32Array.of(1)],
      [/add_bos_token is not a boolean/, "tokenizer.ggml.add_bos_token", "yes"],
    ];
    for (const [message, key, value] of cases) {
      const e = failure(() => load([key, value]));
      expect(e.message).toMatch(message);
      expect(e.hint).toBeTruthy();
    }
    expect(failure(() => loadTokenizer({ metadata: new Map([["general.architecture", "llama"]]) })).code).toBe("unsupported_model");
    expect(failure(() => loadTokenizer({ metadata: new Map() })).message).toContain("tokenizer.json");
  });

  test("tokenizer.json with unknown steps or absurd ids", () => {
    const hf = (tokenizer: Record<string, unknown>) => () => loadTokenizer({ metadata: new Map(), config: { config: {}, tokenizer } });
    const model = { type: "BPE", vocab: { a: 0 }, merges: [] };
    expect(failure(hf({ model, normalizer: { type: "Magic" } })).message).toContain("Magic");
    expect(failure(hf({ model, pre_tokenizer: { type: "Sequence", pretokenizers: [{ type: "Odd" }] } })).message).toContain("Odd");
    expect(failure(hf({ model: { type: "Quantum", vocab: { a: 0 } } })).message).toContain("Quantum");
    expect(failure(hf({ model: { type: "BPE", vocab: { a: 4e9 }, merges: [] } })).code).toBe("bad_file");
    expect(failure(hf({ model, added_tokens: [{ id: "x" }] })).code).toBe("bad_file");
    expect(failure(hf({})).code).toBe("bad_file");
  });
});
