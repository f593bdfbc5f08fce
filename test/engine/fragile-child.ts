/** A process with an engine that dies when told to. */
import { serveParent } from "../../src/engine/host.ts";
import { fragileEngine } from "./fragile-engine.ts";

serveParent(fragileEngine);
