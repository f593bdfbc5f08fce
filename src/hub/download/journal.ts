/** What is known of an unfinished download, in a small file beside it: enough to go on after a crash. */
import { readFileSync, rmSync, statSync } from "node:fs";
import { rename, writeFile } from "node:fs/promises";
import { isObject } from "../../formats/json.ts";
import { Ranges } from "./ranges.ts";

export interface Journal {
  ranges: Ranges;
  /** Entity tag of the file that the bytes came from. */
  etag?: string;
}

/** Beside the unfinished file. */
export function journalPath(path: string): string {
  return `${path}.json`;
}

/** What is there of a file of `size` bytes at `path`; nothing when the journal is missing, damaged, or speaks of another size. */
export function readJournal(path: string, size: number): Journal {
  try {
    const json: unknown = JSON.parse(readFileSync(journalPath(path), "utf8"));
    if (!isObject(json) || json.size !== size || !Array.isArray(json.done) || statSync(path).size !== size) return { ranges: new Ranges() };
    const done = json.done.filter((r): r is [number, number] => Array.isArray(r) && r.length === 2 && r.every(Number.isSafeInteger));
    if (done.some(([start, end]) => start < 0 || end > size)) return { ranges: new Ranges() };
    return { ranges: new Ranges(done), etag: typeof json.etag === "string" ? json.etag : undefined };
  } catch {
    return { ranges: new Ranges() };
  }
}

/** Replaces the journal in one step. One call at a time. */
export async function writeJournal(path: string, size: number, { ranges, etag }: Journal): Promise<void> {
  const temporary = `${journalPath(path)}.new`;
  await writeFile(temporary, JSON.stringify({ size, etag, done: ranges.list }));
  await rename(temporary, journalPath(path));
}

export function removeJournal(path: string): void {
  rmSync(journalPath(path), { force: true });
}
