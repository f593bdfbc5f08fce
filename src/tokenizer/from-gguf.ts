/** Tokenizers from GGUF metadata (`tokenizer.ggml.*`). */
import { AlloyError } from "../support/errors.ts";
import type { MetaValue } from "../formats/weights.ts";
import type { AddedToken } from "./added.ts";
import { ByteBpe } from "./byte-bpe.ts";
import { CharBpe, SPACE } from "./char-bpe.ts";
import { endTokens } from "./ends.ts";
import { bertNormalizer, charsMap, type Normalizer, sequence } from "./normalize.ts";
import { preTokenizer, splitter } from "./pretokenizers.ts";
import type { TokenizerParts } from "./tokenizer.ts";
import { Unigram } from "./unigram.ts";
import { TokenType, Vocabulary } from "./vocabulary.ts";
import { bertSplit, WordPiece } from "./wordpiece.ts";

/** Models whose vocabularies are read: `tokenizer.ggml.model`. */
const MODELS = ["gpt2", "llama", "bert", "t5", "gemma4"];

export function fromGguf(metadata: ReadonlyMap<string, MetaValue>, warn: (message: string) => void): TokenizerParts {
  const meta = new Metadata(metadata);
  const model = meta.text("model");
  if (model === undefined) {
    throw new AlloyError("unsupported_model", "The file has no tokenizer: metadata key tokenizer.ggml.model is missing.", {
      hint: "Use a GGUF file made from a complete model folder, or open the Hugging Face folder instead.",
    });
  }
  const vocab = readVocabulary(meta);
  if (model === "gpt2") return byteLevel(meta, vocab, warn);
  if (model === "gemma4") return lineBpe(meta, vocab);
  if (model === "llama") return sentencePiece(meta, vocab);
  if (model === "bert") return bert(meta, vocab);
  if (model === "t5") return unigram(meta, vocab);
  throw new AlloyError("unsupported_model", `Tokenizer type ${JSON.stringify(model)} (tokenizer.ggml.model) is not supported.`, {
    hint: `Supported types: ${MODELS.join(", ")}.`,
  });
}

/** Typed reading of `tokenizer.ggml.*` keys. */
class Metadata {
  constructor(private readonly map: ReadonlyMap<string, MetaValue>) {}

  raw(key: string): MetaValue | undefined {
    return this.map.get(`tokenizer.ggml.${key}`);
  }

  text(key: string): string | undefined {
    return this.expect(key, "string");
  }

  flag(key: string): boolean | undefined {
    return this.expect(key, "boolean");
  }

  private expect(key: string, type: "string"): string | undefined;
  private expect(key: string, type: "boolean"): boolean | undefined;
  private expect(key: string, type: string): unknown {
    const v = this.raw(key);
    if (v !== undefined && typeof v !== type) throw bad(key, `is not a ${type}`);
    return v;
  }

  strings(key: string): string[] | undefined {
    const v = this.raw(key);
    if (v === undefined) return undefined;
    if (!Array.isArray(v) || (v.length > 0 && typeof v[0] !== "string")) throw bad(key, "is not an array of strings");
    return v as string[];
  }

  numbers(key: string, length: number): ArrayLike<number> | undefined {
    const v = this.raw(key);
    if (v === undefined) return undefined;
    if (!ArrayBuffer.isView(v) || v instanceof BigInt64Array || v instanceof BigUint64Array) throw bad(key, "is not an array of numbers");
    if (v.length < length) throw bad(key, `has ${v.length} entries for ${length} tokens`);
    return v;
  }

  blob(key: string): Uint8Array | undefined {
    const v = this.raw(key);
    return v instanceof Uint8Array || v instanceof Int8Array ? new Uint8Array(v.buffer, v.byteOffset, v.byteLength) : undefined;
  }

  /** A token id; ids outside of the vocabulary count as missing, since published files have them. */
  token(key: string, size: number): number | undefined {
    const v = this.raw(key);
    const id = typeof v === "bigint" ? Number(v) : v;
    return typeof id === "number" && id >= 0 && id < size ? id : undefined;
  }

  get modelName(): string {
    const v = this.map.get("general.name");
    return typeof v === "string" ? v.toLowerCase() : "";
  }
}

const bad = (key: string, what: string) =>
  new AlloyError("bad_file", `Metadata key tokenizer.ggml.${key} ${what}.`, {
    hint: "The file is damaged or was made by a faulty converter.",
  });

function readVocabulary(meta: Metadata): Vocabulary {
  const pieces = meta.strings("tokens");
  if (!pieces || pieces.length === 0) throw bad("tokens", "is missing or empty");
  const types = meta.numbers("token_type", pieces.length);
  const roles = new Uint8Array(pieces.length).fill(TokenType.normal);
  if (types) for (let i = 0; i < roles.length; i++) roles[i] = types[i] >= 1 && types[i] <= 6 ? types[i] : TokenType.normal;
  return new Vocabulary(pieces, roles);
}

function addedTokens(vocab: Vocabulary): AddedToken[] {
  const added: AddedToken[] = [];
  for (let id = 0; id < vocab.size; id++) {
    const t = vocab.types[id];
    if (t === TokenType.control || t === TokenType.unknown || t === TokenType.user)
      added.push({ id, text: vocab.pieces[id], special: t !== TokenType.user });
  }
  return added;
}

interface Defaults {
  bos?: number;
  eos?: number;
  addBos: boolean;
  addEos: boolean;
}

/** Special tokens with the defaults of the tokenizer's type where the file is silent. */
function specials(meta: Metadata, vocab: Vocabulary, d: Defaults) {
  const bos = meta.token("bos_token_id", vocab.size) ?? d.bos;
  const eos = meta.token("eos_token_id", vocab.size) ?? d.eos;
  const declared = [eos, meta.token("eot_token_id", vocab.size), meta.token("eom_token_id", vocab.size)];
  const addBos = meta.flag("add_bos_token") ?? d.addBos;
  const addEos = meta.flag("add_eos_token") ?? d.addEos;
  return {
    bos,
    eos,
    endTokens: endTokens(vocab, declared),
    prefix: addBos && bos !== undefined ? [bos] : [],
    suffix: addEos && eos !== undefined ? [eos] : [],
  };
}

function byteLevel(meta: Metadata, vocab: Vocabulary, warn: (message: string) => void): TokenizerParts {
  const name = meta.text("pre");
  const pre = preTokenizer(name);
  if (!pre.known) warn(`Unknown pre-tokenizer ${JSON.stringify(name)}: the default is used, and answers may be worse for it.`);
  const merges = meta.strings("merges");
  if (pre.spaces) return lineBpe(meta, vocab);
  return {
    kind: "bpe",
    vocab,
    added: addedTokens(vocab),
    normalize: pre.nfc ? (s) => s.normalize("NFC") : undefined,
    split: splitter(pre),
    model: new ByteBpe(vocab, { merges, ignoreMerges: pre.ignoreMerges ?? false }),
    decoder: { spelling: "bytes", stripLeadingSpace: false },
    ...specials(meta, vocab, { addBos: pre.addBos ?? false, addEos: false }),
  };
}

/** Gemma 4 and relatives: merge lists over SentencePiece spelling, line by line. */
function lineBpe(meta: Metadata, vocab: Vocabulary): TokenizerParts {
  return {
    kind: "bpe",
    vocab,
    added: addedTokens(vocab),
    normalize: (s) => s.replaceAll(" ", SPACE),
    split: splitter(preTokenizer("gemma4")),
    model: new CharBpe(vocab, {
      merges: meta.strings("merges"),
      ignoreMerges: false,
      byteFallback: true,
      unk: meta.token("unknown_token_id", vocab.size),
      fuseUnk: true,
    }),
    decoder: { spelling: "sentencepiece", stripLeadingSpace: false },
    ...specials(meta, vocab, { addBos: true, addEos: false }),
  };
}

function sentencePiece(meta: Metadata, vocab: Vocabulary): TokenizerParts {
  const scores = meta.numbers("scores", vocab.size);
  const prefix = meta.flag("add_space_prefix") ?? true;
  const added = addedTokens(vocab);
  if (/phi-?3/.test(meta.modelName)) {
    // Phi-3 takes the white space after its special tokens along; GGUF has no field for it.
    for (const t of added) if (!["<unk>", "<s>", "<|endoftext|>"].includes(t.text)) t.rstrip = true;
  }
  return {
    kind: "spm",
    vocab,
    added,
    normalize: (s) => (prefix ? SPACE : "") + s.replaceAll(" ", SPACE),
    model: new CharBpe(vocab, {
      scores: scores ?? new Float32Array(vocab.size),
      ignoreMerges: false,
      byteFallback: true,
      unk: meta.token("unknown_token_id", vocab.size) ?? 0,
      fuseUnk: true,
    }),
    decoder: { spelling: "sentencepiece", stripLeadingSpace: prefix },
    ...specials(meta, vocab, { bos: 1, eos: 2, addBos: true, addEos: false }),
  };
}

function bert(meta: Metadata, vocab: Vocabulary): TokenizerParts {
  const lowercase = meta.flag("normalizer.lowercase") ?? true;
  const cls = meta.token("cls_token_id", vocab.size) ?? meta.token("bos_token_id", vocab.size) ?? vocab.ids.get("[CLS]");
  const sep = meta.token("seperator_token_id", vocab.size) ?? meta.token("separator_token_id", vocab.size) ?? vocab.ids.get("[SEP]");
  return {
    kind: "wordpiece",
    vocab,
    added: addedTokens(vocab),
    normalize: bertNormalizer({
      cleanText: true,
      chineseChars: true,
      stripAccents: meta.flag("normalizer.strip_accents") ?? lowercase,
      lowercase,
    }),
    split: bertSplit,
    model: new WordPiece(vocab, {
      unk: meta.token("unknown_token_id", vocab.size) ?? vocab.ids.get("[UNK]") ?? 100,
      start: SPACE,
      continuation: "",
      maxChars: 100,
    }),
    decoder: { spelling: "wordpiece", stripLeadingSpace: true, wordStart: SPACE },
    bos: cls,
    eos: sep,
    endTokens: endTokens(vocab, [sep]),
    prefix: cls === undefined ? [] : [cls],
    suffix: sep === undefined ? [] : [sep],
  };
}

function unigram(meta: Metadata, vocab: Vocabulary): TokenizerParts {
  const map = meta.blob("precompiled_charsmap");
  const steps: Normalizer[] = map && map.byteLength > 0 ? [charsMap(map)] : [];
  if (meta.flag("remove_extra_whitespaces") ?? false) steps.push((s) => s.replace(/ +/g, " ").replace(/^ | $/g, ""));
  const prefix = meta.flag("add_space_prefix") ?? true;
  steps.push((s) => (s === "" ? "" : (prefix ? SPACE : "") + s.replaceAll(" ", SPACE)));
  return {
    kind: "spm",
    vocab,
    added: addedTokens(vocab),
    normalize: sequence(steps),
    model: new Unigram(vocab, {
      scores: meta.numbers("scores", vocab.size) ?? new Float32Array(vocab.size),
      unk: meta.token("unknown_token_id", vocab.size) ?? 2,
      byteFallback: false,
    }),
    decoder: { spelling: "sentencepiece", stripLeadingSpace: prefix },
    ...specials(meta, vocab, { eos: 1, addBos: false, addEos: true }),
  };
}
