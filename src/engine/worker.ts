/** Entry point of the engine's worker. `build.ts` lists this file: a worker is in the executable only as an entry point of its own. */
import { serveThread } from "./host.ts";
import { openEngine } from "./open.ts";

serveThread(openEngine);
