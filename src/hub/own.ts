/**
 * Alloy's own store. What was pulled or made lies there as Ollama keeps it (manifests and blobs); GGUF files and Hugging Face folders that
 * somebody put there are named by where they lie (`qwen3-8b`, `org/repo`).
 */
import { existsSync } from "node:fs";
import { dirname, join, relative, sep } from "node:path";
import type { ResolvedModel } from "./api.ts";
import { chooseGguf, findProjector, ggufAmong, ggufFiles } from "./gguf-files.ts";
import { findManifestModel, loadManifestModel, manifestModels, manifestNames } from "./manifests.ts";
import { DEFAULT_TAG, displayName, HF_HOST, isHuggingFaceHost, parseName, splitTag } from "./names.ts";
import { entries, statOf } from "./stores.ts";

const MAX_DEPTH = 3;

/** Folders of the store that are not for people to put things in. */
const RESERVED = new Set(["blobs", "manifests", "views", "pending"]);

export function ownModels(root: string): ResolvedModel[] {
  return [...looseModels(root), ...manifestModels(root, "alloy")];
}

/**
 * A model of the store by its name, with or without `.gguf` or `:latest`; what came from Hugging Face also without `hf.co/`, and with
 * a part of its quantization's name or none. Undefined when it is not there. Throws `bad_file` when it is damaged.
 */
export function findOwn(root: string, reference: string): ResolvedModel | undefined {
  const [name, tag] = splitTag(reference);
  const wanted = (tag?.toLowerCase() === "latest" ? name : reference).replace(/\.gguf$/i, "").toLowerCase();
  const loose = looseModels(root).find((model) => model.name.toLowerCase() === wanted);
  return loose ?? findManifestModel(root, reference, "alloy") ?? findRepository(root, reference);
}

/** What was pulled from a Hugging Face repository: the tag asked for, as far as it tells one from the others. */
function findRepository(root: string, reference: string): ResolvedModel | undefined {
  const parsed = parseName(reference);
  const name = parsed && isHuggingFaceHost(parsed.host) ? parsed : parseName(`${HF_HOST}/${reference}`);
  if (!name) return undefined;
  const same = (a: string, b: string) => a.toLowerCase() === b.toLowerCase();
  const pulled = manifestNames(root).filter((n) => n.host === HF_HOST && same(n.namespace, name.namespace) && same(n.model, name.model));
  if (pulled.length === 0) return undefined;
  const exact = pulled.find(({ tag }) => same(tag, name.tag));
  if (exact) return loadManifestModel(root, exact, "alloy");
  const files = pulled.map(({ tag }) => ({ path: tag, stem: tag, label: tag.toUpperCase() }));
  const { path: tag } = chooseGguf(
    displayName({ ...pulled[0], tag: "" }).replace(/:$/, ""),
    files,
    name.tag === DEFAULT_TAG ? undefined : name.tag,
  );
  return loadManifestModel(
    root,
    pulled.find((n) => n.tag === tag)!,
    "alloy",
  );
}

function looseModels(root: string): ResolvedModel[] {
  const folders = entries(root).filter(({ name }) => !RESERVED.has(name));
  const files = folders.flatMap((entry) => {
    const path = join(root, entry.name);
    return entry.isDirectory() ? ggufFiles(path, 1) : ggufAmong([path]);
  });
  const models = files.map(({ path, stem }): ResolvedModel => ({
    name: nameOf(root, join(dirname(path), stem)),
    source: "alloy",
    path,
    format: "gguf",
    modified: statOf(path)?.mtimeMs ?? 0,
    projector: findProjector(dirname(path)),
  }));
  return [...models, ...checkpoints(root, root)];
}

function checkpoints(root: string, folder: string, depth = 0): ResolvedModel[] {
  return entries(folder).flatMap((entry): ResolvedModel[] => {
    const path = join(folder, entry.name);
    if (depth === 0 && RESERVED.has(entry.name)) return [];
    if (!statOf(path)?.isDirectory()) return [];
    const config = join(path, "config.json");
    if (existsSync(config))
      return [{ name: nameOf(root, path), source: "alloy", path, format: "huggingface", modified: statOf(config)?.mtimeMs ?? 0 }];
    return depth < MAX_DEPTH ? checkpoints(root, path, depth + 1) : [];
  });
}

function nameOf(root: string, path: string): string {
  return relative(root, path).split(sep).join("/");
}
