/** Blobs of Alloy's own store: written whole or not at all, named by their SHA-256, deleted when no manifest and no pull wants them. */
import {
  copyFileSync,
  constants,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from "node:fs";
import { open } from "node:fs/promises";
import { dirname, join } from "node:path";
import { lock, tryLock, type Lock } from "../../support/lock.ts";
import { diskError } from "../download/file.ts";
import { blobsOf } from "../manifest.ts";
import { blobPath, manifestNames, readManifest } from "../manifests.ts";
import { entries, statOf } from "../stores.ts";

export { blobPath };

const HASH_BYTES = 2 ** 20;

/** Whether a blob is there, whole: of `size` bytes if that is known. */
export function hasBlob(root: string, digest: string, size?: number): boolean {
  const stat = statOf(blobPath(root, digest));
  return stat !== undefined && (size === undefined || stat.size === size);
}

/** Puts small content into the store. Returns its digest. Throws `io_error`. */
export function putBlob(root: string, content: string | Uint8Array): { digest: string; size: number } {
  const bytes = typeof content === "string" ? Buffer.from(content) : content;
  const digest = new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
  const path = blobPath(root, digest);
  try {
    mkdirSync(dirname(path), { recursive: true });
    if (!hasBlob(root, digest, bytes.byteLength)) replaceFile(path, bytes);
  } catch (e) {
    throw diskError(path, e);
  }
  return { digest, size: bytes.byteLength };
}

/** Writes a file in one step: readers see the old content or the new. */
export function replaceFile(path: string, content: string | Uint8Array): void {
  const temporary = `${path}.${process.pid}.new`;
  try {
    writeFileSync(temporary, content);
    renameSync(temporary, path);
  } catch (e) {
    rmSync(temporary, { force: true });
    throw e;
  }
}

/** Hex SHA-256 of a file, in pieces, so that others get their turn. Throws the signal's reason. */
export async function hashFile(path: string, signal?: AbortSignal, onProgress?: (bytes: number) => void): Promise<string> {
  const hasher = new Bun.CryptoHasher("sha256");
  const file = await open(path, "r");
  try {
    const buffer = Buffer.allocUnsafe(HASH_BYTES);
    for (let at = 0; ;) {
      signal?.throwIfAborted();
      const { bytesRead } = await file.read(buffer, 0, buffer.length, at);
      if (bytesRead === 0) return hasher.digest("hex");
      hasher.update(buffer.subarray(0, bytesRead));
      at += bytesRead;
      onProgress?.(at);
    }
  } finally {
    await file.close();
  }
}

/**
 * Gives the store a file of somebody else under its digest, which the caller has checked: as a second name of the same bytes if they
 * are never written to again, else as a copy. Throws `io_error`.
 */
export function adoptFile(root: string, path: string, digest: string, kind: "immutable" | "changing"): void {
  const blob = blobPath(root, digest);
  mkdirSync(dirname(blob), { recursive: true });
  if (existsSync(blob)) return;
  const temporary = `${blob}.${process.pid}.new`;
  const real = realpathSync(path);
  try {
    rmSync(temporary, { force: true });
    if (kind === "changing" || !linked(real, temporary)) copyFileSync(real, temporary, constants.COPYFILE_FICLONE);
    renameSync(temporary, blob);
  } catch (e) {
    rmSync(temporary, { force: true });
    throw diskError(blob, e);
  }
}

/** False on another file system, or one without hard links. */
function linked(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch {
    return false;
  }
}

/** Bytes that can still be written below a folder, which need not exist yet. */
export function freeBytes(folder: string): number {
  let at = folder;
  while (!existsSync(at) && dirname(at) !== at) at = dirname(at);
  const { bavail, bsize } = statfsSync(at);
  return Number(bavail) * Number(bsize);
}

/** Short work on the store that no other program may disturb. Throws `io_error` when the store cannot be written. */
async function exclusively<T>(root: string, work: () => T): Promise<T> {
  let held: Lock | undefined;
  try {
    held = await lock(join(root, ".lock"));
    return work();
  } catch (e) {
    throw diskError(root, e);
  } finally {
    held?.release();
  }
}

const pendingFolder = (root: string): string => join(root, "pending");

/** Keeps blobs from being deleted until the result is released or this program ends, although no manifest names them yet. */
export async function keepBlobs(root: string, digests: readonly string[]): Promise<Lock> {
  const path = join(pendingFolder(root), `${process.pid}-${crypto.randomUUID()}`);
  return exclusively(root, () => {
    const held = tryLock(path)!;
    writeFileSync(path, JSON.stringify(digests));
    return held;
  });
}

/** Deletes those of the given blobs that neither a manifest nor work under way names. Returns how many bytes that freed. */
export async function dropBlobs(root: string, digests: readonly string[]): Promise<number> {
  if (digests.length === 0) return 0;
  return exclusively(root, () => {
    const wanted = new Set([...manifestBlobs(root), ...pendingBlobs(root)]);
    let freed = 0;
    for (const digest of digests) {
      if (wanted.has(digest)) continue;
      freed += statOf(blobPath(root, digest))?.size ?? 0;
      rmSync(blobPath(root, digest), { force: true });
    }
    return freed;
  });
}

/** Blobs that are older than `ms`: what was sent or fetched just now may be about to get its manifest. */
export function blobsOlderThan(root: string, ms: number): string[] {
  return entries(join(root, "blobs")).flatMap(({ name }) => {
    const digest = /^sha256-[0-9a-f]{64}$/.test(name) ? name.slice("sha256-".length) : undefined;
    return digest !== undefined && Date.now() - (statOf(blobPath(root, digest))?.mtimeMs ?? 0) > ms ? [digest] : [];
  });
}

function manifestBlobs(root: string): string[] {
  return manifestNames(root).flatMap((name) => {
    try {
      return blobsOf(readManifest(root, name)).map(({ digest }) => digest);
    } catch {
      return [];
    }
  });
}

function pendingBlobs(root: string): string[] {
  const folder = pendingFolder(root);
  if (!existsSync(folder)) return [];
  return readdirSync(folder).flatMap((name): string[] => {
    const path = join(folder, name);
    // Nobody holds the lock of a program that died.
    const stale = tryLock(path);
    if (stale) {
      stale.release();
      return [];
    }
    try {
      return JSON.parse(readFileSync(path, "utf8")) as string[];
    } catch {
      return [];
    }
  });
}
