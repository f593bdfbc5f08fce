/** Normaliser and pre-tokenizer steps of tokenizer.json. */
import { AlloyError } from "../support/errors.ts";
import { SPACE } from "./char-bpe.ts";
import { bertNormalizer, charsMap, lowercase, type Normalizer, sequence } from "./normalize.ts";
import { GPT2_PATTERN } from "./pretokenizers.ts";
import { toRegExp } from "./regex.ts";
import { chain, isolate, split, type SplitBehavior, type Splitter } from "./split.ts";
import { bertSplit } from "./wordpiece.ts";

export type Json = Record<string, unknown>;

/** `v` as an object, array or string; empty (undefined for text) when it is something else. */
export const object = (v: unknown): Json => (v !== null && typeof v === "object" && !Array.isArray(v) ? (v as Json) : {});
export const list = (v: unknown): unknown[] => (Array.isArray(v) ? v : []);
export const text = (v: unknown): string | undefined => (typeof v === "string" ? v : undefined);

/** A step or, for type "Sequence", its steps (listed under `member`), flattened. */
export function steps(v: unknown, member: string): Json[] {
  const step = object(v);
  if (step.type === undefined) return [];
  return step.type === "Sequence" ? list(step[member]).flatMap((s) => steps(s, member)) : [step];
}

const unsupported = (what: string, type: unknown) =>
  new AlloyError("unsupported_model", `tokenizer.json: ${what} ${JSON.stringify(type)} is not supported.`, {
    hint: "Use a GGUF conversion of this model.",
  });

/** A pattern, given as plain text or as regular expression. */
function pattern(v: unknown): RegExp {
  const p = object(v);
  const plain = text(p.String) ?? text(v);
  return plain === undefined ? toRegExp(text(p.Regex) ?? "") : new RegExp(plain.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"), "gu");
}

const NORMALIZERS: Record<string, (s: Json) => Normalizer | undefined> = {
  NFC: () => (t) => t.normalize("NFC"),
  NFD: () => (t) => t.normalize("NFD"),
  NFKC: () => (t) => t.normalize("NFKC"),
  NFKD: () => (t) => t.normalize("NFKD"),
  Lowercase: () => lowercase,
  StripAccents: () => (t) => t.replace(/\p{Mn}/gu, ""),
  Strip: (s) => (t) => {
    const left = s.strip_left === false ? t : t.replace(/^\p{White_Space}+/u, "");
    return s.strip_right === false ? left : left.trimEnd();
  },
  Prepend: (s) => (t) => (t === "" ? "" : (text(s.prepend) ?? "") + t),
  Replace: (s) => {
    const re = pattern(s.pattern);
    const content = text(s.content) ?? "";
    return (t) => t.replace(re, () => content);
  },
  BertNormalizer: (s) =>
    bertNormalizer({
      cleanText: s.clean_text !== false,
      chineseChars: s.handle_chinese_chars !== false,
      stripAccents: typeof s.strip_accents === "boolean" ? s.strip_accents : s.lowercase !== false,
      lowercase: s.lowercase !== false,
    }),
  Precompiled: (s) => charsMap(Buffer.from(text(s.precompiled_charsmap) ?? "", "base64")),
  // The byte alphabet is the model's business.
  ByteLevel: () => undefined,
};

export function normalizerOf(v: unknown): Normalizer | undefined {
  const made: Normalizer[] = [];
  for (const s of steps(v, "normalizers")) {
    const make = NORMALIZERS[String(s.type)];
    if (!make) throw unsupported("normalizer", s.type);
    const n = make(s);
    if (n) made.push(n);
  }
  return sequence(made);
}

const SPLITTERS: Record<string, (s: Json) => Splitter[]> = {
  ByteLevel: (s) => [
    ...(s.add_prefix_space === true ? [prefixSpace] : []),
    ...(s.use_regex === false ? [] : [isolate(toRegExp(GPT2_PATTERN))]),
  ],
  Split: (s) => [split(pattern(s.pattern), (text(s.behavior) ?? "Isolated") as SplitBehavior, s.invert === true)],
  Digits: (s) => [split(s.individual_digits === true ? /\p{N}/gu : /\p{N}+/gu, s.individual_digits === true ? "Isolated" : "Contiguous")],
  Punctuation: (s) => [split(/[!-/:-@[-`{-~\p{P}]/gu, (text(s.behavior) ?? "Isolated") as SplitBehavior)],
  Whitespace: () => [split(/[\p{L}\p{M}\p{Nd}\p{Pc}]+|[^\p{L}\p{M}\p{Nd}\p{Pc}\p{White_Space}]+/gu, "Removed", true)],
  WhitespaceSplit: () => [split(/\p{White_Space}+/gu, "Removed")],
  CharDelimiterSplit: (s) => [split(pattern(s.delimiter), "Removed")],
  BertPreTokenizer: () => [bertSplit],
  Metaspace: (s) => metaspace(s),
};

const prefixSpace: Splitter = (t, out) => void out.push(/^\p{White_Space}/u.test(t) ? t : ` ${t}`);

function metaspace(s: Json): Splitter[] {
  const mark = text(s.replacement) ?? SPACE;
  const scheme = text(s.prepend_scheme) ?? (s.add_prefix_space === false ? "never" : "always");
  const mapped: Splitter = (t, out, first) => {
    const marked = t.replaceAll(" ", mark);
    const prepend = (scheme === "always" || (scheme === "first" && first)) && !marked.startsWith(mark);
    out.push(prepend ? mark + marked : marked);
  };
  return s.split === false ? [mapped] : [mapped, split(pattern({ String: mark }), "MergedWithNext")];
}

export function splitterOf(list: readonly Json[]): Splitter | undefined {
  const made: Splitter[] = [];
  for (const s of list) {
    const make = SPLITTERS[String(s.type)];
    if (!make) throw unsupported("pre-tokenizer", s.type);
    made.push(...make(s));
  }
  return made.length > 0 ? chain(made) : undefined;
}
