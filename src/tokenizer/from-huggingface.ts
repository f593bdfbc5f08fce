/** Tokenizers from tokenizer.json (and tokenizer_config.json, generation_config.json) of a Hugging Face folder. */
import type { HfConfig } from "../formats/weights.ts";
import { AlloyError } from "../support/errors.ts";
import type { AddedToken } from "./added.ts";
import { ByteBpe } from "./byte-bpe.ts";
import { CharBpe, SPACE } from "./char-bpe.ts";
import type { DecoderOptions } from "./decode.ts";
import { endTokens } from "./ends.ts";
import { list, type Json, normalizerOf, object, splitterOf, steps, text } from "./hf-steps.ts";
import type { WordModel } from "./model.ts";
import type { TokenizerParts } from "./tokenizer.ts";
import { Unigram } from "./unigram.ts";
import { TokenType, Vocabulary } from "./vocabulary.ts";
import { WordPiece } from "./wordpiece.ts";

export function fromHuggingFace(config: HfConfig, warn: (message: string) => void): TokenizerParts {
  const json = object(config.tokenizer);
  const model = object(json.model);
  const type = text(model.type) ?? (Array.isArray(model.vocab) ? "Unigram" : model.merges ? "BPE" : "WordPiece");
  const added = list(json.added_tokens).map(readAdded);
  const { vocab, scores } = readVocabulary(model, added);
  const isByte = (s: Json) => s.type === "ByteLevel";
  const preSteps = steps(json.pre_tokenizer, "pretokenizers");
  const byteLevel =
    preSteps.some(isByte) || steps(json.normalizer, "normalizers").some(isByte) || steps(json.decoder, "decoders").some(isByte);
  const kind = type === "WordPiece" ? "wordpiece" : type === "BPE" && byteLevel ? "bpe" : "spm";
  const ends = endIds(config, vocab);
  return {
    kind,
    vocab,
    added,
    normalize: normalizerOf(json.normalizer),
    split: splitterOf(preSteps),
    model: readModel(type, model, vocab, scores, byteLevel),
    decoder: readDecoder(type, model, json, byteLevel),
    bos: tokenId(config, vocab, "bos"),
    eos: tokenId(config, vocab, "eos"),
    endTokens: ends,
    ...readTemplate(json, config, vocab, warn),
  };
}

function readAdded(entry: unknown): AddedToken {
  const t = object(entry);
  if (typeof t.id !== "number" || typeof t.content !== "string" || t.id < 0)
    throw new AlloyError("bad_file", `tokenizer.json: an added token has no id or content: ${JSON.stringify(entry).slice(0, 100)}.`);
  return {
    id: t.id,
    text: t.content,
    special: t.special === true,
    lstrip: t.lstrip === true,
    rstrip: t.rstrip === true,
    singleWord: t.single_word === true,
    normalized: t.normalized === true,
  };
}

/** Ids beyond this are a damaged file, not a vocabulary. */
const MAX_VOCAB = 1 << 22;

function readVocabulary(model: Json, added: readonly AddedToken[]): { vocab: Vocabulary; scores?: Float64Array } {
  const entries: [string, number][] = [];
  let scores: Float64Array | undefined;
  if (Array.isArray(model.vocab)) {
    scores = new Float64Array(model.vocab.length);
    for (let i = 0; i < model.vocab.length; i++) {
      const [piece, score] = list(model.vocab[i]);
      entries.push([String(piece), i]);
      scores[i] = Number(score);
    }
  } else for (const [piece, id] of Object.entries(object(model.vocab))) entries.push([piece, id as number]);
  let size = 0;
  for (const id of [...entries.map((e) => e[1]), ...added.map((t) => t.id)]) {
    if (!Number.isInteger(id) || id < 0) throw new AlloyError("bad_file", `tokenizer.json: ${JSON.stringify(id)} is not a token id.`);
    size = Math.max(size, id + 1);
  }
  if (!(size > 0 && size <= MAX_VOCAB))
    throw new AlloyError("bad_file", `tokenizer.json: a vocabulary of ${size} entries is not plausible.`);
  const pieces: string[] = Array.from({ length: size }, () => "");
  const types = new Uint8Array(size).fill(TokenType.normal);
  for (const [piece, id] of entries) pieces[id] = piece;
  const fallback = model.byte_fallback === true;
  if (fallback) for (let id = 0; id < size; id++) if (/^<0x[0-9A-F]{2}>$/.test(pieces[id])) types[id] = TokenType.byte;
  for (const t of added) {
    pieces[t.id] = t.text;
    types[t.id] = t.special ? TokenType.control : TokenType.user;
  }
  return { vocab: new Vocabulary(pieces, types), scores };
}

function readModel(type: string, model: Json, vocab: Vocabulary, scores: Float64Array | undefined, byteLevel: boolean): WordModel {
  const unkText = text(model.unk_token);
  const unk = unkText === undefined ? undefined : vocab.ids.get(unkText);
  if (type === "BPE") {
    const merges = list(model.merges).map((m) => (Array.isArray(m) ? `${m[0]} ${m[1]}` : String(m)));
    const ignoreMerges = model.ignore_merges === true;
    if (byteLevel) return new ByteBpe(vocab, { merges, ignoreMerges });
    return new CharBpe(vocab, { merges, ignoreMerges, byteFallback: model.byte_fallback === true, unk, fuseUnk: model.fuse_unk === true });
  }
  if (type === "WordPiece") {
    return new WordPiece(vocab, {
      unk: unk ?? 0,
      start: "",
      continuation: text(model.continuing_subword_prefix) ?? "##",
      maxChars: typeof model.max_input_chars_per_word === "number" ? model.max_input_chars_per_word : 100,
    });
  }
  if (type === "Unigram" && scores) {
    const padded = new Float64Array(vocab.size);
    padded.set(scores);
    return new Unigram(vocab, {
      scores: padded,
      unk: typeof model.unk_id === "number" ? model.unk_id : 0,
      byteFallback: model.byte_fallback === true,
    });
  }
  throw new AlloyError("unsupported_model", `tokenizer.json: model type ${JSON.stringify(type)} is not supported.`, {
    hint: "Supported are BPE, WordPiece and Unigram.",
  });
}

function readDecoder(type: string, model: Json, json: Json, byteLevel: boolean): DecoderOptions {
  if (byteLevel) return { spelling: "bytes", stripLeadingSpace: false };
  if (type === "WordPiece") {
    return {
      spelling: "wordpiece",
      stripLeadingSpace: true,
      wordStart: "",
      continuation: text(model.continuing_subword_prefix) ?? "##",
    };
  }
  const decoders = steps(json.decoder, "decoders");
  const metaspace = decoders.find((d) => d.type === "Metaspace");
  const strips = decoders.some((d) => d.type === "Strip" && d.start === 1) || (metaspace && metaspace.prepend_scheme !== "never");
  const spaced = metaspace !== undefined || decoders.some((d) => d.type === "Replace" && object(d.pattern).String === SPACE);
  return { spelling: spaced || model.byte_fallback === true ? "sentencepiece" : "plain", stripLeadingSpace: strips === true };
}

/** Id of a special token by tokenizer_config.json, else by config.json and generation_config.json. BERT calls them CLS and SEP. */
function tokenId(config: HfConfig, vocab: Vocabulary, which: "bos" | "eos"): number | undefined {
  for (const key of [`${which}_token`, which === "bos" ? "cls_token" : "sep_token"]) {
    const named = config.tokenizerConfig?.[key];
    const name = text(named) ?? text(object(named).content);
    const id = name === undefined ? undefined : vocab.ids.get(name);
    if (id !== undefined) return id;
  }
  for (const source of [config.config, object(config.config.text_config), config.generation]) {
    const id = source?.[`${which}_token_id`];
    const first = Array.isArray(id) ? id[0] : id;
    if (typeof first === "number" && first < vocab.size) return first;
  }
  return undefined;
}

function endIds(config: HfConfig, vocab: Vocabulary): Set<number> {
  const declared: (number | undefined)[] = [tokenId(config, vocab, "eos")];
  for (const source of [config.generation, config.config, object(config.config.text_config)]) {
    const id = source?.eos_token_id;
    for (const one of Array.isArray(id) ? id : [id]) if (typeof one === "number") declared.push(one);
  }
  return endTokens(vocab, declared);
}

/** Ids around a text, from the post-processor. */
function readTemplate(
  json: Json,
  config: HfConfig,
  vocab: Vocabulary,
  warn: (message: string) => void,
): { prefix: number[]; suffix: number[] } {
  const prefix: number[] = [];
  const suffix: number[] = [];
  const processors = steps(json.post_processor, "processors");
  for (const p of processors) {
    if (p.type === "TemplateProcessing") {
      let side = prefix;
      for (const part of list(p.single)) {
        const token = object(object(part).SpecialToken).id;
        if (object(part).Sequence) side = suffix;
        else if (typeof token === "string") side.push(...list(object(object(p.special_tokens)[token]).ids).map(Number));
      }
    } else if (p.type === "RobertaProcessing" || p.type === "BertProcessing") {
      prefix.push(Number(list(p.cls)[1]));
      suffix.push(Number(list(p.sep)[1]));
    } else if (p.type !== "ByteLevel") warn(`tokenizer.json: post-processor ${JSON.stringify(p.type)} is not known and left out.`);
  }
  if (!processors.some((p) => p.type !== "ByteLevel") && config.tokenizerConfig?.add_bos_token === true) {
    const bos = tokenId(config, vocab, "bos");
    if (bos !== undefined) prefix.push(bos);
  }
  const known = (id: number) => id >= 0 && id < vocab.size;
  return { prefix: prefix.filter(known), suffix: suffix.filter(known) };
}
