#!/usr/bin/env bun
/** Entry point of `alloy`. */
import { realDeps } from "./real-deps.ts";
import { runProgram } from "./program.ts";
import { processIo } from "./process-io.ts";

const code = await runProgram(process.argv.slice(2), processIo(), realDeps);
await Promise.all([drain(process.stdout), drain(process.stderr)]);
process.exit(code);

/** Waits until everything written has left the process: `process.exit` would cut a pipe's last kilobytes. */
function drain(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((done) => stream.write("", () => done()));
}
