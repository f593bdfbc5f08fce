/** What the server and the CLI see of an engine. The worker-backed engine, the in-process one and the scripted test model all implement it. */
import type { ChatDelta, ChatMessage, Thinking, ToolSpec } from "../chat/api.ts";

export interface SamplingParams {
  /** 0 = greedy. */
  temperature: number;
  /** 0 = off. */
  topK: number;
  /** 1 = off. */
  topP: number;
  /** 0 = off. */
  minP: number;
  /** 1 = off; multiplies/divides logits of tokens among the last `repeatLastN` (-1: whole context, 0: off). */
  repeatPenalty: number;
  repeatLastN: number;
  frequencyPenalty: number;
  presencePenalty: number;
  /** token id -> added to its logit; -100 or below bans, as OpenAI defines it. */
  logitBias: Record<number, number>;
  /** Same seed, same prompt, same options: same text, whatever else runs in the batch. Undefined: random. */
  seed?: number;
}

/** Dialect default where a request, the model file and the dialect say nothing. */
export const DEFAULT_SAMPLING: SamplingParams = {
  temperature: 1,
  topK: 0,
  topP: 1,
  minP: 0,
  repeatPenalty: 1,
  repeatLastN: 64,
  frequencyPenalty: 0,
  presencePenalty: 0,
  logitBias: {},
};

/** What an answer must look like. `param` is the request field that errors name. */
export type Constraint = { param: string } & (
  | /** Any JSON object. */ { kind: "json" }
  | { kind: "schema"; schema: unknown; /** Refuse keywords that cannot be enforced, rather than ignore them. */ strict: boolean }
  | { kind: "regex"; pattern: string }
  | { kind: "choice"; options: string[] }
  | /** EBNF or GBNF with the rule `root`. */ { kind: "ebnf"; text: string }
);

export type Prompt =
  | {
      kind: "chat";
      messages: ChatMessage[];
      tools?: ToolSpec[];
      /** Tools that the conversation itself has shown: they may be called, but are not in the prompt's list, whose change would spoil the cached prefix. */
      foundTools?: ToolSpec[];
      /** "required" and a name hold the answer to calls. */
      toolChoice?: "auto" | "none" | "required" | { name: string };
      /** No more than one call where calls are required. */
      singleCall?: boolean;
      thinking?: Thinking;
      /** Most tokens of reasoning; then it is closed, and the answer follows. */
      thinkingBudget?: number;
      continueLast?: boolean;
      /** Leave out the system message and the first messages that come with the model. */
      bare?: boolean;
      /** Chat template to render instead of the model's own. */
      template?: string;
      templateExtra?: Record<string, unknown>;
    }
  | {
      kind: "text";
      text: string;
      /** Add BOS etc. Default true. */
      addSpecial?: boolean;
      /** Read control tokens that the text spells out (`<|im_end|>`). Default true. */
      parseSpecial?: boolean;
    }
  | { kind: "ids"; ids: number[] };

export interface GenerateRequest {
  id: string;
  /** Resolved model reference as listed by `models()`. */
  model: string;
  prompt: Prompt;
  sampling: Partial<SamplingParams>;
  /** What the caller's dialect takes where neither the request nor the model file says anything. */
  samplingDefaults?: Partial<SamplingParams>;
  /** Undefined or larger than what is left of the window: to the window's end. */
  maxTokens?: number;
  stop?: string[];
  /** Holds the answer, reasoning aside, to a grammar. */
  constraint?: Constraint;
  /** Do not end at end-of-generation tokens. */
  ignoreEos?: boolean;
  /** Number of alternatives per token (0: only the chosen token's logprob); undefined: none. */
  logprobs?: number;
  /** Return the prompt's text in front (OpenAI completions `echo`). */
  echo?: boolean;
  /** Milliseconds since epoch after which the request fails with `timeout`. */
  deadline?: number;
  /** Milliseconds to keep the model loaded after this request; undefined leaves it, Infinity forever. */
  keepAlive?: number;
  /** A ceiling on this request's context window. */
  contextLimit?: number;
  /** Larger goes first; 0 where nothing is said. */
  priority?: number;
  /** Who asks. Among requests of equal priority, clients take turns. */
  client?: string;
}

export interface TokenLogprob {
  id: number;
  /** The token's text; may be half a character, then `bytes` tells. */
  token: string;
  bytes: number[];
  logprob: number;
  top: { id: number; token: string; bytes: number[]; logprob: number }[];
}

export type FinishReason = "stop" | "length" | "context" | "tool_calls" | "cancelled";

export interface Usage {
  promptTokens: number;
  /** Of the prompt tokens, those whose KV came from the cache. */
  cachedTokens: number;
  completionTokens: number;
  reasoningTokens: number;
}

export interface Timings {
  /** Milliseconds. */
  queued: number;
  load: number;
  prefill: number;
  decode: number;
  total: number;
}

export type GenerateEvent =
  /** Admitted and tokenised: headers may be sent. Always the first event. */
  | { type: "start"; promptTokens: number; /** Seed in use. */ seed: number; prompt?: string }
  /** Tokens of the prompt whose keys and values are there, `cached` of them because they were before. */
  | { type: "prefill"; done: number; total: number; cached: number }
  | { type: "delta"; delta: ChatDelta; logprobs?: TokenLogprob[] }
  | { type: "end"; reason: FinishReason; stop?: string; usage: Usage; timings: Timings; /** Completion token ids. */ ids: number[] };

/** How a model wants to be used, as the store that it lies in says. */
export interface ModelPreset {
  /** For conversations that begin without a system message. */
  system?: string;
  /** Every conversation begins with them. */
  messages?: { role: string; content: string }[];
  /** Sampling, stop strings, num_ctx and num_predict, as Ollama names them. */
  parameters?: Record<string, unknown>;
}

export interface ModelInfo {
  /** Name under which requests may ask for it. */
  name: string;
  path: string;
  format: "gguf" | "huggingface";
  architecture: string;
  parameters: number;
  fileBytes: number;
  quantization: string;
  contextLength: number;
  embeddingLength: number;
  capabilities: ("completion" | "tools" | "thinking" | "vision" | "embedding" | "insert")[];
  /** ISO time of the file's last change. */
  modified: string;
  /** Hex SHA-256 or a stable stand-in made from path, size and time. */
  digest: string;
  /** Chat template. */
  template?: string;
  /** What comes with the model beside its weights. */
  preset?: ModelPreset;
  license?: string;
  /** Selected metadata as GGUF names it, for /api/show `model_info`. */
  metadata: Record<string, unknown>;
}

export interface LoadedModel {
  name: string;
  info: ModelInfo;
  contextLength: number;
  memoryBytes: number;
  /** Milliseconds since epoch; undefined: never. */
  expires?: number;
  running: number;
  queued: number;
  /** What it computes on: "cpu", "metal". */
  device: string;
  /** Requests that may generate at once, and that may wait. */
  limits: { running: number; queued: number };
  /** The paged cache: blocks of so many tokens, how many of them running requests hold, and how many others hold cached prefixes. */
  cache: { blocks: number; blockTokens: number; used: number; cached: number; bytes: number; type: string };
  /** Since it was loaded. */
  work: ModelWork;
}

/** What a model's scheduler has done so far. */
export interface ModelWork {
  steps: number;
  /** Steps' requests that were past their prompt, summed up. */
  decoded: number;
  /** Requests that had to give their cache blocks back and wait again. */
  preemptions: number;
  /** Blocks of cached prefixes that were given to somebody else. */
  evictions: number;
  /** Tokens of all steps, and steps by how many they had: up to each of STEP_TOKENS, and more. */
  tokens: number;
  stepTokens: number[];
  /** Tokens that a grammar left no choice of, so that they were computed without being drawn. */
  forced: number;
  /** Grammars that were compiled or given up: seconds in all, and how many by their time, up to each of GRAMMAR_SECONDS and more. */
  grammarSeconds: number;
  grammars: number[];
}

/** Upper bounds of the histogram of a step's tokens. */
export const STEP_TOKENS: readonly number[] = [1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384];

/** Upper bounds of the histogram of grammars by the seconds that they took to compile. */
export const GRAMMAR_SECONDS: readonly number[] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

export const newWork = (): ModelWork => ({
  steps: 0,
  decoded: 0,
  preemptions: 0,
  evictions: 0,
  tokens: 0,
  stepTokens: [...STEP_TOKENS, Infinity].map(() => 0),
  forced: 0,
  grammarSeconds: 0,
  grammars: [...GRAMMAR_SECONDS, Infinity].map(() => 0),
});

/** How an engine that runs elsewhere fares. */
export interface EngineHealth {
  /** starting: it died and is being started again; what is asked of it waits. down: it did not stay up; the next request starts it. */
  state: "up" | "starting" | "down";
  /** Deaths so far. */
  restarts: number;
  /** `time` in milliseconds since epoch. */
  lastDeath?: { time: number; why: string };
  /** Of its own process, if it has one. */
  pid?: number;
}

export interface Engine {
  /** Installed models. Cheap; never waits for generation. */
  models(): Promise<ModelInfo[]>;
  /** Info of one model by any accepted reference; throws `model_not_found`. */
  model(reference: string): Promise<ModelInfo>;
  loaded(): Promise<LoadedModel[]>;
  /** Missing where it cannot die alone. */
  health?(): EngineHealth;
  /** Load ahead of use (or just touch keep-alive). */
  load(reference: string, keepAlive?: number): Promise<void>;
  unload(reference: string): Promise<void>;
  /**
   * Runs one request. Aborting `signal` cancels it within a step. Throws AlloyError (possibly after events).
   * The returned iterator's `return()` cancels as well.
   */
  generate(request: GenerateRequest, signal?: AbortSignal): AsyncIterableIterator<GenerateEvent>;
  /** Token ids of a prompt as `generate` would see it. Does not need a KV slot. */
  tokenize(model: string, prompt: Prompt): Promise<{ ids: number[]; text?: string }>;
  detokenize(model: string, ids: number[]): Promise<string>;
  /** Bytes of each token as they appear in running text; may be parts of characters. */
  tokenBytes(model: string, ids: number[]): Promise<Uint8Array[]>;
  /** Stops admitting, lets running requests finish up to `graceMs`, then cancels them and frees everything. */
  close(graceMs?: number): Promise<void>;
}
