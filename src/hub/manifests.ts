/**
 * Stores in Ollama's layout, its own and Alloy's: manifests/HOST/NAMESPACE/MODEL/TAG are JSON, blobs/sha256-HEX are the layers that they
 * name. Alloy's store has views/DIGEST beside them: folders of links that give blobs back the names that a model's files need.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { isObject, parseLenient, readText } from "../formats/json.ts";
import { splitName } from "../formats/gguf.ts";
import { AlloyError } from "../support/errors.ts";
import type { ModelSource, OllamaLayers, ResolvedModel } from "./api.ts";
import { FILE_TYPE, layerKind, MAX_MANIFEST_BYTES, parseManifest, type Manifest } from "./manifest.ts";
import { displayName, parseName, type ModelName } from "./names.ts";
import { entries, statOf } from "./stores.ts";

export function manifestPath(root: string, { host, namespace, model, tag }: ModelName): string {
  return join(root, "manifests", host, namespace, model, tag);
}

export function blobPath(root: string, digest: string): string {
  return join(root, "blobs", `sha256-${digest}`);
}

/** Folder in which a model's files have their names. @param digest of its manifest */
export function viewPath(root: string, digest: string): string {
  return join(root, "views", digest);
}

/** All models of a store whose weights are there; manifests that cannot be read are left out. */
export function manifestModels(root: string, source: ModelSource): ResolvedModel[] {
  return manifestNames(root).flatMap((name) => {
    try {
      return [load(root, name, source)];
    } catch {
      return [];
    }
  });
}

/**
 * A model of the store by name; undefined when it is not there.
 * Throws `bad_file` when its manifest is damaged or names weights that are missing or none.
 */
export function findManifestModel(root: string, reference: string, source: ModelSource): ResolvedModel | undefined {
  const wanted = parseName(reference);
  const name = wanted && storedName(root, wanted);
  return name && load(root, name, source);
}

/** Loads a model by a name that `manifestNames` gave. */
export const loadManifestModel = load;

/** The spelling under which a store has a name; undefined when it has it not. */
export function storedName(root: string, wanted: ModelName): ModelName | undefined {
  const key = displayName(wanted).toLowerCase();
  return manifestNames(root).find((n) => displayName(n).toLowerCase() === key);
}

export function manifestNames(root: string): ModelName[] {
  const names: ModelName[] = [];
  const top = join(root, "manifests");
  for (const host of folders(top))
    for (const namespace of folders(join(top, host)))
      for (const model of folders(join(top, host, namespace)))
        for (const tag of entries(join(top, host, namespace, model))) {
          // Names that nobody could have pulled are not followed.
          const parsed = tag.isFile() && parseName(`${host}/${namespace}/${model}:${tag.name}`);
          if (parsed) names.push(parsed);
        }
  return names;
}

function folders(folder: string): string[] {
  return entries(folder).flatMap((entry) => (entry.isDirectory() ? [entry.name] : []));
}

/** The manifest of a stored name. Throws `bad_file`. */
export function readManifest(root: string, name: ModelName): Manifest & { bytes: Uint8Array; modified: number } {
  const path = manifestPath(root, name);
  const stat = statOf(path);
  if (!stat || stat.size > MAX_MANIFEST_BYTES) throw new AlloyError("bad_file", `${path} is no manifest (${stat?.size ?? 0} bytes)`);
  const bytes = readFileSync(path);
  return { ...parseManifest(bytes, path), bytes, modified: stat.mtimeMs };
}

interface Loaded {
  /** Changes when the manifest does; blobs never change. */
  stamp: string;
  model: ResolvedModel;
}

const MAX_LOADED = 1000;
/** By store and manifest: lists of models are asked for with every request. */
const loaded = new Map<string, Loaded>();

function load(root: string, name: ModelName, source: ModelSource): ResolvedModel {
  const path = manifestPath(root, name);
  const stat = statOf(path);
  const stamp = `${stat?.ino}:${stat?.size}:${stat?.mtimeMs}`;
  const key = `${source}\n${path}`;
  const known = loaded.get(key);
  if (known?.stamp === stamp && existsSync(known.model.path)) return { ...known.model };
  const model = read(root, name, source);
  if (loaded.size >= MAX_LOADED) loaded.clear();
  loaded.set(key, { stamp, model });
  return { ...model };
}

function read(root: string, name: ModelName, source: ModelSource): ResolvedModel {
  const display = displayName(name);
  const manifest = readManifest(root, name);
  const ofKind = (kind: string) => manifest.layers.find((layer) => layerKind(layer) === kind);
  const weights = ofKind("model");
  const files = manifest.layers.flatMap((layer) => (layer.mediaType === FILE_TYPE ? [layer.name!] : []));
  if (!weights && files.length === 0)
    throw new AlloyError("unsupported_model", `the ${owner(source)} model ${display} has no GGUF weights`, {
      hint: "It may be a cloud model or one for another engine; take another form of it.",
    });
  const { path, format } = weights
    ? { path: blobPath(root, weights.digest), format: "gguf" as const }
    : fromView(viewPath(root, manifest.digest), files);
  if (!existsSync(path))
    throw new AlloyError("bad_file", `the weights of the ${owner(source)} model ${display} are missing: there is no file ${path}`, {
      hint: `Run \`${source === "ollama" ? "ollama" : "alloy"} pull ${display}\` again.`,
    });
  const projector = ofKind("projector");
  return {
    name: display,
    source,
    path,
    format,
    modified: manifest.modified,
    digest: manifest.digest,
    projector: projector && blobPath(root, projector.digest),
    layers: readLayers(root, manifest),
    manifest: name,
  };
}

const owner = (source: ModelSource): string => (source === "ollama" ? "Ollama" : "installed");

/** What of a model's named files to open: the folder of a checkpoint, or a GGUF model's first shard. */
export function fromView(folder: string, names: readonly string[]): Pick<ResolvedModel, "path" | "format"> {
  if (names.includes("config.json")) return { path: folder, format: "huggingface" };
  const first = names.find((name) => splitName(name)?.index === 1) ?? names[0];
  return { path: join(folder, first), format: "gguf" };
}

/** Key in a config blob: the template was given when the model was made here. */
export const TEMPLATE_CHOSEN = "alloy.template_chosen";

function readLayers(root: string, { layers, config }: Manifest): OllamaLayers {
  const paths = (kind: string) => layers.flatMap((layer) => (layerKind(layer) === kind ? [blobPath(root, layer.digest)] : []));
  const texts = (kind: string) => paths(kind).flatMap((path) => readText(path) ?? []);
  const parsed = (kind: string) => texts(kind).map(parseLenient)[0];
  const params = parsed("params");
  const messages = parsed("messages");
  const licenses = texts("license");
  const adapters = paths("adapter");
  const template = texts("template")[0] ?? texts("prompt")[0];
  const chosen = template !== undefined && config !== undefined && readConfig(blobPath(root, config.digest))[TEMPLATE_CHOSEN] === true;
  return {
    template,
    ...(chosen ? { templateChosen: true } : {}),
    system: texts("system")[0],
    params: isObject(params) ? params : undefined,
    license: licenses.length ? licenses.join("\n") : undefined,
    messages: Array.isArray(messages) ? messages.filter(isMessage) : undefined,
    adapters: adapters.length ? adapters : undefined,
  };
}

/** A config blob; empty when it is missing or damaged, as nothing depends on it alone. */
export function readConfig(path: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(readText(path) ?? "");
    return isObject(value) ? value : {};
  } catch {
    return {};
  }
}

function isMessage(value: unknown): value is { role: string; content: string } {
  return isObject(value) && typeof value.role === "string" && typeof value.content === "string";
}
