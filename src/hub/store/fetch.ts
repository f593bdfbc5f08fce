/** Blobs from servers into the store. Whoever wants the same blob at the same time shares one download, also between programs. */
import { mkdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { AlloyError } from "../../support/errors.ts";
import { lock } from "../../support/lock.ts";
import { diskError, downloadFile, type DownloadOptions, type FileSource } from "../download/file.ts";
import { readJournal } from "../download/journal.ts";
import { statOf } from "../stores.ts";
import { adoptFile, blobPath, hasBlob, hashFile } from "./blobs.ts";

export interface FetchOptions extends Omit<DownloadOptions, "onProgress" | "signal"> {
  signal?: AbortSignal;
  onProgress?: (completed: number) => void;
  /** Files of other stores that may be the same: if one is, it is taken instead of the download. */
  copies?: readonly string[];
}

interface Shared {
  stop: AbortController;
  listeners: Set<(completed: number) => void>;
  completed: number;
  digest: Promise<string>;
}

/** Downloads under way in this program, by the path of the unfinished file. */
const running = new Map<string, Shared>();

/** Where a blob lies until it is whole. Named by what is known of it, so that the next pull finds it. */
export function partialPath(root: string, { pin, url }: FileSource): string {
  const key = !pin
    ? `url-${new Bun.CryptoHasher("sha256").update(url).digest("hex")}`
    : "git" in pin
      ? `git-${pin.git}`
      : `sha256-${pin.sha256}`;
  return join(root, "blobs", `${key}.partial`);
}

/** Bytes of a file that are still to come. */
export function missingBytes(root: string, source: FileSource): number {
  if (source.pin && "sha256" in source.pin && hasBlob(root, source.pin.sha256, source.size)) return 0;
  return source.size - readJournal(partialPath(root, source), source.size).ranges.bytes;
}

/**
 * Brings a file into the store and returns its hex SHA-256; at once if it is there. When the last of those who wait for it gives up, the
 * download stops and what came is kept. Throws as `downloadFile` does, and the signal's reason.
 */
export async function fetchBlob(root: string, source: FileSource, options: FetchOptions): Promise<string> {
  const { signal, onProgress = () => {} } = options;
  const partial = partialPath(root, source);
  let shared = running.get(partial);
  // One that everybody left is winding down: the next begins where it ends.
  for (; shared?.stop.signal.aborted; shared = running.get(partial)) await shared.digest.catch(() => {});
  signal?.throwIfAborted();
  shared ??= start(root, source, partial, options);
  shared.listeners.add(onProgress);
  onProgress(shared.completed);
  try {
    return await orAborted(shared.digest, signal);
  } finally {
    shared.listeners.delete(onProgress);
    if (shared.listeners.size === 0 && running.get(partial) === shared) {
      shared.stop.abort(new AlloyError("cancelled", "the download was cancelled"));
      // Its files are closed and its journal is written when it ends.
      await shared.digest.catch(() => {});
    }
  }
}

function start(root: string, source: FileSource, partial: string, options: FetchOptions): Shared {
  const stop = new AbortController();
  const shared: Shared = { stop, listeners: new Set(), completed: 0, digest: Promise.resolve("") };
  const onProgress = (completed: number) => {
    shared.completed = completed;
    for (const listener of shared.listeners) listener(completed);
  };
  shared.digest = bring(root, source, partial, { ...options, signal: stop.signal, onProgress }).finally(() => running.delete(partial));
  // Its listeners may all have gone.
  shared.digest.catch(() => {});
  running.set(partial, shared);
  return shared;
}

async function bring(
  root: string,
  source: FileSource,
  partial: string,
  options: FetchOptions & { signal: AbortSignal; onProgress: (completed: number) => void },
): Promise<string> {
  const { signal, onProgress } = options;
  const { size, pin } = source;
  const known = pin && "sha256" in pin ? pin.sha256 : undefined;
  try {
    mkdirSync(join(root, "blobs"), { recursive: true });
  } catch (e) {
    throw diskError(root, e);
  }
  // Another program that downloads it shows its progress in its journal.
  const held = await lock(`${partial}.lock`, { signal, waiting: () => onProgress(readJournal(partial, size).ranges.bytes) });
  try {
    if (known !== undefined) {
      if (hasBlob(root, known, size)) return known;
      for (const copy of options.copies ?? []) {
        if (statOf(copy)?.size !== size || (await hashFile(copy, signal, onProgress)) !== known) continue;
        adoptFile(root, copy, known, "immutable");
        return known;
      }
    }
    const digest = await downloadFile(source, partial, options);
    renameSync(partial, blobPath(root, digest));
    return digest;
  } finally {
    held.release();
  }
}

async function orAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  const aborted = Promise.withResolvers<never>();
  const leave = () => aborted.reject(signal.reason);
  signal.addEventListener("abort", leave, { once: true });
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", leave);
  }
}
