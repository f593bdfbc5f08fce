/** The loaded models as a scrape sees them. */
import { type Engine, type LoadedModel, type ModelWork, newWork } from "../../engine/api.ts";

/** How long a scrape waits for an engine that is in the middle of a step. */
const PATIENCE_MS = 100;

/** Asks the engine, or remembers what it said last while it is busy: routers scrape many times a second and must not wait for it. */
export class LoadedModels {
  #known: LoadedModel[] = [];
  #asked: Promise<LoadedModel[]> | undefined;

  async get(engine: Engine): Promise<LoadedModel[]> {
    this.#asked ??= engine
      .loaded()
      .then((models) => (this.#known = models))
      .finally(() => (this.#asked = undefined));
    const asked = this.#asked.catch(() => this.#known);
    return Promise.race([asked, Bun.sleep(PATIENCE_MS).then(() => this.#known)]);
  }
}

/** Adds up what the models' schedulers count, which start at zero with each load, to totals that never fall. */
export class WorkTotals {
  readonly total = newWork();
  #last = new Map<string, ModelWork>();

  update(models: readonly LoadedModel[]): void {
    for (const { name, work } of models) {
      const last = this.#last.get(name);
      const base = last && last.steps <= work.steps ? last : newWork();
      for (const key of COUNTERS) this.total[key] += work[key] - base[key];
      for (const key of HISTOGRAMS) work[key].forEach((n, i) => (this.total[key][i] += n - base[key][i]));
    }
    this.#last = new Map(models.map((m) => [m.name, m.work]));
  }
}

const COUNTERS = ["steps", "decoded", "preemptions", "evictions", "tokens", "forced", "grammarSeconds"] as const;
const HISTOGRAMS = ["stepTokens", "grammars"] as const;

export const sum = <T>(list: readonly T[], of: (item: T) => number): number => list.reduce((n, item) => n + of(item), 0);

/** Part of a model's cache that running requests hold. */
export const cacheUse = ({ cache }: LoadedModel): number => (cache.blocks > 0 ? cache.used / cache.blocks : 0);
