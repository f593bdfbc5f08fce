/** The process's own streams as the `Io` of commands. */
import { write as writeLater, writeSync } from "node:fs";
import { AlloyError } from "../support/errors.ts";
import type { Io } from "./context.ts";
import { lineReader } from "./lines.ts";
import { LogSink } from "./log-sink.ts";

export function processIo(): Io {
  const log = new LogSink(
    (bytes) => new Promise((resolve, reject) => writeLater(2, bytes, (error, written) => (error ? reject(error) : resolve(written)))),
  );
  return {
    out: (text) => write(1, text),
    err: (text) => write(2, text),
    log: (line) => log.write(line),
    flushLog: (ms) => log.flush(ms),
    readStdin,
    readLine: lineReader(process.env),
    onInterrupt,
    stdinIsTty: process.stdin.isTTY === true,
    stdoutIsTty: process.stdout.isTTY === true,
    stderrIsTty: process.stderr.isTTY === true,
    get columns() {
      return process.stdout.columns || 80;
    },
    env: process.env,
  };
}

/**
 * Writes all of a text before it returns. Streams would write later, and `process.exit` would cut what a slow reader has not taken yet.
 */
function write(fd: 1 | 2, text: string): void {
  let rest = Buffer.from(text);
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(fd, rest));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      // The pipe is full and another program made it non-blocking.
      if (code === "EAGAIN") Atomics.wait(PAUSE, 0, 0, 1);
      // The reader went away (`alloy list | head -1`): nothing is left to do, and nothing is wrong.
      else if (code === "EPIPE") process.exit(0);
      else throw new AlloyError("io_error", `the output cannot be written: ${(error as Error).message}`, { cause: error });
    }
  }
}

const PAUSE = new Int32Array(new SharedArrayBuffer(4));

/** Reads to the end; a person who waits at a pipe that nobody closes is told why. */
async function readStdin(): Promise<string> {
  const notice = setTimeout(
    () => process.stderr.write("alloy: waiting for the end of standard input (add </dev/null if there is none)\n"),
    3000,
  );
  try {
    return await Bun.stdin.text();
  } finally {
    clearTimeout(notice);
  }
}

function onInterrupt(callback: (signal: "SIGINT" | "SIGTERM") => void): () => void {
  const onInt = () => callback("SIGINT");
  const onTerm = () => callback("SIGTERM");
  process.on("SIGINT", onInt);
  process.on("SIGTERM", onTerm);
  return () => {
    process.off("SIGINT", onInt);
    process.off("SIGTERM", onTerm);
  };
}
