/** The engine itself, on the thread it is called on: models, and requests to them. */
import type { KvType } from "../../kernels/kv-cache.ts";
import type { Device } from "../runtime/device.ts";
import { AlloyError } from "../support/errors.ts";
import type { Engine, GenerateEvent, GenerateRequest, LoadedModel, ModelInfo, Prompt } from "./api.ts";
import type { Guide } from "./grammar/guide.ts";
import { type AcquireOptions, ModelManager, type Use } from "./manager.ts";
import type { Model } from "./model.ts";
import type { EngineParts } from "./parts.ts";
import { EventQueue } from "./queue.ts";

/** What an engine can be told; the same in a worker and without one. */
export interface EngineOptions {
  /** "cpu"; undefined: the best there is. */
  device?: string;
  threads?: number;
  /** Tokens per request; undefined: what the model allows and memory holds. */
  contextLength?: number;
  /** Requests that generate at the same time on one model. Default 8. */
  parallel?: number;
  /** Requests that wait, for all models together. Default 512. */
  maxQueue?: number;
  /** Requests of one client that generate at the same time on one model, and that wait for it. Default: no limit of its own. */
  clientParallel?: number;
  clientQueue?: number;
  /** Most tokens in one step. */
  maxBatchTokens?: number;
  /** Models to load at once. They may be paths; what requests name may not, except these. */
  models?: string[];
  precision?: "fast" | "exact";
  /** How keys and values are stored. Default f16. */
  kvType?: KvType;
  /** Part of the memory left beside the weights that a model's KV cache takes, 0 to 1. Default: up to a quarter, as far as requests can use it. */
  cacheShare?: number;
  /** Milliseconds between two tokens of a request that other requests' prompts may cause. Default 100. */
  maxGap?: number;
  /** Bytes of memory for all models together. Default: what is free. */
  memory?: number;
  /** Models loaded at once. Default: as many as memory holds. */
  maxLoaded?: number;
  /** Milliseconds that a load waits for models in use to make room for it. Default 5 minutes. */
  loadTimeout?: number;
  /** Milliseconds that a request's grammar may take to compile. Default 2000. */
  grammarTimeout?: number;
  /** Bytes of memory for a model's grammars. Default 512 MiB. */
  grammarMemory?: number;
  /** Milliseconds that an unused model stays loaded where requests do not say; Infinity forever. Default 5 minutes. */
  keepAlive?: number;
}

/** A prompt as long as short questions are with their template. */
const WARM_UP_TOKENS = 20;

const DEFAULTS = { parallel: 8, maxQueue: 512, keepAlive: 5 * 60_000, loadTimeout: 5 * 60_000 };

export class EngineCore implements Engine {
  private readonly manager: ModelManager;
  private closing = false;
  private readonly running = new Set<() => void>();

  private constructor(
    private readonly parts: EngineParts,
    private readonly device: Device,
    options: EngineOptions,
    onStep?: () => void,
  ) {
    const { contextLength, maxBatchTokens, precision, kvType, cacheShare, maxGap, clientParallel, clientQueue } = options;
    const { parallel = DEFAULTS.parallel, maxQueue = DEFAULTS.maxQueue, keepAlive = DEFAULTS.keepAlive } = options;
    const limits = { parallel, maxQueue, clientParallel, clientQueue, maxGap };
    this.manager = new ModelManager(parts, device, {
      contextLength,
      maxBatchTokens,
      precision,
      kvType,
      cacheShare,
      ...limits,
      grammarTimeout: options.grammarTimeout,
      grammarMemory: options.grammarMemory,
      onStep,
      keepAlive,
      memory: options.memory,
      maxLoaded: options.maxLoaded,
      loadTimeout: options.loadTimeout ?? DEFAULTS.loadTimeout,
    });
  }

  /** @param onStep called after each step of a model, for tests */
  static async create(parts: EngineParts, options: EngineOptions, onStep?: () => void): Promise<EngineCore> {
    const device = await parts.createDevice({ device: options.device, threads: options.threads });
    const core = new EngineCore(parts, device, options, onStep);
    try {
      for (const model of options.models ?? []) await core.warmUp(model);
    } catch (e) {
      await core.close();
      throw e;
    }
    return core;
  }

  /** Loads a model and runs a short request, so that the first real one finds the plans of prompts and of single tokens made. */
  private async warmUp(name: string): Promise<void> {
    const length = await this.withModel(name, (model) => Math.min(WARM_UP_TOKENS, model.contextLength - 1));
    const prompt = { kind: "ids" as const, ids: Array.from({ length }, () => 0) };
    for await (const _ of this.generate({
      id: "warm-up",
      model: name,
      prompt,
      sampling: { temperature: 0 },
      maxTokens: 2,
      ignoreEos: true,
    }));
  }

  models(): Promise<ModelInfo[]> {
    return this.parts.listModels();
  }

  async model(reference: string): Promise<ModelInfo> {
    return (await this.parts.findModel(reference)).info;
  }

  loaded(): Promise<LoadedModel[]> {
    return Promise.resolve(this.manager.loaded());
  }

  async load(reference: string, keepAlive?: number): Promise<void> {
    (await this.acquire(reference, { keepAlive })).release();
  }

  unload(reference: string): Promise<void> {
    return this.manager.unload(reference);
  }

  generate(request: GenerateRequest, signal?: AbortSignal): AsyncIterableIterator<GenerateEvent> {
    const waiting = new AbortController();
    const giveUp = (error: AlloyError): void => {
      events.fail(error);
      waiting.abort();
    };
    let cancel = (): void => giveUp(cancelled());
    const abort = (): void => cancel();
    const events = new EventQueue(abort);
    const over = (): void => {
      signal?.removeEventListener("abort", abort);
      clearTimeout(timer);
      this.running.delete(abort);
    };
    // Ends the wait for a model to load; once the request is queued the scheduler watches the time.
    const { deadline } = request;
    const timer = deadline === undefined ? undefined : setTimeout(() => giveUp(loadTimeout(request)), waitUntil(deadline));
    if (signal?.aborted) {
      over();
      events.fail(cancelled());
      return events;
    }
    signal?.addEventListener("abort", abort, { once: true });
    this.running.add(abort);
    const created = performance.now();
    this.acquire(request.model, { keepAlive: request.keepAlive, signal: waiting.signal }).then(
      async ({ model, release }) => {
        let guide: Guide | undefined;
        const done = (): void => {
          over();
          release();
          guide?.free();
        };
        clearTimeout(timer);
        if (events.over) return done();
        const loadMs = performance.now() - created;
        try {
          const making = model.guide(request);
          if (making) guide = await making;
          if (events.over) return done();
          cancel = model.submit(request, events, { created, loadMs }, done, guide);
        } catch (e) {
          done();
          events.fail(AlloyError.from(e));
        }
      },
      (e) => {
        over();
        events.fail(AlloyError.from(e));
      },
    );
    return events;
  }

  async tokenize(reference: string, prompt: Prompt): Promise<{ ids: number[]; text?: string }> {
    return this.withModel(reference, (model) => {
      const { ids, text } = model.prepare(prompt);
      return { ids, text };
    });
  }

  async detokenize(reference: string, ids: number[]): Promise<string> {
    return this.withModel(reference, (model) => model.tokenizer.decode(model.checkedIds(ids)));
  }

  async tokenBytes(reference: string, ids: number[]): Promise<Uint8Array[]> {
    return this.withModel(reference, (model) => model.checkedIds(ids).map((id) => model.tokenizer.bytes(id)));
  }

  /** Throws unless the book-keeping of every loaded model agrees with itself. */
  check(): void {
    for (const model of this.manager.models()) model.scheduler.check();
  }

  async close(graceMs = 0): Promise<void> {
    if (this.closing) return;
    this.closing = true;
    const drain = (graceful: boolean): Promise<unknown> =>
      Promise.all(this.manager.models().map((m) => m.scheduler.drain(shuttingDown(), graceful)));
    if (graceMs > 0) await Promise.race([drain(true), Bun.sleep(graceMs)]);
    for (const abort of this.running) abort();
    await drain(false);
    await this.manager.close();
    this.device.close();
  }

  private async withModel<T>(reference: string, use: (model: Model) => T): Promise<T> {
    const { model, release } = await this.acquire(reference, { brief: true });
    try {
      return use(model);
    } finally {
      release();
    }
  }

  private async acquire(reference: string, options: AcquireOptions): Promise<Use> {
    if (this.closing) throw shuttingDown();
    const use = await this.manager.acquire(reference, options);
    if (!this.closing) return use;
    use.release();
    throw shuttingDown();
  }
}

/** Milliseconds until a time, as far as a timer can wait. */
const waitUntil = (time: number): number => Math.min(Math.max(0, time - Date.now()), 2 ** 31 - 1);

const loadTimeout = (request: GenerateRequest): AlloyError =>
  new AlloyError("timeout", `${request.model} was not loaded in time`, { hint: "allow more time, or load the model first" });
const cancelled = (): AlloyError => new AlloyError("cancelled", "the request was cancelled before it started");
const shuttingDown = (): AlloyError => new AlloyError("shutting_down", "Alloy is shutting down", { hint: "try again once it is up" });
