/** Blobs that clients send: to disk as they come, and into the store when the digest is right. */
import { mkdirSync, renameSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { dirname } from "node:path";
import { AlloyError } from "../../support/errors.ts";
import { formatBytes } from "../../support/format.ts";
import { tryLock } from "../../support/lock.ts";
import { diskError } from "../download/file.ts";
import { blobPath, freeBytes } from "./blobs.ts";

/**
 * Writes a blob piece by piece and checks it. Throws `invalid_value` when its digest is another, `io_error` without room for it, and what
 * `pieces` throws; then nothing is left of it.
 * @param size if it was announced
 */
export async function receiveBlob(root: string, digest: string, pieces: AsyncIterable<Uint8Array>, size?: number): Promise<void> {
  const path = blobPath(root, digest);
  const partial = `${path}.${crypto.randomUUID()}.partial`;
  const hasher = new Bun.CryptoHasher("sha256");
  try {
    mkdirSync(dirname(path), { recursive: true });
    const room = freeBytes(root);
    if (size !== undefined && size > room)
      throw new AlloyError("io_error", `the file has ${formatBytes(size)}, and ${root} has room for ${formatBytes(room)}`, {
        hint: "Free some space, or set ALLOY_MODELS to a folder on a larger disk.",
      });
    // Tells a program that cleans up from one that died in the middle.
    const lock = tryLock(`${partial}.lock`);
    const file = await open(partial, "w");
    try {
      for await (const piece of pieces) {
        hasher.update(piece);
        await file.writeFile(piece);
      }
      const got = hasher.digest("hex");
      if (got !== digest) throw mismatch(digest, got);
      await file.sync();
      renameSync(partial, path);
    } finally {
      await file.close();
      rmSync(partial, { force: true });
      lock?.release();
    }
  } catch (e) {
    throw diskError(path, e);
  }
}

function mismatch(expected: string, got: string): AlloyError {
  const text = `digest mismatch, expected "sha256:${expected}", got "sha256:${got}"`;
  return new AlloyError("invalid_value", text, { data: { ollama: text } });
}
