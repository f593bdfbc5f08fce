/** Deleting models, and what unfinished downloads left. Only from Alloy's own store: what lies elsewhere belongs to other programs. */
import { lstatSync, rmSync } from "node:fs";
import { join } from "node:path";
import { AlloyError } from "../../support/errors.ts";
import { tryLock } from "../../support/lock.ts";
import type { HubOptions, ResolvedModel } from "../api.ts";
import { diskError } from "../download/file.ts";
import { journalPath } from "../download/journal.ts";
import { shardPaths } from "../gguf-files.ts";
import { resolveModel } from "../resolve.ts";
import { alloyRoot, entries, statOf } from "../stores.ts";
import { blobsOlderThan, dropBlobs, hasBlob } from "./blobs.ts";
import { unpublish } from "./publish.ts";

/** A blob as young as this may belong to a model that is being made. */
const FRESH_MS = 3600_000;

export interface Removed {
  name: string;
  /** Bytes that the disk has more now. */
  freed: number;
}

/**
 * Deletes a model from Alloy's own store by name, with every blob that no other model shares.
 * Throws `model_not_found`, `forbidden` for a model that lies elsewhere (the hint says how to delete it), `io_error`.
 */
export async function removeModel(reference: string, { env = process.env }: HubOptions = {}): Promise<Removed> {
  const model = await resolveModel(reference, { env, paths: false });
  if (model.source !== "alloy") throw notOurs(model);
  const root = alloyRoot(env);
  if (model.manifest) return { name: model.name, freed: await unpublish(root, model.manifest) };
  try {
    return { name: model.name, freed: removeLoose(model) };
  } catch (e) {
    throw diskError(model.path, e);
  }
}

/** A file or folder that somebody put into the store; of a link, only the link. */
function removeLoose({ path, format }: ResolvedModel): number {
  const paths = format === "gguf" ? shardPaths(path) : [path];
  return paths.reduce((freed, each) => {
    const stat = lstatSync(each);
    rmSync(each, { recursive: stat.isDirectory() });
    return freed + (stat.isFile() ? stat.size : 0);
  }, 0);
}

function notOurs({ name, source, path }: ResolvedModel): AlloyError {
  const folder = /[/\\]models--([^/\\]+)/.exec(path)?.[1].replaceAll("--", "/");
  const hints: Partial<Record<ResolvedModel["source"], [string, string]>> = {
    demo: ["is part of Alloy itself", "It takes no room beyond the program."],
    ollama: ["belongs to Ollama, which Alloy reads only", `Delete it with \`ollama rm ${name}\`.`],
    huggingface: ["lies in the Hugging Face cache, which Alloy reads only", `Delete it with \`hf cache rm model/${folder ?? name}\`.`],
  };
  const [why, hint] = hints[source] ?? ["is a file outside Alloy's store", `Delete ${path} yourself.`];
  return new AlloyError("forbidden", `${name} ${why}`, { hint });
}

/** Deletes what unfinished pulls and creations left, except those that are under way: partial files, and blobs that no model has. */
export async function removeUnfinished({ env = process.env }: HubOptions = {}): Promise<{ files: number; freed: number }> {
  const root = alloyRoot(env);
  const folder = join(root, "blobs");
  let files = 0;
  let freed = 0;
  for (const { name } of entries(folder)) {
    if (!name.endsWith(".partial")) continue;
    const path = join(folder, name);
    const lock = tryLock(`${path}.lock`);
    if (!lock) continue;
    // The file is sparse: what counts is what the disk gave it.
    freed += (statOf(path)?.blocks ?? 0) * 512;
    files++;
    rmSync(path, { force: true });
    rmSync(journalPath(path), { force: true });
    lock.release();
  }
  const old = blobsOlderThan(root, FRESH_MS);
  freed += await dropBlobs(root, old);
  files += old.filter((digest) => !hasBlob(root, digest)).length;
  return { files, freed };
}
