/**
 * A scripted model: an Engine that emits the text, reasoning and tool calls a test asks for, token by token, and otherwise keeps the rules
 * of a real one (admission, queue limit, window, maxTokens, stop strings, deadline, cancellation). A token is a word with the blanks in
 * front of it.
 */
import { createHash } from "node:crypto";
import type { ChatDelta } from "../../src/chat/api.ts";
import type {
  Engine,
  FinishReason,
  GenerateEvent,
  GenerateRequest,
  LoadedModel,
  ModelInfo,
  Prompt,
  TokenLogprob,
} from "../../src/engine/api.ts";
import { AlloyError } from "../../src/support/errors.ts";

/** One thing that the model does. */
export type Step =
  | { type: "text"; text: string }
  | { type: "reasoning"; text: string }
  /** `arguments` is sent in pieces; `cut` leaves the call unfinished. */
  | { type: "tool"; name: string; arguments: string; id?: string; cut?: boolean }
  /** Silence in the middle of an answer. */
  | { type: "wait"; ms: number }
  /** The engine fails here. */
  | { type: "error"; error: AlloyError }
  /** Ends as if the window were full. */
  | { type: "window" };

export interface ScriptedOptions {
  /** What to answer. Default: one text step `echo: <last message or prompt>`. */
  script?: (request: GenerateRequest) => Step[];
  models?: ModelInfo[];
  /** Pause before each token. Default 0 (the event loop still turns). */
  delayMs?: number;
  /** Between admission and first token. */
  prefillMs?: number;
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
  readonly #options: Required<Omit<ScriptedOptions, "models">>;
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
      yield { type: "prefill", done: 0, total: ids.length };
      await pause(this.#options.prefillMs, signal);
      const queued = performance.now() - started;
      const budget = Math.min(request.maxTokens ?? Infinity, window - ids.length);
      const usage = { promptTokens: ids.length, cachedTokens: 0, completionTokens: 0, reasoningTokens: 0 };
      const produced: number[] = [];
      const cutter = new StopCutter(request.stop ?? []);
      let reason: FinishReason = "stop";
      let held: TokenLogprob[] = [];
      let called = false;
      for (const piece of pieces(this.#options.script(request))) {
        if (piece.kind === "error") throw piece.error;
        if (piece.kind === "wait") {
          await pause(piece.ms, signal);
          continue;
        }
        if (piece.kind === "window") {
          reason = "context";
          break;
        }
        if (piece.token !== undefined) {
          if (usage.completionTokens >= budget) {
            reason = request.maxTokens !== undefined && budget === request.maxTokens ? "length" : "context";
            break;
          }
          await pause(this.#options.delayMs, signal);
          if (request.deadline !== undefined && Date.now() > request.deadline) throw new AlloyError("timeout", "the deadline has passed");
          const [id] = this.#encode(piece.token);
          produced.push(id);
          usage.completionTokens++;
          this.emitted++;
          if (piece.delta.type === "reasoning") usage.reasoningTokens++;
          if (request.logprobs !== undefined && piece.delta.type === "text") held.push(logprob(id, piece.token, request.logprobs));
        }
        if (piece.delta.type === "tool_call_start") called = true;
        if (piece.delta.type !== "text") {
          yield { type: "delta", delta: piece.delta };
          continue;
        }
        const out = cutter.push(piece.delta.text);
        if (out !== "") yield { type: "delta", delta: { type: "text", text: out }, ...(held.length > 0 ? { logprobs: held } : {}) };
        if (out !== "") held = [];
        if (cutter.hit !== undefined) break;
      }
      const rest = cutter.flush();
      if (rest !== "") yield { type: "delta", delta: { type: "text", text: rest }, ...(held.length > 0 ? { logprobs: held } : {}) };
      if (called && reason === "stop") reason = "tool_calls";
      const total = performance.now() - started;
      const timings = { queued, load: 0, prefill: this.#options.prefillMs, decode: total - queued, total };
      ended = true;
      this.finished.push(request.id);
      yield { type: "end", reason, stop: cutter.hit, usage, timings, ids: produced };
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

function words(text: string): string[] {
  return text.match(/\s*\S+|\s+$/g) ?? [];
}

type Piece =
  | { kind: "delta"; delta: ChatDelta; token?: string }
  | { kind: "wait"; ms: number }
  | { kind: "error"; error: AlloyError }
  | { kind: "window" };

function* pieces(steps: Step[]): Generator<Piece> {
  let index = 0;
  for (const step of steps) {
    if (step.type === "text" || step.type === "reasoning") {
      for (const word of words(step.text)) yield { kind: "delta", delta: { type: step.type, text: word }, token: word };
    } else if (step.type === "tool") {
      const id = step.id ?? `call_${createHash("sha256").update(`${index}${step.name}${step.arguments}`).digest("hex").slice(0, 12)}`;
      yield { kind: "delta", delta: { type: "tool_call_start", index, id, name: step.name }, token: step.name };
      for (let at = 0; at < step.arguments.length; at += 5) {
        const text = step.arguments.slice(at, at + 5);
        yield { kind: "delta", delta: { type: "tool_call_arguments", index, text }, token: text };
      }
      if (!step.cut) yield { kind: "delta", delta: { type: "tool_call_end", index } };
      index++;
    } else if (step.type === "wait") yield { kind: "wait", ms: step.ms };
    else if (step.type === "error") yield { kind: "error", error: step.error };
    else yield { kind: "window" };
  }
}

/** Holds back text that could be the beginning of a stop string. */
class StopCutter {
  hit: string | undefined;
  #held = "";

  constructor(private readonly stops: string[]) {}

  push(text: string): string {
    this.#held += text;
    let first = Infinity;
    for (const stop of this.stops) {
      const at = this.#held.indexOf(stop);
      if (at >= 0 && at < first) [first, this.hit] = [at, stop];
    }
    if (this.hit !== undefined) {
      const out = this.#held.slice(0, first);
      this.#held = "";
      return out;
    }
    let keep = 0;
    for (const stop of this.stops) {
      for (let n = Math.min(stop.length - 1, this.#held.length); n > keep; n--) if (this.#held.endsWith(stop.slice(0, n))) keep = n;
    }
    const out = this.#held.slice(0, this.#held.length - keep);
    this.#held = this.#held.slice(this.#held.length - keep);
    return out;
  }

  flush(): string {
    const out = this.#held;
    this.#held = "";
    return out;
  }
}

/** Made up, but of the right shape: probabilities fall with rank, and the chosen token ranks first. */
function logprob(id: number, token: string, alternatives: number): TokenLogprob {
  const entry = (rank: number) => {
    const text = rank === 0 ? token : `${token}~${rank}`;
    return { id: id + rank, token: text, bytes: [...new TextEncoder().encode(text)], logprob: -0.7 * (rank + 1) };
  };
  return { ...entry(0), top: Array.from({ length: alternatives }, (_, rank) => entry(rank)) };
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
