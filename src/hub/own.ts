/** Alloy's own store: GGUF files and Hugging Face folders under one folder, named by where they lie (`qwen3-8b`, `org/repo`). */
import { existsSync } from "node:fs";
import { dirname, join, relative, sep } from "node:path";
import type { ResolvedModel } from "./api.ts";
import { findProjector, ggufFiles } from "./gguf-files.ts";
import { splitTag } from "./names.ts";
import { entries, statOf } from "./stores.ts";

const MAX_DEPTH = 3;

export function ownModels(root: string): ResolvedModel[] {
  const files = ggufFiles(root).map(({ path, stem }): ResolvedModel => ({
    name: nameOf(root, join(dirname(path), stem)),
    source: "alloy",
    path,
    format: "gguf",
    modified: statOf(path)?.mtimeMs ?? 0,
    projector: findProjector(dirname(path)),
  }));
  return [...files, ...checkpoints(root, root)];
}

/** A model of the store by its name, with or without `.gguf` or `:latest`; undefined when it is not there. */
export function findOwn(root: string, reference: string): ResolvedModel | undefined {
  const [name, tag] = splitTag(reference);
  const wanted = (tag?.toLowerCase() === "latest" ? name : reference).replace(/\.gguf$/i, "").toLowerCase();
  return ownModels(root).find((model) => model.name.toLowerCase() === wanted);
}

function checkpoints(root: string, folder: string, depth = 0): ResolvedModel[] {
  return entries(folder).flatMap((entry): ResolvedModel[] => {
    const path = join(folder, entry.name);
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
