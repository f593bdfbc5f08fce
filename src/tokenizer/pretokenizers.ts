/**
 * Pre-tokenizers of byte-level BPE by the name that GGUF files give them (`tokenizer.ggml.pre`). The expressions are those
 * of the models' own tokenizer.json files.
 */
import { toRegExp } from "./regex.ts";
import { digitsFromRight, isolate, rememberingChain, type Splitter } from "./split.ts";

export interface PreTokenizer {
  /** Expressions applied one after another; "digits-from-right" is a step of its own. */
  steps: readonly string[];
  /** Words that are vocabulary entries are taken whole. */
  ignoreMerges?: boolean;
  /** BOS is added unless the file says otherwise. */
  addBos?: boolean;
  /** The model's tokenizer normalises to NFC first. */
  nfc?: boolean;
  /** SentencePiece spelling ("▁" for space, "<0x0A>" for bytes) instead of the byte alphabet. */
  spaces?: boolean;
}

/** A step that no regular expression can do in linear time. */
const DIGITS_FROM_RIGHT = "digits-from-right";

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const TAIL = " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const GPT2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const LLAMA3 = `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|${TAIL}`;
const QWEN2 = `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|${TAIL}`;
const QWEN35 = `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;
const UPPER = "\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}";
const LOWER = "\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}";
/** Words by case (o200k, Tekken): capitals then small letters. */
const cased = (suffix: string) =>
  `[^\\r\\n\\p{L}\\p{N}]?[${UPPER}]*[${LOWER}]+${suffix}|[^\\r\\n\\p{L}\\p{N}]?[${UPPER}]+[${LOWER}]*${suffix}`;
const CASED_TAIL = " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const O200K = `${cased(`${CONTRACTIONS}?`)}|\\p{N}{1,3}|${CASED_TAIL}`;
const TEKKEN = `${cased("")}|\\p{N}|${CASED_TAIL}`;
const NOT_HAN = (set: string) => `[[${set}]&&[^\\p{Han}]]`;
const KIMI = [
  "[\\p{Han}]+",
  `[^\\r\\n\\p{L}\\p{N}]?${NOT_HAN(UPPER)}*${NOT_HAN(LOWER)}+${CONTRACTIONS}?`,
  `[^\\r\\n\\p{L}\\p{N}]?${NOT_HAN(UPPER)}+${NOT_HAN(LOWER)}*${CONTRACTIONS}?`,
  "\\p{N}{1,3}",
  TAIL,
].join("|");
const BLOOM = " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+";
const DEEPSEEK_WORDS =
  "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const CJK = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+";
/** Letters of the cased scripts, as the DeepSeek tokenizers of 2023 list them. */
const DEEPSEEK_LETTERS =
  "\\s?[A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\u{10400}-\u{1044f}\u{104b0}-\u{104d3}\u{104d8}-\u{104fb}\u{10c80}-\u{10cb2}\u{10cc0}-\u{10cf2}\u{118a0}-\u{118df}\u{1e900}-\u{1e943}]+";
/** A range of CJK and Hangul that the DeepSeek tokenizers of 2023 write in exactly this way. */
const DEEPSEEK_CJK = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+";
const LINES = "[^\\n]+|[\\n]+";

const gpt2: PreTokenizer = { steps: [GPT2] };
const llama3: PreTokenizer = { steps: [LLAMA3], ignoreMerges: true, addBos: true };
const llama3Plain: PreTokenizer = { steps: [LLAMA3] };
const qwen2: PreTokenizer = { steps: [QWEN2], nfc: true };
const qwen2Plain: PreTokenizer = { steps: [QWEN2] };
const starcoder: PreTokenizer = { steps: ["\\p{N}", GPT2] };
const o200k: PreTokenizer = { steps: [O200K] };
const bloom: PreTokenizer = { steps: [BLOOM] };
const deepseek3: PreTokenizer = { steps: ["\\p{N}{1,3}", CJK, DEEPSEEK_WORDS] };
const bailing: PreTokenizer = {
  steps: ["'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"],
};
const tinyAya: PreTokenizer = { steps: [DIGITS_FROM_RIGHT, O200K] };
/** SentencePiece-like BPE without byte alphabet. */
const lines: PreTokenizer = { steps: [LINES], spaces: true };

/** What llama.cpp does with files that name no pre-tokenizer, and Alloy with names it does not know. */
const FALLBACK: PreTokenizer = { steps: ["[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"] };

const TABLE: Readonly<Record<string, PreTokenizer>> = {
  default: FALLBACK,
  "gpt-2": gpt2,
  "phi-2": gpt2,
  "jina-es": gpt2,
  "jina-de": gpt2,
  "jina-v1-en": gpt2,
  "jina-v2-es": gpt2,
  "jina-v2-de": gpt2,
  "jina-v2-code": gpt2,
  "roberta-bpe": gpt2,
  gigachat: gpt2,
  "a.x-4.0": gpt2,
  mellum: gpt2,
  "modern-bert": gpt2,
  exaone4: gpt2,
  mpt: gpt2,
  olmo: gpt2,
  jais: gpt2,
  trillion: gpt2,
  "granite-docling": gpt2,
  llama3,
  "llama-v3": llama3,
  "llama-bpe": llama3,
  falcon3: llama3,
  "falcon-h1": llama3,
  pixtral: llama3,
  "midm-2.0": llama3,
  lfm2: llama3,
  "jina-v5-nano": llama3,
  dbrx: llama3Plain,
  "smaug-bpe": llama3Plain,
  glm4: llama3Plain,
  "chatglm-bpe": llama3Plain,
  "jais-2": {
    steps: [
      `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|${[512, 256, 128, 64, 32, 16, 8, 4].map((n) => `\\s{${n}}(?!\\S)`).join("|")}|\\s{1,2}(?!\\S)|\\s{1}`,
    ],
  },
  qwen2,
  "deepseek-r1-qwen": qwen2,
  kormo: qwen2,
  f2llmv2: qwen2,
  megrez: qwen2Plain,
  stablelm2: qwen2Plain,
  hunyuan: qwen2Plain,
  "solar-open": qwen2Plain,
  "grok-2": qwen2Plain,
  qwen35: { steps: [QWEN35], nfc: true },
  "deepseek-llm": {
    steps: [
      "[\\r\\n]",
      DEEPSEEK_LETTERS,
      "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
      "\\s+$",
      DEEPSEEK_CJK,
      "\\p{N}+",
    ],
  },
  "deepseek-coder": { steps: ["[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", DEEPSEEK_CJK, "\\p{N}"] },
  "deepseek-v3": deepseek3,
  "hunyuan-dense": deepseek3,
  "joyai-llm": deepseek3,
  youtu: {
    steps: [
      "[\uac00-\ud7a3\u3131-\u318e]+|[\uff01\u2026\u201c\u201d\u2018\u2019\u2014\uff1a\uff1b\uff0c\u3001-\u303f\ufe30-\ufe4f]+|[\u3105-\u312f]+|[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
      `${cased(`${CONTRACTIONS}?`)}|\\p{N}|${CASED_TAIL}`,
    ],
    ignoreMerges: true,
  },
  falcon: { steps: ["[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, "[0-9][0-9][0-9]"] },
  starcoder,
  refact: starcoder,
  "command-r": starcoder,
  smollm: starcoder,
  codeshell: starcoder,
  exaone: starcoder,
  "minerva-7b": starcoder,
  mellum2: starcoder,
  tekken: { steps: [TEKKEN], ignoreMerges: true, addBos: true },
  "gpt-4o": o200k,
  o200k,
  llama4: o200k,
  kanana2: o200k,
  talkie: o200k,
  "minimax-m2": o200k,
  "granite-embed-multi-97m": { steps: [O200K], ignoreMerges: true },
  tiny_aya: tinyAya,
  cohere2moe: tinyAya,
  "kimi-k2": { steps: [KIMI] },
  superbpe: { steps: ["\\p{N}+", DIGITS_FROM_RIGHT] },
  afmoe: {
    steps: [
      DIGITS_FROM_RIGHT,
      "[\u4e00-\u9fff\u3400-\u4dbf\uf900-\ufaff\u3040-\u309f\u30a0-\u30ff\uff65-\uff9f\u2f00-\u2fdf\u0e40-\u0e7f\u0e80-\u0eff\u1780-\u17ff\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff\uac00-\ud7af\u1100-\u11ff]+",
      DEEPSEEK_WORDS,
    ],
  },
  "poro-chat": bloom,
  bloom,
  "gpt3-finnish": bloom,
  viking: { steps: [BLOOM, "\\p{N}"] },
  chameleon: {
    steps: ["<sentinel:[0-9]+>", "(?:IMGIMG)(?:[A-I]{1,4})Z", "[\\t\\n]|    |  ", "\\p{N}", "[\\p{P}!-/:-@\\[-`{-~]", GPT2],
    addBos: true,
  },
  bailingmoe: bailing,
  bailingmoe2: bailing,
  "llada-moe": bailing,
  "seed-coder": {
    steps: [`${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`],
  },
  laguna: { steps: [LINES, QWEN2] },
  minicpm5: { steps: ["\\p{N}{1,3}", `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}+|${TAIL}`], ignoreMerges: true },
  "exaone-moe": {
    steps: [
      `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+`,
    ],
  },
  gemma4: lines,
  "granite-embed-multi-311m": lines,
  "sarvam-moe": lines,
};

/** The pre-tokenizer of a GGUF name; `known` is false when the name is not in the table and the default stands in. */
export function preTokenizer(name: string | undefined): PreTokenizer & { known: boolean } {
  const found = name !== undefined && Object.hasOwn(TABLE, name) ? TABLE[name] : undefined;
  return { ...(found ?? FALLBACK), known: found !== undefined || name === undefined };
}

/** Names in the table, for tests and messages. */
export const PRE_TOKENIZER_NAMES: readonly string[] = Object.keys(TABLE);

/** The table entry as a function. */
export function splitter(pre: PreTokenizer): Splitter {
  return rememberingChain(pre.steps.map((s) => (s === DIGITS_FROM_RIGHT ? digitsFromRight : isolate(toRegExp(s)))));
}

/** The expression of GPT-2, which tokenizer.json calls ByteLevel. */
export const GPT2_PATTERN = GPT2;
