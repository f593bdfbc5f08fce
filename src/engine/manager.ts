/** Which models are loaded: loading on demand, keeping alive, making room. */
import type { Device } from "../runtime/device.ts";
import { AlloyError } from "../support/errors.ts";
import type { LoadedModel, ModelInfo } from "./api.ts";
import { Model, type ModelOptions } from "./model.ts";
import type { EngineParts, FoundModel } from "./parts.ts";

export interface ManagerOptions extends ModelOptions {
  /** Milliseconds that an unused model stays; Infinity forever. */
  keepAlive: number;
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

/** A timer cannot wait longer than this; a model kept for longer stays until then at least, which is 24 days. */
const LONGEST_TIMER = 2 ** 31 - 1;

export class ModelManager {
  private readonly entries = new Map<string, Entry>();
  /** Loads run one after the other, so that each sees the memory that the one before took. */
  private loading: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly parts: EngineParts,
    private readonly device: Device,
    private readonly o: ManagerOptions,
  ) {}

  /** Loads a model if need be and counts one more user; the caller calls `release` once. */
  async acquire(reference: string, keepAlive?: number): Promise<{ model: Model; release: () => void }> {
    const found = await this.parts.findModel(reference);
    const entry = this.entries.get(found.info.name) ?? this.start(found);
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
      return { model: await entry.model, release };
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
  }

  loaded(): LoadedModel[] {
    return [...this.entries.values()].flatMap(({ info, ready, expires }) => {
      if (!ready) return [];
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
    await this.loading;
    for (const entry of this.entries.values()) this.remove(entry);
  }

  private start(found: FoundModel): Entry {
    const model = this.loading.then(() => this.load(found));
    this.loading = model.catch(() => {});
    const entry: Entry = { info: found.info, model, users: 0, keepAlive: this.o.keepAlive, lastUse: Date.now() };
    this.entries.set(found.info.name, entry);
    model.then(
      (m) => (entry.ready = m),
      () => this.entries.delete(found.info.name),
    );
    return entry;
  }

  private async load(found: FoundModel): Promise<Model> {
    for (;;) {
      try {
        const promised = this.models().reduce((n, m) => n + m.promisedBytes, 0);
        const waiting = (): number => this.models().reduce((n, m) => n + m.scheduler.counts.queued, 0);
        return await Model.load(found, this.parts, this.device, { ...this.o, waiting }, promised);
      } catch (e) {
        const full = e instanceof AlloyError && e.code === "out_of_memory";
        if (!full || !this.evictOne()) throw e;
      }
    }
  }

  /** Unloads the idle model that was used longest ago; false when there is none. */
  private evictOne(): boolean {
    const idle = [...this.entries.values()].filter((e) => e.ready && e.users === 0).sort((a, b) => a.lastUse - b.lastUse);
    if (idle.length === 0) return false;
    this.remove(idle[0]);
    return true;
  }

  private release(entry: Entry): void {
    entry.users--;
    entry.lastUse = Date.now();
    if (entry.users > 0 || !entry.ready) return;
    if (entry.keepAlive <= 0) return this.remove(entry);
    if (entry.keepAlive === Infinity) return;
    entry.expires = Date.now() + entry.keepAlive;
    entry.timer = setTimeout(() => this.remove(entry), Math.min(entry.keepAlive, LONGEST_TIMER));
    entry.timer.unref();
  }

  private remove(entry: Entry): void {
    clearTimeout(entry.timer);
    this.entries.delete(entry.info.name);
    entry.ready?.close();
    entry.ready = undefined;
  }
}
