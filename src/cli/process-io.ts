/** The process's own streams as the `Io` of commands. */
import type { Io } from "./context.ts";
import { lineReader } from "./lines.ts";

export function processIo(): Io {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      // The reader went away (`alloy list | head -1`): nothing is left to do, and nothing is wrong.
      if (error.code === "EPIPE") process.exit(0);
      throw error;
    });
  }
  return {
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    readStdin,
    readLine: lineReader(process.env),
    onInterrupt,
    stdinIsTty: process.stdin.isTTY === true,
    stdoutIsTty: process.stdout.isTTY === true,
    env: process.env,
  };
}

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
