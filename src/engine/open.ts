/** The real engine from its options, on the thread that calls. */
import type { Engine } from "./api.ts";
import { Catalog } from "./catalog.ts";
import { EngineCore, type EngineOptions } from "./core.ts";
import { realParts } from "./wiring.ts";

export const openEngine = async (options: EngineOptions): Promise<Engine> =>
  EngineCore.create(realParts(await Catalog.open(options.models)), options);
