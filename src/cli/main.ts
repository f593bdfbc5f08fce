#!/usr/bin/env bun
/** Entry point of `alloy`. */
import { processIo } from "./process-io.ts";
import { runProgram } from "./program.ts";
import { realDeps } from "./real-deps.ts";

process.exit(await runProgram(process.argv.slice(2), processIo(), realDeps));
