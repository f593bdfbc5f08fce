/** The engine's own process. Run as it is from source; the executable comes here when it is started with ENGINE_WORD. */
import { serveParent } from "./host.ts";
import { openEngine } from "./open.ts";

serveParent(openEngine);
