/** Which models are loaded: loading on demand, keeping alive, making room within one budget of memory. */
import type { Device } from "../runtime/device.ts";
import { AlloyError } from "../support/errors.ts";
import type { LoadedModel, ModelInfo } from "./api.ts";
import { gib } from "./memory.ts";
import { Model, type ModelOptions } from "./model.ts";
import type { EngineParts, FoundModel } from "./parts.ts";

export interface ManagerOptions extends ModelOptions {
  /** Milliseconds that an unused model stays; Infinity forever. */
  keepAlive: number;
  /** Bytes for all models together. Default: what is free. */
  memory?: number;
  /** Models at once. Default: as many as memory holds. */
  maxLoaded?: number;
  /** Milliseconds that a load waits for models in use to make room. */
  loadTimeout: number;
  /** Milliseconds after which such a load stops new requests to the models that it waits for, so that they become idle at all. Default 10 s. */
  patience?: number;
}

interface Entry {
  info: ModelInfo;
  model: Promise<Model>;
  /** Set once loading is done. */
  ready?: Model;
  /** Requests that use it. */
  users: number;
  keepAlive: number;
  lastUse: number;
  expires?: number;
  timer?: ReturnType<typeof setTimeout>;
}

export interface Use {
  model: Model;
  /** Called once. */
  release(): void;
}

export interface AcquireOptions {
  /** Milliseconds to keep the model loaded after this use. */
  keepAlive?: number;
  /** No generation: it does not wait behind loads of other models. */
  brief?: boolean;
  /** Ends the wait for a load: one that nobody waits for unloads nothing. */
  signal?: AbortSignal;
}

/** A timer cannot wait longer than this; a model kept for longer stays until then at least, which is 24 days. */
const LONGEST_TIMER = 2 ** 31 - 1;
const PATIENCE_MS = 10_000;

export class ModelManager {
  private readonly entries = new Map<string, Entry>();
  /** Loads run one after the other, so that each sees the memory that the one before took. */
  private loading: Promise<unknown> = Promise.resolve();
  private freeing: Promise<unknown> = Promise.resolve();
  /** Woken when a model becomes idle. */
  private readonly waitingForIdle = new Set<() => void>();
  /** Set while a load has waited for too long; requests to other models wait for its end. */
  private hold: PromiseWithResolvers<void> | undefined;
  private closing = false;
  /** What the last load took. */
  private loadMs = 5000;

  constructor(
    private readonly parts: EngineParts,
    private readonly device: Device,
    private readonly o: ManagerOptions,
  ) {}

  /**
   * Loads a model if need be and counts one more user. Throws `queue_full` where too many wait for a load already, and what keeps it from
   * loading.
   */
  async acquire(reference: string, { keepAlive, brief = false, signal }: AcquireOptions = {}): Promise<Use> {
    const found = await this.parts.findModel(reference);
    const { name } = found.info;
    while (this.hold && !brief && this.entries.get(name)?.ready) await this.hold.promise;
    const entry = this.entries.get(name) ?? this.start(found);
    if (!entry.ready && this.waiting() >= this.o.maxQueue + this.o.parallel) throw loadQueueFull(this.waiting(), this.loadMs / 1000);
    if (keepAlive !== undefined) entry.keepAlive = keepAlive;
    entry.users++;
    clearTimeout(entry.timer);
    entry.expires = undefined;
    let released = false;
    const release = (): void => {
      if (released) return;
      released = true;
      this.release(entry);
    };
    try {
      return { model: await unless(signal, entry.model), release };
    } catch (e) {
      release();
      throw e;
    }
  }

  /** Unloads a model once it is idle; does nothing if it is not loaded. */
  async unload(reference: string): Promise<void> {
    const { info } = await this.parts.findModel(reference);
    const entry = this.entries.get(info.name);
    if (!entry) return;
    entry.keepAlive = 0;
    if (entry.users === 0) this.remove(entry);
    await this.freeing;
  }

  loaded(): LoadedModel[] {
    return [...this.entries.values()].flatMap(({ info, ready, users, keepAlive, expires }) => {
      if (!ready) return [];
      // In use, it stays for its time from now on at least.
      if (users > 0 && keepAlive !== Infinity) expires = Date.now() + keepAlive;
      const { contextLength, memoryBytes, scheduler } = ready;
      return [
        {
          name: info.name,
          info,
          contextLength,
          memoryBytes,
          expires,
          ...scheduler.counts,
          device: this.device.properties.kind,
          limits: scheduler.limits,
          cache: ready.cacheState,
          work: structuredClone(scheduler.work),
        },
      ];
    });
  }

  /** Models that are loaded by now. */
  models(): Model[] {
    return [...this.entries.values()].flatMap((e) => e.ready ?? []);
  }

  /** Frees everything. Only when nothing runs. */
  async close(): Promise<void> {
    this.closing = true;
    for (const wake of this.waitingForIdle) wake();
    await this.loading;
    for (const entry of this.entries.values()) this.remove(entry);
    await this.freeing;
  }

  /** Requests that wait, in models' queues and for loads. */
  private waiting(): number {
    return [...this.entries.values()].reduce((n, e) => n + (e.ready ? e.ready.scheduler.counts.queued : e.users), 0);
  }

  private start(found: FoundModel): Entry {
    const model = this.loading.then(() => this.load(found, entry));
    this.loading = model.catch(() => {});
    const entry: Entry = { info: found.info, model, users: 0, keepAlive: this.o.keepAlive, lastUse: Date.now() };
    this.entries.set(found.info.name, entry);
    model.then(
      (m) => {
        entry.ready = m;
        // Those who wanted it may have left meanwhile.
        if (entry.users === 0) this.rest(entry);
      },
      () => this.entries.delete(found.info.name),
    );
    return entry;
  }

  private async load(found: FoundModel, entry: Entry): Promise<Model> {
    const began = performance.now();
    try {
      for (;;) {
        await this.freeing;
        if (this.closing || entry.users === 0) throw new AlloyError("cancelled", `nobody waits for ${entry.info.name} any more`);
        const full = await this.attempt(found).catch((e) => {
          if (e instanceof AlloyError && e.code === "out_of_memory") return e;
          throw e;
        });
        if (full instanceof Model) {
          this.loadMs = performance.now() - began;
          return full;
        }
        if (this.evictOne()) continue;
        const left = began + this.o.loadTimeout - performance.now();
        if (this.busy().length === 0 || left <= 0) throw this.noRoom(full);
        const patience = began + (this.o.patience ?? PATIENCE_MS) - performance.now();
        if (patience <= 0) this.hold ??= Promise.withResolvers();
        await this.nextIdle(patience > 0 ? Math.min(left, patience) : left);
      }
    } finally {
      this.hold?.resolve();
      this.hold = undefined;
    }
  }

  /** Throws `out_of_memory` when there is no room now. */
  private async attempt(found: FoundModel): Promise<Model> {
    const others = this.models();
    const { maxLoaded = Infinity, memory = Infinity } = this.o;
    if (others.length >= maxLoaded) {
      const message = `${found.info.name} cannot be loaded: ${maxLoaded === 1 ? "one model" : `${maxLoaded} models`} may be loaded at once`;
      throw new AlloyError("out_of_memory", message, { hint: "raise --max-loaded" });
    }
    const used = others.reduce((n, m) => n + m.memoryBytes, 0);
    return Model.load(found, this.parts, this.device, {
      ...this.o,
      waiting: () => this.waiting(),
      budget: { left: Math.max(0, memory - used), of: memory },
      promised: others.reduce((n, m) => n + m.promisedBytes, 0),
      others: others.length > 0,
      // An idle model goes before another makes do with a small context.
      roomy: this.idle().length > 0,
    });
  }

  private idle(): Entry[] {
    return [...this.entries.values()].filter((e) => e.ready && e.users === 0);
  }

  private busy(): Entry[] {
    return [...this.entries.values()].filter((e) => e.ready && e.users > 0);
  }

  /** Unloads the idle model that was used longest ago; false when there is none. */
  private evictOne(): boolean {
    const oldest = this.idle()
      .sort((a, b) => a.lastUse - b.lastUse)
      .at(0);
    if (!oldest) return false;
    this.remove(oldest);
    return true;
  }

  /** The same error, with who holds what and until when to wait. */
  private noRoom(full: AlloyError): AlloyError {
    const holders = this.busy().map((e) => `${e.info.name} (${gib(e.ready!.memoryBytes)}, in use)`);
    if (holders.length === 0) return full;
    const { message, hint, data } = full;
    return new AlloyError("out_of_memory", `${message}; loaded: ${holders.join(", ")}`, {
      hint: hint && `${hint}, or try again when these are idle`,
      data: { ...data, waited: this.o.loadTimeout },
    });
  }

  private nextIdle(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        this.waitingForIdle.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, Math.min(ms, LONGEST_TIMER));
      this.waitingForIdle.add(wake);
    });
  }

  private release(entry: Entry): void {
    entry.users--;
    entry.lastUse = Date.now();
    if (entry.users > 0) return;
    for (const wake of this.waitingForIdle) wake();
    if (entry.ready) this.rest(entry);
  }

  /** Nobody uses it now: its time begins. */
  private rest(entry: Entry): void {
    if (entry.keepAlive <= 0) return this.remove(entry);
    if (entry.keepAlive === Infinity) return;
    entry.expires = Date.now() + entry.keepAlive;
    entry.timer = setTimeout(() => this.remove(entry), Math.min(entry.keepAlive, LONGEST_TIMER));
    entry.timer.unref();
  }

  private remove(entry: Entry): void {
    clearTimeout(entry.timer);
    this.entries.delete(entry.info.name);
    const { ready } = entry;
    entry.ready = undefined;
    if (!ready) return;
    const gently = this.models().length > 0;
    this.freeing = Promise.all([this.freeing, ready.close(gently)]);
  }
}

/** What a promise gives, unless the signal is aborted first. */
function unless<T>(signal: AbortSignal | undefined, promise: Promise<T>): Promise<T> {
  if (!signal) return promise;
  const left = new AlloyError("cancelled", "the request was cancelled before it started");
  if (signal.aborted) return Promise.reject(left);
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(left);
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

const loadQueueFull = (waiting: number, seconds: number): AlloyError =>
  new AlloyError("queue_full", `${waiting} requests are waiting already`, {
    hint: "try again in a moment, or start Alloy with a longer queue",
    data: { queued: waiting, retryAfter: Math.max(1, Math.ceil(seconds)) },
  });
