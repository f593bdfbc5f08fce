/** Folders of the model stores, and small helpers for walking them. */
import { readdirSync, statSync, type Dirent, type Stats } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import type { HubOptions } from "./api.ts";

type Env = NonNullable<HubOptions["env"]>;

function home(env: Env): string {
  return env.HOME || homedir();
}

/** `~` and `~/x` as the shell means them. */
export function expandHome(path: string, env: Env): string {
  return path === "~" || path.startsWith("~/") ? join(home(env), path.slice(1)) : path;
}

/** Alloy's own store. */
export function alloyRoot(env: Env): string {
  return env.ALLOY_MODELS ? expandHome(env.ALLOY_MODELS, env) : join(home(env), ".alloy", "models");
}

export function ollamaRoot(env: Env): string {
  return env.OLLAMA_MODELS ? expandHome(env.OLLAMA_MODELS, env) : join(home(env), ".ollama", "models");
}

/** The Hugging Face hub cache, by huggingface_hub's own rules. */
export function huggingFaceRoot(env: Env): string {
  const direct = env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE;
  if (direct) return expandHome(direct, env);
  if (env.HF_HOME) return join(expandHome(env.HF_HOME, env), "hub");
  return join(env.XDG_CACHE_HOME || join(home(env), ".cache"), "huggingface", "hub");
}

/** Entries of a folder sorted by name; empty when it is not there or not readable, as an absent store is no error. */
export function entries(folder: string): Dirent[] {
  try {
    return readdirSync(folder, { withFileTypes: true }).toSorted((a, b) => (a.name < b.name ? -1 : 1));
  } catch {
    return [];
  }
}

/** Status of a path with links followed; undefined when there is nothing. */
export function statOf(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}
