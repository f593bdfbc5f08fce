#!/usr/bin/env bun
/** Entry point of `alloy`. */
import { ENGINE_WORD } from "../engine/port.ts";
import { processIo } from "./process-io.ts";
import { runProgram } from "./program.ts";
import { realDeps } from "./real-deps.ts";

// The engine's own process; it ends with the one that started it.
if (process.argv[2] === ENGINE_WORD) await import("../engine/child.ts");
else process.exit(await runProgram(process.argv.slice(2), processIo(), realDeps));
