/** Small stand-ins for the engine's parts: a byte tokenizer, and a language model whose next token depends on everything in its KV cache. */
import type { ChatFormat } from "../../src/chat/api.ts";
import { hermes } from "../../src/chat/formats/hermes.ts";
import type { GenerateEvent, GenerateRequest, ModelInfo } from "../../src/engine/api.ts";
import type { EngineParts } from "../../src/engine/parts.ts";
import type { ModelFile } from "../../src/formats/weights.ts";
import type { ModelRunner, RunnerOptions, SequenceStep, StepResult } from "../../src/models/api.ts";
import type { Device } from "../../src/runtime/device.ts";
import { AlloyError } from "../../src/support/errors.ts";
import type { Tokenizer } from "../../src/tokenizer/api.ts";
import { sampleTwin } from "../kernels/sample-twin.ts";

const EOS = 256;
export const VOCAB = 258;

/** Every byte is a token; 256 ends a generation, 257 is a control token. */
export const byteTokenizer: Tokenizer = {
  kind: "bpe",
  vocabSize: VOCAB,
  eos: EOS,
  endTokens: new Set([EOS]),
  addBos: false,
  addEos: false,
  encode: (text) => [...new TextEncoder().encode(text)],
  decode: (ids) => new TextDecoder().decode(Uint8Array.from(Array.from(ids).filter((i) => i < 256))),
  bytes: (id) => (id < 256 ? Uint8Array.of(id) : new TextEncoder().encode(`<${id}>`)),
  piece: (id) => (id < 256 ? String.fromCharCode(id) : `<${id}>`),
  id: (piece) => (piece.length === 1 ? piece.charCodeAt(0) : undefined),
  isSpecial: (id) => id >= 256,
  stream: () => {
    const decoder = new TextDecoder();
    return {
      push: (id) => (id < 256 ? decoder.decode(Uint8Array.of(id), { stream: true }) : ""),
      flush: () => decoder.decode(),
    };
  },
};

export const BLOCK = 4;

export interface FakeRunnerOptions {
  maxSequences?: number;
  maxBatchTokens?: number;
  kvTokens?: number;
  contextLength?: number;
  /** Milliseconds that a step takes, and more for each of its tokens. */
  stepMs?: number;
  msPerToken?: number;
  /** Logits in place of the hash's. */
  logits?: (context: number[]) => Float32Array;
  onStep?: (sequences: readonly SequenceStep[]) => void;
}

/** Keeps tokens where a real model keeps keys and values, so that a block used wrongly changes the text. */
export class FakeRunner implements ModelRunner {
  readonly architecture = "fake";
  readonly vocabSize = VOCAB;
  readonly contextLength: number;
  readonly maxBatchTokens: number;
  readonly maxSequences: number;
  readonly blockTokens = BLOCK;
  readonly blockCount: number;
  readonly memoryBytes = 1000;
  readonly cache: Int32Array;
  steps = 0;
  /** Tokens that went through `step`. */
  computed = 0;
  largestBatch = 0;
  closed = false;

  constructor(
    o: RunnerOptions,
    private readonly fake: FakeRunnerOptions,
  ) {
    this.contextLength = fake.contextLength ?? o.contextLength;
    this.maxBatchTokens = fake.maxBatchTokens ?? o.maxBatchTokens ?? 64;
    this.maxSequences = fake.maxSequences ?? o.maxSequences ?? 64;
    this.blockCount = Math.ceil((fake.kvTokens ?? o.kvTokens) / BLOCK);
    this.cache = new Int32Array(this.blockCount * BLOCK).fill(-1);
  }

  async step(sequences: readonly SequenceStep[]): Promise<StepResult> {
    if (this.closed) throw new Error("step after close");
    this.steps++;
    this.largestBatch = Math.max(this.largestBatch, sequences.length);
    const batch = sequences.reduce((n, s) => n + s.tokens.length, 0);
    if (batch > this.maxBatchTokens) throw new Error(`${batch} tokens in a step of at most ${this.maxBatchTokens}`);
    if (sequences.length > this.maxSequences) throw new Error(`${sequences.length} sequences in a step of at most ${this.maxSequences}`);
    this.computed += batch;
    this.fake.onStep?.(sequences);
    const slot = (s: SequenceStep, i: number): number => s.blocks[Math.floor(i / BLOCK)] * BLOCK + (i % BLOCK);
    for (const s of sequences) s.tokens.forEach((t, i) => (this.cache[slot(s, s.start + i)] = t));
    const rows = sequences
      .filter((s) => s.outputs === "last")
      .map((s) => {
        const context = Array.from({ length: s.start + s.tokens.length }, (_, i) => this.cache[slot(s, i)]);
        const logits = (this.fake.logits ?? hashLogits)(context);
        const { token, logSumExp } = s.sampling ? sampleTwin(logits, s.sampling) : { token: -1, logSumExp: 0 };
        return { logits, token, logSumExp };
      });
    const { stepMs = 0, msPerToken = 0 } = this.fake;
    if (stepMs + msPerToken > 0) await Bun.sleep(stepMs + batch * msPerToken);
    return {
      tokens: Int32Array.from(rows, (r) => r.token),
      logSumExp: Float32Array.from(rows, (r) => r.logSumExp),
      logits: (row) => rows[row].logits,
    };
  }

  copyBlock(from: number, to: number): void {
    this.cache.copyWithin(to * BLOCK, from * BLOCK, (from + 1) * BLOCK);
  }

  close(): void {
    this.closed = true;
  }
}

/** Letters with a few likely ones, all depending on the whole context; now and then the end. */
export function hashLogits(context: number[]): Float32Array {
  let h = 2166136261;
  for (const t of context) h = Math.imul(h ^ t, 16777619);
  const logits = new Float32Array(VOCAB).fill(-30);
  for (let id = 97; id < 123; id++) {
    h = Math.imul(h ^ (h >>> 13), 0x5bd1e995) ^ id;
    logits[id] = ((h >>> 0) % 1000) / 250;
  }
  if ((h >>> 0) % 40 === 0) logits[EOS] = 20;
  return logits;
}

/** A model that writes `answer` after any prompt that ends in "?" and what follows it, then ends. */
export function scripted(answer: string): (context: number[]) => Float32Array {
  return (context) => {
    const bytes = byteTokenizer.encode(answer);
    const at = context.length - 1 - context.lastIndexOf("?".charCodeAt(0));
    const logits = new Float32Array(VOCAB).fill(-10);
    logits[at < bytes.length ? bytes[at] : EOS] = 10;
    return logits;
  };
}

export const modelInfo = (name: string): ModelInfo => ({
  name,
  path: `/models/${name}`,
  format: "gguf",
  architecture: "fake",
  parameters: 1,
  fileBytes: 1000,
  quantization: "F32",
  contextLength: 4096,
  embeddingLength: 8,
  capabilities: ["completion"],
  modified: "2026-01-01T00:00:00Z",
  digest: name,
  metadata: {},
});

/** `role:content|`, then `assistant:`; `<think>` text is reasoning. */
export const fakeChat: ChatFormat = {
  toolFormat: "fake",
  capabilities: { tools: true, thinking: true, system: true },
  template: "",
  grammar: hermes.grammar,
  callMarkers: hermes.openers,
  stops: ["|"],
  render: (messages) => ({ text: `${messages.map((m) => `${m.role}:${m.content}|`).join("")}assistant:?`, startsInReasoning: false }),
  parser: ({ tools }) => {
    let all = "";
    return {
      push: (text) => {
        all += text;
        return [];
      },
      finish: () => {
        const [, reasoning, rest] = /^(?:<think>(.*?)<\/think>)?(.*)$/s.exec(all)!;
        const call = tools.find((t) => rest === `CALL ${t.name}`);
        return [
          ...(reasoning ? [{ type: "reasoning" as const, text: reasoning }] : []),
          ...(call
            ? [
                { type: "tool_call_start" as const, index: 0, id: "call_1", name: call.name },
                { type: "tool_call_arguments" as const, index: 0, text: "{}" },
                { type: "tool_call_end" as const, index: 0 },
              ]
            : rest
              ? [{ type: "text" as const, text: rest }]
              : []),
        ];
      },
    };
  },
};

export interface FakeEngine {
  parts: EngineParts;
  runners: FakeRunner[];
  device: { closed: boolean };
}

/** Parts with any number of models, all alike; a name that starts with "missing" is not there. Nothing is loaded before `loading` is settled. */
export function fakeParts(
  o: FakeRunnerOptions & { freeMemory?: () => number; loadMs?: number; loading?: Promise<void>; chat?: ChatFormat } = {},
): FakeEngine {
  const runners: FakeRunner[] = [];
  const device = { closed: false };
  const parts: EngineParts = {
    createDevice: () => ({ properties: { kind: "cpu" }, close: () => (device.closed = true) }) as unknown as Device,
    freeMemory: o.freeMemory ?? (() => 2 ** 40),
    listModels: () => Promise.resolve([modelInfo("a"), modelInfo("b")]),
    findModel: (name) => {
      if (name.startsWith("missing")) return Promise.reject(new AlloyError("model_not_found", `${name} is not here`));
      return Promise.resolve({ info: modelInfo(name), sampling: {}, stops: [] });
    },
    openModel: (path) =>
      ({ format: "gguf", path, metadata: new Map(), tensors: new Map(), fileBytes: 1000, close: () => {} }) satisfies ModelFile,
    sizes: () => ({ kvBytesPerToken: 100, contextLength: 4096, weightBytes: 1000 }),
    loadTokenizer: () => byteTokenizer,
    loadChat: () => o.chat ?? fakeChat,
    samplingDefaults: () => ({}),
    loadRunner: async (_, options) => {
      if (o.loadMs) await Bun.sleep(o.loadMs);
      await o.loading;
      const runner = new FakeRunner(options, o);
      runners.push(runner);
      return runner;
    },
    stopFilter: plainStops,
  };
  return { parts, runners, device };
}

/** Stop strings by searching everything anew: slow and plain. */
function plainStops(stops: readonly string[]): { push(text: string): { text: string; stop?: string }; finish(): string } {
  let held = "";
  return {
    push: (text) => {
      held += text;
      const hits = stops.map((s) => ({ s, at: held.indexOf(s) })).filter((h) => h.at !== -1);
      const hit = hits.sort((a, b) => a.at - b.at)[0];
      if (hit) return { text: held.slice(0, hit.at), stop: hit.s };
      let keep = held.length;
      while (keep > 0 && !stops.some((s) => s.startsWith(held.slice(-keep)))) keep--;
      const out = held.slice(0, held.length - keep);
      held = held.slice(held.length - keep);
      return { text: out };
    },
    finish: () => held,
  };
}

export const request = (over: Partial<GenerateRequest> & { text?: string }): GenerateRequest => {
  const { text = "hello", ...rest } = over;
  return { id: crypto.randomUUID(), model: "a", prompt: { kind: "text", text }, sampling: { temperature: 0 }, ...rest };
};

export interface Answer {
  text: string;
  events: GenerateEvent[];
  start: Extract<GenerateEvent, { type: "start" }>;
  end: Extract<GenerateEvent, { type: "end" }>;
}

/** Reads a generation to its end. */
export async function collect(events: AsyncIterable<GenerateEvent>): Promise<Answer> {
  const all: GenerateEvent[] = [];
  for await (const e of events) all.push(e);
  const text = all.map((e) => (e.type === "delta" && e.delta.type === "text" ? e.delta.text : "")).join("");
  const [start] = all;
  const end = all.at(-1);
  if (start?.type !== "start" || end?.type !== "end") throw new Error(`a generation without start or end: ${JSON.stringify(all)}`);
  return { text, events: all, start, end };
}

export async function errorOf(events: AsyncIterable<GenerateEvent> | Promise<unknown>): Promise<AlloyError> {
  try {
    if (events instanceof Promise) await events;
    else await collect(events);
  } catch (e) {
    if (e instanceof AlloyError) return e;
    throw e;
  }
  throw new Error("it did not fail");
}
