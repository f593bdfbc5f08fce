/** The last step of whatever makes a model: its name in the store, all at once. */
import { lstatSync, mkdirSync, readdirSync, renameSync, rmdirSync, rmSync, symlinkSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { AlloyError } from "../../support/errors.ts";
import { diskError } from "../download/file.ts";
import { blobsOf, FILE_TYPE, parseManifest, type Manifest } from "../manifest.ts";
import { blobPath, manifestNames, manifestPath, readManifest, storedName, viewPath } from "../manifests.ts";
import type { ModelName } from "../names.ts";
import { dropBlobs, hasBlob, replaceFile } from "./blobs.ts";

/**
 * Gives a name to a manifest whose blobs are all there. What the name meant before is replaced, and blobs that nothing else names are
 * deleted; `removing` is called if that may be so. Throws `io_error`.
 */
export async function publishManifest(root: string, name: ModelName, bytes: Uint8Array, removing: () => void = () => {}): Promise<void> {
  // One name in one spelling, also on disks that see no difference.
  const stored = storedName(root, name) ?? name;
  const manifest = parseManifest(bytes, manifestPath(root, stored));
  const gone = blobsOf(manifest).find(({ digest }) => !hasBlob(root, digest));
  if (gone) throw new AlloyError("io_error", `${blobPath(root, gone.digest)} was deleted meanwhile`, { hint: "Do it again." });
  const before = previous(root, stored);
  try {
    makeView(root, manifest);
    mkdirSync(dirname(manifestPath(root, stored)), { recursive: true });
    replaceFile(manifestPath(root, stored), bytes);
  } catch (e) {
    throw diskError(manifestPath(root, stored), e);
  }
  if (!before || before.digest === manifest.digest) return;
  removing();
  await dropManifest(root, before);
}

/** Takes a name out of the store, with all that only it needs. Returns how many bytes that freed. */
export async function unpublish(root: string, name: ModelName): Promise<number> {
  const before = previous(root, name);
  const path = manifestPath(root, name);
  try {
    rmSync(path);
  } catch (e) {
    throw diskError(path, e);
  }
  removeEmpty(dirname(path), join(root, "manifests"));
  return before ? dropManifest(root, before) : 0;
}

function previous(root: string, name: ModelName): Manifest | undefined {
  try {
    return readManifest(root, name);
  } catch {
    return undefined;
  }
}

/** Deletes what a manifest had that no other needs. */
async function dropManifest(root: string, manifest: Manifest): Promise<number> {
  const twin = manifestNames(root).some((name) => previous(root, name)?.digest === manifest.digest);
  if (!twin) rmSync(viewPath(root, manifest.digest), { recursive: true, force: true });
  return dropBlobs(
    root,
    blobsOf(manifest).map(({ digest }) => digest),
  );
}

/** Makes the folder of links for a model that needs its files under their names; one that is there is made anew. */
function makeView(root: string, { digest, layers }: Manifest): void {
  const files = layers.filter(({ mediaType }) => mediaType === FILE_TYPE);
  if (files.length === 0) return;
  const view = viewPath(root, digest);
  const fresh = `${view}.${process.pid}.new`;
  rmSync(fresh, { recursive: true, force: true });
  for (const { name, digest: blob } of files) {
    const link = join(fresh, name!);
    mkdirSync(dirname(link), { recursive: true });
    // Relative to where it will be, so that the store can be moved.
    symlinkSync(relative(dirname(join(view, name!)), blobPath(root, blob)), link);
  }
  rmSync(view, { recursive: true, force: true });
  renameSync(fresh, view);
}

/** Deletes a folder and those above it, up to `top`, as long as they are empty. */
function removeEmpty(folder: string, top: string): void {
  for (let at = folder; at !== top && at.startsWith(top); at = dirname(at)) {
    if (!lstatSync(at).isDirectory() || readdirSync(at).length > 0) return;
    rmdirSync(at);
  }
}
