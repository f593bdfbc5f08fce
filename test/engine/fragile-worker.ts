/** A worker with an engine that dies when told to. */
import { serveThread } from "../../src/engine/host.ts";
import { fragileEngine } from "./fragile-engine.ts";

serveThread(fragileEngine);
