/** From a model reference to files on this machine, and the list of what is installed. */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { AlloyError, suggest } from "../support/errors.ts";
import type { ModelInfo } from "../engine/api.ts";
import type { HubOptions, ResolvedModel } from "./api.ts";
import { DEMO_NAME, demoPath } from "./demo.ts";
import { findProjector, ggufFiles } from "./gguf-files.ts";
import { findHuggingFace, huggingFaceModels } from "./huggingface.ts";
import { modelInfo } from "./info.ts";
import { isCloudName, nameVariants, parseName, splitTag } from "./names.ts";
import { findManifestModel, manifestModels } from "./manifests.ts";
import { findOwn, ownModels } from "./own.ts";
import { alloyRoot, expandHome, huggingFaceRoot, ollamaRoot, statOf } from "./stores.ts";

/** How many installed names an error message lists. */
const LISTED = 12;

/** No path or name is longer; a request may hold anything. */
const MAX_REFERENCE = 4096;
/** Longer names are not compared with what is installed: the time grows with their length. */
const MAX_SUGGESTED = 200;

/**
 * The model that a reference means: a path, `demo`, a name in Alloy's own store, an Ollama name, or `org/repo[:QUANT]` in the
 * Hugging Face cache; the first store that has it wins. Names are compared without regard to case, and what clients add to
 * names (`ollama/`, `[1m]`, `:local` ...) is taken off when the name as it stands is not installed.
 *
 * Throws `model_not_found` with a close name and what is installed, `bad_argument` for a quantization that fits several files,
 * and `bad_file` for a damaged store entry. Opens no model file.
 */
export async function resolveModel(reference: string, options: HubOptions = {}): Promise<ResolvedModel> {
  const env = options.env ?? process.env;
  const paths = options.paths ?? true;
  if (reference.length > MAX_REFERENCE)
    throw new AlloyError("model_not_found", `no model has a name of ${reference.length} characters ("${reference.slice(0, 40)}...")`);
  if (paths) {
    const path = expandHome(reference, env);
    if (isPath(reference) || (isGgufName(reference) && existsSync(path))) return fromPath(path);
  }
  if (isCloudName(reference))
    throw new AlloyError("model_not_found", `"${reference}" is a cloud model; Alloy runs models on this machine only`, {
      hint: "Ask for the same model without the cloud tag.",
      data: { model: reference },
    });
  for (const name of nameVariants(reference)) {
    const found = findInstalled(name, env);
    if (found) return found;
  }
  if (paths && existsSync(reference)) return fromPath(reference);
  throw notInstalled(reference, env);
}

/** A reference that can only be a path, whether or not anything is there. */
function isPath(reference: string): boolean {
  return /^(?:\.{0,2}\/|~\/|~$|\.{1,2}$|[A-Za-z]:\\)/.test(reference);
}

function isGgufName(reference: string): boolean {
  return /\.gguf$/i.test(reference);
}

function findInstalled(name: string, env: NonNullable<HubOptions["env"]>): ResolvedModel | undefined {
  const [plain, tag] = splitTag(name);
  if (plain.toLowerCase() === DEMO_NAME && (tag ?? "latest").toLowerCase() === "latest") return demo();
  return findOwn(alloyRoot(env), name) ?? findManifestModel(ollamaRoot(env), name, "ollama") ?? findHuggingFace(huggingFaceRoot(env), name);
}

function demo(): ResolvedModel {
  const path = demoPath();
  return { name: DEMO_NAME, source: "demo", path, format: "gguf", modified: statOf(path)?.mtimeMs ?? 0 };
}

/** A GGUF file, a Hugging Face folder, or a folder that holds one GGUF model. */
function fromPath(given: string): ResolvedModel {
  const path = resolve(given);
  const stat = statOf(path);
  if (!stat)
    throw new AlloyError("model_not_found", `there is no file or folder ${given}`, { hint: "Check the path.", data: { model: given } });
  const base = { name: given, source: "path", modified: stat.mtimeMs } as const;
  if (!stat.isDirectory()) return { ...base, path, format: "gguf", projector: findProjector(join(path, "..")) };
  const config = join(path, "config.json");
  if (existsSync(config)) return { ...base, path, format: "huggingface", modified: statOf(config)?.mtimeMs ?? stat.mtimeMs };
  const files = ggufFiles(path);
  if (files.length === 1) return { ...base, path: files[0].path, format: "gguf", projector: findProjector(join(files[0].path, "..")) };
  if (files.length > 1)
    throw new AlloyError("bad_argument", `the folder ${given} holds ${files.length} models`, {
      hint: `Give one of them: ${files
        .slice(0, LISTED)
        .map((file) => file.path)
        .join(", ")}.`,
    });
  throw new AlloyError("model_not_found", `the folder ${given} holds no model`, {
    hint: "Give a .gguf file or a folder with config.json and *.safetensors.",
    data: { model: given },
  });
}

function notInstalled(reference: string, env: NonNullable<HubOptions["env"]>): AlloyError {
  const names = installedModels({ env }).map(({ name }) => name);
  // People leave out the default tag, so a name is close with or without it.
  const spellings = names.flatMap((name) => [name, name.replace(/:latest$/, "")]);
  const near = reference.length <= MAX_SUGGESTED ? suggest(reference, spellings) : undefined;
  const listed = names.slice(0, LISTED).join(", ") + (names.length > LISTED ? ` and ${names.length - LISTED} more` : "");
  const what = isGgufName(reference)
    ? `there is no file ${reference}, and no model of that name is installed`
    : `model "${reference}" is not installed`;
  const pullable = !isGgufName(reference) && /^[\w.:/-]+$/.test(reference) && parseName(reference) !== undefined;
  return new AlloyError("model_not_found", what, {
    hint: `${near ? `Did you mean "${near}"? ` : ""}Installed: ${listed}.${pullable ? ` \`alloy pull ${reference}\` would download it.` : ""}`,
    data: { model: reference, pullable },
  });
}

/** Everything in the stores and the demo model, newest first, each name once. Reads no model file. */
export function installedModels(options: HubOptions = {}): ResolvedModel[] {
  const env = options.env ?? process.env;
  const all = [...ownModels(alloyRoot(env)), ...manifestModels(ollamaRoot(env), "ollama"), ...huggingFaceModels(huggingFaceRoot(env))];
  const seen = new Set<string>();
  const unique = all.filter(({ name }) => {
    const key = name.toLowerCase();
    return key !== DEMO_NAME && !seen.has(key) && seen.add(key);
  });
  // The demo is last: whatever somebody installed matters more to them.
  return [...unique.toSorted((a, b) => b.modified - a.modified), demo()];
}

/** Information on everything that is installed, newest first. Files that cannot be opened are left out; `resolveModel` and `openModel` say what is wrong with them. */
export async function listModels(options: HubOptions = {}): Promise<ModelInfo[]> {
  return installedModels(options).flatMap((model) => {
    try {
      return [modelInfo(model)];
    } catch (e) {
      if (e instanceof AlloyError) return [];
      throw e;
    }
  });
}
