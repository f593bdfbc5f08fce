/** Ollama's model store: manifests/HOST/NAMESPACE/MODEL/TAG are JSON, blobs/sha256-HEX are the layers that they name. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { isObject, parseLenient, readText } from "../formats/json.ts";
import { AlloyError } from "../support/errors.ts";
import type { OllamaLayers, ResolvedModel } from "./api.ts";
import { displayName, parseName, type ModelName } from "./names.ts";
import { entries, statOf } from "./stores.ts";

const LAYER_TYPE = "application/vnd.ollama.image.";
const MAX_MANIFEST_BYTES = 2 ** 20;

interface Layer {
  /** Last word of the media type: model, template, params ... */
  kind: string;
  path: string;
}

interface Manifest {
  layers: Layer[];
  /** SHA-256 of the manifest's bytes, which is the digest that Ollama shows. */
  digest: string;
  modified: number;
}

/** All models of a store whose weights are there; manifests that cannot be read are left out. */
export function ollamaModels(root: string): ResolvedModel[] {
  return manifestNames(root).flatMap((name) => {
    try {
      return [load(root, name)];
    } catch {
      return [];
    }
  });
}

/**
 * A model of the store by name; undefined when it is not there.
 * Throws `bad_file` when its manifest is damaged or names weights that are missing or none.
 */
export function findOllama(root: string, reference: string): ResolvedModel | undefined {
  const wanted = parseName(reference);
  if (!wanted) return undefined;
  const key = displayName(wanted).toLowerCase();
  const name = manifestNames(root).find((n) => displayName(n).toLowerCase() === key);
  return name && load(root, name);
}

function manifestNames(root: string): ModelName[] {
  const names: ModelName[] = [];
  const top = join(root, "manifests");
  for (const host of folders(top))
    for (const namespace of folders(join(top, host)))
      for (const model of folders(join(top, host, namespace)))
        for (const tag of entries(join(top, host, namespace, model))) {
          // Names that Ollama could not have written are not followed.
          const parsed = tag.isFile() && parseName(`${host}/${namespace}/${model}:${tag.name}`);
          if (parsed) names.push(parsed);
        }
  return names;
}

function folders(folder: string): string[] {
  return entries(folder).flatMap((entry) => (entry.isDirectory() ? [entry.name] : []));
}

function load(root: string, name: ModelName): ResolvedModel {
  const display = displayName(name);
  const manifest = readManifest(root, name);
  const model = manifest.layers.find(({ kind }) => kind === "model");
  if (!model)
    throw new AlloyError("unsupported_model", `the Ollama model ${display} has no GGUF weights`, {
      hint: "It may be a cloud model or one for another engine; take another form of it.",
    });
  if (!existsSync(model.path))
    throw new AlloyError("bad_file", `the weights of the Ollama model ${display} are missing: there is no file ${model.path}`, {
      hint: `Run \`ollama pull ${display}\` again.`,
    });
  return {
    name: display,
    source: "ollama",
    path: model.path,
    format: "gguf",
    modified: manifest.modified,
    digest: manifest.digest,
    projector: manifest.layers.find(({ kind }) => kind === "projector")?.path,
    layers: readLayers(manifest.layers),
  };
}

function readManifest(root: string, { host, namespace, model, tag }: ModelName): Manifest {
  const path = join(root, "manifests", host, namespace, model, tag);
  const stat = statOf(path);
  if (!stat || stat.size > MAX_MANIFEST_BYTES) throw new AlloyError("bad_file", `${path} is no manifest (${stat?.size ?? 0} bytes)`);
  const bytes = readFileSync(path);
  let json: unknown;
  try {
    json = JSON.parse(bytes.toString("utf8"));
  } catch (e) {
    throw new AlloyError("bad_file", `${path} is no valid JSON`, { hint: "Pull the model again.", cause: e });
  }
  if (!isObject(json) || !Array.isArray(json.layers)) throw new AlloyError("bad_file", `${path} has no layers`);
  return {
    layers: json.layers.flatMap((layer) => readLayer(root, layer)),
    digest: new Bun.CryptoHasher("sha256").update(bytes).digest("hex"),
    modified: stat.mtimeMs,
  };
}

function readLayer(root: string, layer: unknown): Layer[] {
  if (!isObject(layer) || typeof layer.mediaType !== "string" || typeof layer.digest !== "string") return [];
  // Anything but a digest could lead out of the store.
  const digest = /^sha256[:-]([0-9a-f]{64})$/.exec(layer.digest);
  if (!digest || !layer.mediaType.startsWith(LAYER_TYPE)) return [];
  return [{ kind: layer.mediaType.slice(LAYER_TYPE.length), path: join(root, "blobs", `sha256-${digest[1]}`) }];
}

function readLayers(layers: readonly Layer[]): OllamaLayers {
  const texts = (kind: string) => layers.flatMap((l) => (l.kind === kind ? (readText(l.path) ?? []) : []));
  const parsed = (kind: string) => texts(kind).map(parseLenient)[0];
  const params = parsed("params");
  const messages = parsed("messages");
  const licenses = texts("license");
  const adapters = layers.flatMap((l) => (l.kind === "adapter" ? [l.path] : []));
  return {
    template: texts("template")[0] ?? texts("prompt")[0],
    system: texts("system")[0],
    params: isObject(params) ? params : undefined,
    license: licenses.length ? licenses.join("\n") : undefined,
    messages: Array.isArray(messages) ? messages.filter(isMessage) : undefined,
    adapters: adapters.length ? adapters : undefined,
  };
}

function isMessage(value: unknown): value is { role: string; content: string } {
  return isObject(value) && typeof value.role === "string" && typeof value.content === "string";
}
