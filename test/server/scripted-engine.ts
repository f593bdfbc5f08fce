/**
 * A scripted model: an Engine that emits the text, reasoning and tool calls a test asks for, token by token, and otherwise keeps the rules
 * of a real one (admission, queue limit, window, maxTokens, stop strings, deadline, cancellation). A token is a word with the blanks in
 * front of it.
 */
import { createHash } from "node:crypto";
import type { ChatDelta } from "../../src/chat/api.ts";
import {
  type Engine,
  type FinishReason,
  type GenerateEvent,
  type GenerateRequest,
  type LoadedModel,
  type ModelInfo,
  newWork,
  type Prompt,
  type TokenLogprob,
} from "../../src/engine/api.ts";
import { AlloyError } from "../../src/support/errors.ts";
import { logprob, pieces, type Step, StopCutter, words } from "./script.ts";

export type { Step };

export interface ScriptedOptions {
  /** What to answer. Default: one text step `echo: <last message or prompt>`. */
  script?: (request: GenerateRequest) => Step[];
  models?: ModelInfo[];
  /** Pause before each token. Default 0 (the event loop still turns). */
  delayMs?: number;
  /** Between admission and first token. */
  prefillMs?: number;
  /** Nothing is emitted before this is settled. */
  hold?: Promise<void>;
  /** Default 65536. */
  contextLength?: number;
  /** Requests generating at once; further ones wait. Default 64. */
  slots?: number;
  /** Requests waiting at once; further ones are refused with `queue_full`. Default 512. */
  queueLimit?: number;
}

/** A model entry with everything a chat model has; `change` overrides. */
export function scriptedModel(name: string, change: Partial<ModelInfo> = {}): ModelInfo {
  return {
    name,
    path: `/models/${name}.gguf`,
    format: "gguf",
    architecture: "qwen3",
    parameters: 10_200_000,
    fileBytes: 11_000_000,
    quantization: "Q8_0",
    contextLength: 65536,
    embeddingLength: 256,
    capabilities: ["completion", "tools", "thinking"],
    modified: "2026-01-02T03:04:05.678Z",
    digest: createHash("sha256").update(name).digest("hex"),
    template: "{{ messages }}",
    metadata: {
      "general.architecture": "qwen3",
      "qwen3.context_length": 65536,
      "qwen3.block_count": 4,
      "tokenizer.ggml.tokens": ["a", "b", "c", "d", "e", "f"],
    },
    ...change,
  };
}

/** A model whose file names the tokens that mark a gap in a text. */
export const gapFiller = scriptedModel("coder", {
  capabilities: ["completion", "insert"],
  metadata: {
    "general.architecture": "qwen2",
    "tokenizer.ggml.fim_pre_token_id": 901,
    "tokenizer.ggml.fim_suf_token_id": 902,
    "tokenizer.ggml.fim_mid_token_id": 903,
    "tokenizer.ggml.fim_rep_token_id": 904,
    "tokenizer.ggml.fim_sep_token_id": 905,
  },
});

export class ScriptedEngine implements Engine {
  /** Every request handed to `generate`, in order. */
  readonly requests: GenerateRequest[] = [];
  /** Ids of requests that were cancelled before their end. */
  readonly cancelled: string[] = [];
  /** Ids of requests that reached their end. */
  readonly finished: string[] = [];
  /** Tokens emitted so far, over all requests. */
  emitted = 0;
  closed = false;
  readonly #options: Required<Omit<ScriptedOptions, "models" | "hold">> & Pick<ScriptedOptions, "hold">;
  readonly #models: ModelInfo[];
  readonly #loaded = new Map<string, LoadedModel & { keepAlive: number }>();
  readonly #ids = new Map<string, number>();
  readonly #pieces: string[] = [];
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(options: ScriptedOptions = {}) {
    this.#models = options.models ?? [scriptedModel("demo", { contextLength: options.contextLength ?? 65536 })];
    this.#options = {
      script: (request) => [{ type: "text", text: `echo: ${lastText(request.prompt, (ids) => this.#text(ids))}` }],
      delayMs: 0,
      prefillMs: 0,
      contextLength: 65536,
      slots: 64,
      queueLimit: 512,
      ...options,
    };
  }

  /** Requests generating now. */
  get running(): number {
    return this.#running;
  }

  /** Requests waiting for a slot now. */
  get queued(): number {
    return this.#waiting.length;
  }

  async models(): Promise<ModelInfo[]> {
    return this.#models;
  }

  async model(reference: string): Promise<ModelInfo> {
    const info = this.#models.find((m) => m.name === reference);
    if (!info) throw new AlloyError("model_not_found", `model '${reference}' not found`);
    return info;
  }

  async loaded(): Promise<LoadedModel[]> {
    return [...this.#loaded.values()].map(({ keepAlive, ...m }) => ({
      ...m,
      running: this.#running,
      queued: this.queued,
      expires: Number.isFinite(keepAlive) ? Date.now() + keepAlive : undefined,
    }));
  }

  async load(reference: string, keepAlive?: number): Promise<void> {
    const info = await this.model(reference);
    const known = this.#loaded.get(info.name);
    this.#loaded.set(info.name, {
      name: info.name,
      info,
      contextLength: this.#options.contextLength,
      memoryBytes: info.fileBytes * 2,
      running: 0,
      queued: 0,
      device: "cpu",
      limits: { running: this.#options.slots, queued: this.#options.queueLimit },
      cache: { blocks: 4096, blockTokens: 16, used: 0, cached: 0, bytes: 2 ** 20, type: "f16" },
      work: newWork(),
      keepAlive: keepAlive ?? known?.keepAlive ?? 300_000,
    });
  }

  async unload(reference: string): Promise<void> {
    this.#loaded.delete(reference);
  }

  async tokenize(model: string, prompt: Prompt): Promise<{ ids: number[]; text?: string }> {
    await this.model(model);
    if (prompt.kind === "ids") return { ids: prompt.ids };
    const text = prompt.kind === "text" ? prompt.text : render(prompt);
    return { ids: this.#encode(text), text };
  }

  async detokenize(_model: string, ids: number[]): Promise<string> {
    return this.#text(ids);
  }

  async tokenBytes(_model: string, ids: number[]): Promise<Uint8Array[]> {
    return ids.map((id) => new TextEncoder().encode(this.#pieces[id] ?? ""));
  }

  async close(): Promise<void> {
    this.closed = true;
  }

  async *generate(request: GenerateRequest, signal?: AbortSignal): AsyncGenerator<GenerateEvent> {
    this.requests.push(request);
    const started = performance.now();
    let ended = false;
    let admitted = false;
    try {
      if (this.closed) throw new AlloyError("shutting_down", "the engine is closed");
      await this.load(request.model, request.keepAlive);
      const { ids, text } = await this.tokenize(request.model, request.prompt);
      const window = Math.min(this.#options.contextLength, request.contextLimit ?? Infinity);
      if (ids.length >= window) {
        const data = { tokens: ids.length, window };
        throw new AlloyError("context_length_exceeded", `the prompt has ${ids.length} tokens, the window ${window}`, { data });
      }
      await this.#admit(signal);
      admitted = true;
      const prompt = text ?? this.#text(ids);
      yield { type: "start", promptTokens: ids.length, seed: request.sampling.seed ?? 1, ...(request.echo ? { prompt } : {}) };
      yield { type: "prefill", done: 0, total: ids.length, cached: 0 };
      await pause(this.#options.prefillMs, signal);
      if (this.#options.hold) await settled(this.#options.hold, signal);
      const queued = performance.now() - started;
      const answer = new Answer(request, window - ids.length);
      for (const piece of pieces(this.#options.script(request))) {
        if (piece.kind === "error") throw piece.error;
        if (piece.kind === "wait") await pause(piece.ms, signal);
        else if (piece.kind === "window") answer.end("context");
        else {
          if (piece.token !== undefined && answer.mayContinue()) {
            await pause(this.#options.delayMs, signal);
            if (request.deadline !== undefined && Date.now() > request.deadline) throw new AlloyError("timeout", "the deadline has passed");
            this.emitted++;
            answer.count(this.#encode(piece.token)[0], piece.token, piece.delta);
          }
          if (answer.reason === undefined) yield* answer.push(piece.delta);
        }
        if (answer.reason !== undefined) break;
      }
      yield* answer.rest();
      const total = performance.now() - started;
      const timings = { queued, load: 0, prefill: this.#options.prefillMs, decode: total - queued, total };
      const usage = { promptTokens: ids.length, cachedTokens: 0, completionTokens: answer.ids.length, reasoningTokens: answer.reasoning };
      ended = true;
      this.finished.push(request.id);
      yield { type: "end", reason: answer.finalReason(), stop: answer.stop, usage, timings, ids: answer.ids };
    } catch (e) {
      ended = !(e instanceof AlloyError && e.code === "cancelled");
      throw e;
    } finally {
      if (admitted) this.#release();
      if (!ended) this.cancelled.push(request.id);
    }
  }

  async #admit(signal: AbortSignal | undefined): Promise<void> {
    checkAborted(signal);
    if (this.#running < this.#options.slots) {
      this.#running++;
      return;
    }
    if (this.#waiting.length >= this.#options.queueLimit) throw new AlloyError("queue_full", "too many requests are waiting");
    await new Promise<void>((resolve, reject) => {
      const proceed = () => {
        signal?.removeEventListener("abort", leave);
        this.#running++;
        resolve();
      };
      const leave = () => {
        this.#waiting.splice(this.#waiting.indexOf(proceed), 1);
        reject(cancelled());
      };
      this.#waiting.push(proceed);
      signal?.addEventListener("abort", leave, { once: true });
    });
  }

  #release(): void {
    this.#running--;
    this.#waiting.shift()?.();
  }

  #encode(text: string): number[] {
    return words(text).map((piece) => {
      let id = this.#ids.get(piece);
      if (id === undefined) {
        id = this.#pieces.push(piece) - 1;
        this.#ids.set(piece, id);
      }
      return id;
    });
  }

  #text(ids: number[]): string {
    return ids.map((id) => this.#pieces[id] ?? "").join("");
  }
}

/** One answer as it grows: budget, stop strings, what goes out with which log-probabilities, why it ended. */
class Answer {
  readonly ids: number[] = [];
  reasoning = 0;
  reason: FinishReason | undefined;
  readonly #cutter: StopCutter;
  readonly #budget: number;
  #logprobs: TokenLogprob[] = [];
  #called = false;

  constructor(
    private readonly request: GenerateRequest,
    private readonly room: number,
  ) {
    this.#cutter = new StopCutter(request.stop ?? []);
    this.#budget = Math.min(request.maxTokens ?? Infinity, room);
  }

  get stop(): string | undefined {
    return this.#cutter.hit;
  }

  end(reason: FinishReason): void {
    this.reason = reason;
  }

  /** Whether there is room for one more token; ends the answer if not. */
  mayContinue(): boolean {
    if (this.ids.length < this.#budget) return true;
    this.end(this.#budget < this.room || this.request.maxTokens === this.room ? "length" : "context");
    return false;
  }

  count(id: number, token: string, delta: ChatDelta): void {
    this.ids.push(id);
    if (delta.type === "reasoning") this.reasoning++;
    if (this.request.logprobs !== undefined && delta.type === "text") this.#logprobs.push(logprob(id, token, this.request.logprobs));
  }

  *push(delta: ChatDelta): Generator<GenerateEvent> {
    if (delta.type === "tool_call_start") this.#called = true;
    if (delta.type !== "text") return yield { type: "delta", delta };
    yield* this.#text(this.#cutter.push(delta.text));
    if (this.stop !== undefined) this.end("stop");
  }

  /** What was held back for a stop string that did not come. */
  *rest(): Generator<GenerateEvent> {
    yield* this.#text(this.#cutter.flush());
  }

  finalReason(): FinishReason {
    const reason = this.reason ?? "stop";
    return reason === "stop" && this.#called ? "tool_calls" : reason;
  }

  *#text(text: string): Generator<GenerateEvent> {
    if (text === "") return;
    const logprobs = this.#logprobs.splice(0);
    yield { type: "delta", delta: { type: "text", text }, ...(logprobs.length > 0 ? { logprobs } : {}) };
  }
}

/** `<role>content` lines, with tools, thinking and calls visible, so that tests can look for them in `tokenize().text`. */
function render(prompt: Extract<Prompt, { kind: "chat" }>): string {
  const lines = prompt.tools?.length ? [`<tools>${JSON.stringify(prompt.tools)}`] : [];
  for (const m of prompt.messages) {
    const calls = m.toolCalls ? ` ${JSON.stringify(m.toolCalls)}` : "";
    lines.push(`<${m.role}>${m.content}${calls}`);
  }
  if (!prompt.continueLast) lines.push(`<assistant>${prompt.thinking ?? ""}`);
  return lines.join("\n");
}

function lastText(prompt: Prompt, text: (ids: number[]) => string): string {
  if (prompt.kind === "text") return prompt.text;
  return prompt.kind === "ids" ? text(prompt.ids) : (prompt.messages.at(-1)?.content ?? "");
}

function cancelled(): AlloyError {
  return new AlloyError("cancelled", "the request was cancelled");
}

function checkAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw cancelled();
}

/** Sleeps, or throws `cancelled` as soon as the signal says so. */
async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  checkAborted(signal);
  await new Promise<void>((resolve, reject) => {
    const leave = () => {
      clearTimeout(timer);
      reject(cancelled());
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", leave);
      resolve();
    }, ms);
    signal?.addEventListener("abort", leave, { once: true });
  });
}

/** Waits for `promise`, or throws `cancelled` as soon as the signal says so. */
async function settled(promise: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  checkAborted(signal);
  const left = Promise.withResolvers<never>();
  const leave = () => left.reject(cancelled());
  signal?.addEventListener("abort", leave, { once: true });
  try {
    await Promise.race([promise, left.promise]);
  } finally {
    signal?.removeEventListener("abort", leave);
  }
}
