/** Files that the executable carries inside itself, as real files that can be mapped. */
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { AlloyError } from "./errors.ts";
import { cacheDir } from "./paths.ts";
import { COMPILED } from "./version.ts";

/**
 * Path of an embedded file on disk. `embedded` is what `import path from "..." with { type: "file" }` gave: from source that is the
 * file itself; in the executable its name carries a hash of its content, under which it is unpacked once to the cache folder.
 * Where the cache folder cannot be written it is unpacked to a temporary folder until the program ends. Throws `io_error`.
 */
export function embeddedFile(embedded: string): string {
  if (!COMPILED) return embedded;
  const bytes = statSync(embedded).size;
  const folder = join(cacheDir(), "embedded");
  const path = join(folder, basename(embedded));
  try {
    if (statSync(path, { throwIfNoEntry: false })?.size === bytes) return path;
    unpack(embedded, folder, path);
    return path;
  } catch {
    return unpackToTemporary(embedded);
  }
}

/** Whole or not at all: programs that start at the same time see no half-written file. */
function unpack(embedded: string, folder: string, path: string): void {
  mkdirSync(folder, { recursive: true });
  const part = `${path}.${process.pid}.part`;
  writeFileSync(part, readFileSync(embedded));
  renameSync(part, path);
}

function unpackToTemporary(embedded: string): string {
  try {
    const folder = mkdtempSync(join(tmpdir(), "alloy-"));
    process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
    const path = join(folder, basename(embedded));
    unpack(embedded, folder, path);
    return path;
  } catch (cause) {
    throw new AlloyError(
      "io_error",
      `${basename(embedded)} cannot be unpacked to ${cacheDir()} or ${tmpdir()}: ${(cause as Error).message}`,
      {
        hint: "Set ALLOY_CACHE_DIR to a folder with room that you may write.",
        cause,
      },
    );
  }
}
