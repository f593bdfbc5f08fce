/** The way to an engine. */
import { COMPILED } from "../support/version.ts";
import type { Engine } from "./api.ts";
import { Catalog } from "./catalog.ts";
import { EngineClient } from "./client.ts";
import type { EngineOptions } from "./core.ts";

export type { EngineOptions };

export interface CreateOptions extends EngineOptions {
  /** Run on the calling thread, without a worker. */
  inProcess?: boolean;
}

/** In the executable all code lies in one module at its root, and workers where their sources lie below the repository. */
const WORKER = COMPILED ? "./src/engine/worker.ts" : "./worker.ts";

/**
 * Starts an engine, in a worker unless told otherwise, and loads `models`. Throws what keeps it from that: `model_not_found`,
 * `out_of_memory`, `bad_argument` for a device that is not there, and what the readers of model files throw.
 */
export async function createEngine({ inProcess = false, ...options }: CreateOptions = {}): Promise<Engine> {
  const catalog = await Catalog.open(options.models);
  if (!inProcess) {
    const startWorker = (): Worker => new Worker(new URL(WORKER, import.meta.url));
    return EngineClient.start({ startWorker, models: () => catalog.list(), model: (name) => catalog.info(name) }, options);
  }
  const { EngineCore } = await import("./core.ts");
  const { realParts } = await import("./wiring.ts");
  return EngineCore.create(realParts(catalog), options);
}
