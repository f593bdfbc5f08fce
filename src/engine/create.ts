/** The way to an engine. */
import { fileURLToPath } from "node:url";
import { COMPILED } from "../support/version.ts";
import type { Engine } from "./api.ts";
import { Catalog } from "./catalog.ts";
import { type ClientParts, EngineClient } from "./client.ts";
import type { EngineOptions } from "./core.ts";
import { ENGINE_WORD, processPort, workerPort } from "./port.ts";

export type { EngineOptions };

export interface CreateOptions extends EngineOptions {
  /**
   * "worker": a thread of this process. "process": one of its own, which a crash in native code ends alone; for servers. "here": the
   * calling thread. Default "worker".
   */
  place?: "worker" | "process" | "here";
  /** Hears of every death of the engine, and that it starts again. */
  onDeath?: ClientParts["onDeath"];
}

/** In the executable all code lies in one module at its root, and workers where their sources lie below the repository. */
const WORKER = COMPILED ? "./src/engine/worker.ts" : "./worker.ts";

/** The executable starts itself. */
const childCommand = (): string[] =>
  COMPILED ? [process.execPath, ENGINE_WORD] : [process.execPath, fileURLToPath(new URL("./child.ts", import.meta.url))];

/**
 * Starts an engine and loads `models`. Throws what keeps it from that: `model_not_found`, `out_of_memory`, `bad_argument` for a device that
 * is not there, and what the readers of model files throw.
 */
export async function createEngine({ place = "worker", onDeath, ...options }: CreateOptions = {}): Promise<Engine> {
  if (place === "here") {
    const { openEngine } = await import("./open.ts");
    return openEngine(options);
  }
  const catalog = await Catalog.open(options.models);
  const openPort = place === "process" ? processPort(childCommand()) : workerPort(() => new Worker(new URL(WORKER, import.meta.url)));
  return EngineClient.start({ openPort, models: () => catalog.list(), model: (name) => catalog.info(name), onDeath }, options);
}
