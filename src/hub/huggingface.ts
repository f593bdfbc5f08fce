/** The Hugging Face hub cache: models--ORG--REPO/{refs/main, snapshots/COMMIT/...}, files being links into blobs/. */
import { existsSync, readFileSync, realpathSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { AlloyError } from "../support/errors.ts";
import type { ResolvedModel } from "./api.ts";
import { chooseGguf, findProjector, ggufFiles, type GgufFile } from "./gguf-files.ts";
import { splitTag } from "./names.ts";
import { entries, statOf } from "./stores.ts";

const PREFIX = "models--";
const HOSTS = /^(?:https?:\/\/)?(?:hf\.co|huggingface\.co)\//i;

/** All models of the cache: every GGUF file of a repository, else its safetensors. */
export function huggingFaceModels(root: string): ResolvedModel[] {
  return repositories(root).flatMap(({ name, snapshot }) => {
    const files = ggufFiles(snapshot);
    if (files.length) return files.map((file) => ggufModel(name, file, files));
    return isCheckpoint(snapshot) ? [folderModel(name, snapshot)] : [];
  });
}

/**
 * A model by `org/repo[:QUANT]`, with or without `hf.co/`; undefined when the repository is not in the cache.
 * Throws `model_not_found` when it is but not in that quantization or without weights, `bad_argument` when QUANT fits several files.
 */
export function findHuggingFace(root: string, reference: string): ResolvedModel | undefined {
  const [wanted, tag] = splitTag(reference.replace(HOSTS, ""));
  const found = repositories(root).find(({ name }) => name.toLowerCase() === wanted.toLowerCase());
  if (!found) return undefined;
  const { name, snapshot } = found;
  // Ollama's clients add ":latest" to every name without a tag.
  const quant = tag?.toLowerCase() === "latest" ? undefined : tag;
  const files = ggufFiles(snapshot);
  if (files.length) return ggufModel(name, chooseGguf(name, files, quant), files);
  if (!isCheckpoint(snapshot))
    throw new AlloyError("model_not_found", `${name} is in the Hugging Face cache, but without weights that Alloy reads`, {
      hint: `${snapshot} holds neither *.gguf nor config.json with *.safetensors: download the whole repository.`,
    });
  if (quant !== undefined)
    throw new AlloyError("model_not_found", `${name} is installed as safetensors, not as "${quant}"`, {
      hint: `Ask for "${name}", or download a GGUF form of it.`,
      data: { model: reference },
    });
  return folderModel(name, snapshot);
}

function repositories(root: string): { name: string; snapshot: string }[] {
  return entries(root).flatMap((entry) => {
    if (!entry.name.startsWith(PREFIX)) return [];
    const snapshot = currentSnapshot(join(root, entry.name));
    return snapshot ? [{ name: entry.name.slice(PREFIX.length).replaceAll("--", "/"), snapshot }] : [];
  });
}

/** The snapshot that refs/main names, else the newest. */
function currentSnapshot(repository: string): string | undefined {
  const folder = join(repository, "snapshots");
  const ref = join(repository, "refs", "main");
  const commit = existsSync(ref) ? readFileSync(ref, "utf8").trim() : "";
  // Only a plain name: the text of a file must not lead elsewhere.
  if (/^[\w-]+$/.test(commit) && statOf(join(folder, commit))?.isDirectory()) return join(folder, commit);
  const times = entries(folder).map(({ name }) => ({ path: join(folder, name), time: changed(join(folder, name)) }));
  return times.toSorted((a, b) => b.time - a.time)[0]?.path;
}

function isCheckpoint(folder: string): boolean {
  return existsSync(join(folder, "config.json")) && entries(folder).some(({ name }) => name.endsWith(".safetensors"));
}

function ggufModel(repository: string, file: GgufFile, all: readonly GgufFile[]): ResolvedModel {
  const unique = file.label !== "" && all.filter(({ label }) => label === file.label).length === 1;
  return {
    name: `${repository}:${unique ? file.label : file.stem}`,
    source: "huggingface",
    path: file.path,
    format: "gguf",
    modified: changed(file.path),
    digest: blobDigest(file.path),
    projector: findProjector(dirname(file.path)),
  };
}

function folderModel(repository: string, snapshot: string): ResolvedModel {
  return {
    name: repository,
    source: "huggingface",
    path: snapshot,
    format: "huggingface",
    modified: changed(join(snapshot, "config.json")),
  };
}

function changed(path: string): number {
  return statOf(path)?.mtimeMs ?? 0;
}

/** Large files are links to a blob that is named by its SHA-256. */
function blobDigest(path: string): string | undefined {
  try {
    const name = basename(realpathSync(path));
    return /^[0-9a-f]{64}$/.test(name) ? name : undefined;
  } catch {
    return undefined;
  }
}
