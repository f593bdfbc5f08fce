/** Entry point of the engine's worker. `build.ts` lists this file: a worker is in the executable only as an entry point of its own. */
import { Catalog } from "./catalog.ts";
import { EngineCore } from "./core.ts";
import { hostEngine } from "./host.ts";
import { realParts } from "./wiring.ts";

hostEngine(async (options) => EngineCore.create(realParts(await Catalog.open(options.models)), options));
