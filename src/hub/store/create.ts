/** Models made of what is here: another model with its own template, system message, parameters and so on, or uploaded files. */
import { closeSync, existsSync, openSync, readFileSync, readSync } from "node:fs";
import { resolve } from "node:path";
import { isObject } from "../../formats/json.ts";
import { AlloyError } from "../../support/errors.ts";
import type { HubOptions } from "../api.ts";
import { DEMO_NAME } from "../demo.ts";
import { isProjector } from "../gguf-files.ts";
import { blobsOf, CONFIG_TYPE, FILE_TYPE, isFileName, layerKind, LAYER_TYPE, parseDigest, writeManifest, type Layer } from "../manifest.ts";
import { blobPath, readManifest, TEMPLATE_CHOSEN } from "../manifests.ts";
import { displayName, parseName, type ModelName } from "../names.ts";
import { resolveModel } from "../resolve.ts";
import { alloyRoot, statOf } from "../stores.ts";
import { hasBlob, keepBlobs, putBlob } from "./blobs.ts";
import { layersOf, type LayerOptions, type ModelLayers } from "./layers.ts";
import { publishManifest } from "./publish.ts";

export interface CreateRequest {
  /** The new model's name. */
  name: string;
  /** A model that is here. */
  from?: string;
  /** Uploaded files: name to `sha256:HEX`. */
  files?: Readonly<Record<string, string>>;
  template?: string;
  system?: string;
  license?: readonly string[];
  /** Added to those of `from`. */
  parameters?: Readonly<Record<string, unknown>>;
  messages?: readonly { role: string; content: string }[];
  /** Kept in the config for Ollama, without meaning here: renderer, parser, requires. */
  config?: Readonly<Record<string, string>>;
}

export interface CreateOptions {
  /** `process.env` unless told. */
  env?: HubOptions["env"];
  signal?: AbortSignal;
  /** One line of progress. */
  onStatus?: (status: string) => void;
  /** Whether `from` may be a path; relative ones begin at `folder`. A server says no. Default false. */
  paths?: boolean;
  folder?: string;
}

/**
 * Makes a model in Alloy's own store. Weights are shared with the model that it is made from.
 * Throws `invalid_value`, `missing_parameter`, `model_not_found`, `unsupported_feature`, `io_error`, and the signal's reason.
 */
export async function createModel(request: CreateRequest, options: CreateOptions = {}): Promise<string> {
  const { env = process.env, signal, onStatus = () => {} } = options;
  const root = alloyRoot(env);
  const name = newName(request.name, "model");
  const base = await baseLayers(request, { ...options, env, signal, onStatus });
  const layers = withSettings(root, base.layers, request);
  for (const { digest } of layers)
    onStatus(`${base.layers.some((l) => l.digest === digest) ? "using existing" : "creating new"} layer sha256:${digest}`);
  const chosen = request.template ? { [TEMPLATE_CHOSEN]: true } : {};
  const config = putBlob(root, JSON.stringify({ ...base.config, ...request.config, ...chosen }));
  const all = [...layers, { ...config, mediaType: CONFIG_TYPE }];
  const kept = await keepBlobs(
    root,
    all.map(({ digest }) => digest),
  );
  try {
    onStatus("writing manifest");
    await publishManifest(root, name, writeManifest({ ...config, mediaType: CONFIG_TYPE }, layers));
  } finally {
    kept.release();
  }
  onStatus("success");
  return displayName(name);
}

/**
 * Gives a model a second name. Throws `model_not_found` with the source's name, `invalid_value` for names that cannot be,
 * `io_error`.
 */
export async function copyModel(source: string, destination: string, { env = process.env, signal }: CreateOptions = {}): Promise<string> {
  const root = alloyRoot(env);
  const name = newName(destination, "destination");
  const model = await resolveModel(source, { env, paths: false });
  if (model.source === "alloy" && model.manifest) {
    const { bytes, ...manifest } = readManifest(root, model.manifest);
    const kept = await keepBlobs(
      root,
      blobsOf(manifest).map(({ digest }) => digest),
    );
    await publishManifest(root, name, bytes).finally(() => kept.release());
    return displayName(name);
  }
  const { layers, config } = await layersOf(model, { env, signal });
  const blob = { ...putBlob(root, JSON.stringify(config)), mediaType: CONFIG_TYPE };
  const kept = await keepBlobs(
    root,
    [...layers, blob].map(({ digest }) => digest),
  );
  await publishManifest(root, name, writeManifest(blob, layers)).finally(() => kept.release());
  return displayName(name);
}

/** A name for a new model. Throws `invalid_value`. */
function newName(text: string, param: string): ModelName {
  const name = parseName(text);
  const ollama = param === "model" ? "invalid model name" : `${param} ${JSON.stringify(text)} is invalid`;
  if (!name || /^https?:\/\//.test(text))
    throw new AlloyError("invalid_value", `"${text}" is no model name`, {
      param,
      hint: "Write it as model:tag or namespace/model:tag, with letters, digits, - _ and .",
      data: { ollama },
    });
  if (displayName(name).toLowerCase() === `${DEMO_NAME}:latest`)
    throw new AlloyError("invalid_value", `"${text}" is the name of the model inside Alloy`, { param, hint: "Take another name." });
  return name;
}

async function baseLayers({ from, files }: CreateRequest, options: LayerOptions & CreateOptions): Promise<ModelLayers> {
  const { env, paths = false, folder, onStatus = () => {} } = options;
  if (from) {
    onStatus("reading model metadata");
    // A path that is there, seen from the Modelfile; else whatever the name means.
    const near = paths && folder !== undefined && /[./]/.test(from) ? resolve(folder, from) : undefined;
    return layersOf(await resolveModel(near !== undefined && existsSync(near) ? near : from, { env, paths }), { ...options, env });
  }
  if (!files) {
    const ollama = "neither 'from' or 'files' was specified";
    throw new AlloyError("missing_parameter", "there is nothing to make the model from", {
      hint: "Name a model with `from`, or upload files and list them in `files`.",
      data: { ollama },
    });
  }
  return fromFiles(files, alloyRoot(env), onStatus);
}

function fromFiles(files: Readonly<Record<string, string>>, root: string, onStatus: (status: string) => void): ModelLayers {
  const uploaded = Object.entries(files).map(([name, text]) => uploadedFile(root, name, text));
  if (uploaded.length === 0) throw invalid("files", "no files provided to convert");
  if (uploaded.some(({ name }) => name === "config.json")) {
    if (!uploaded.some(({ name }) => name.endsWith(".safetensors"))) throw invalid("files", "config.json came without *.safetensors files");
    onStatus("converting model");
    return { layers: uploaded, config: { model_format: "safetensors" } };
  }
  for (const { digest } of uploaded) if (!isGguf(blobPath(root, digest))) throw invalid("files", "supplied file was not in GGUF format");
  onStatus("parsing GGUF");
  const projectors = uploaded.filter(({ name }) => isProjector(name));
  const models = uploaded.filter((file) => !projectors.includes(file));
  if (models.length === 0 || projectors.length > 1)
    throw invalid("files", `${models.length} models and ${projectors.length} projectors make no model`);
  const plain = (kind: string) => (file: Layer) => ({ mediaType: LAYER_TYPE + kind, digest: file.digest, size: file.size });
  // Several are the parts of one model, which need their names.
  const weights = models.length === 1 ? models.map(plain("model")) : models;
  return { layers: [...weights, ...projectors.map(plain("projector"))], config: { model_format: "gguf" } };
}

function uploadedFile(root: string, name: string, text: string): Layer & { name: string } {
  if (!isFileName(name)) throw invalid("files", "file path must be relative", name);
  const digest = parseDigest(text);
  if (digest === undefined) throw invalid("files", "invalid digest format", text);
  if (!hasBlob(root, digest))
    throw new AlloyError("invalid_value", `the file ${name} (sha256:${digest}) was not uploaded`, {
      param: `files.${name}`,
      hint: `Send it with POST /api/blobs/sha256:${digest} first.`,
    });
  return { mediaType: FILE_TYPE, digest, size: statOf(blobPath(root, digest))?.size ?? 0, name };
}

function isGguf(path: string): boolean {
  const start = Buffer.alloc(4);
  const fd = openSync(path, "r");
  try {
    readSync(fd, start, 0, 4, 0);
  } finally {
    closeSync(fd);
  }
  return start.toString("latin1") === "GGUF";
}

/** The base's layers with those that the request replaces. */
function withSettings(root: string, base: readonly Layer[], request: CreateRequest): Layer[] {
  const { template, system, messages, license, parameters } = request;
  const layer = (kind: string, content: string): Layer => ({ mediaType: LAYER_TYPE + kind, ...putBlob(root, content) });
  let layers = [...base];
  const set = (kind: string, content: string) => {
    layers = [...layers.filter((l) => layerKind(l) !== kind), layer(kind, content)];
  };
  if (template) set("template", template);
  if (system) set("system", system);
  if (parameters && Object.keys(parameters).length > 0) set("params", JSON.stringify({ ...paramsOf(root, base), ...parameters }));
  if (messages?.length) set("messages", JSON.stringify(messages));
  if (license?.length) layers = [...layers.filter((l) => layerKind(l) !== "license"), ...license.map((text) => layer("license", text))];
  return layers;
}

function paramsOf(root: string, layers: readonly Layer[]): Record<string, unknown> {
  const layer = layers.find((l) => layerKind(l) === "params");
  if (!layer) return {};
  try {
    const value: unknown = JSON.parse(readFileSync(blobPath(root, layer.digest), "utf8"));
    return isObject(value) ? value : {};
  } catch {
    return {};
  }
}

function invalid(param: string, text: string, value?: string): AlloyError {
  return new AlloyError("invalid_value", value === undefined ? text : `${text}: ${JSON.stringify(value)}`, {
    param,
    data: { ollama: text },
  });
}
