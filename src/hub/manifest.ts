/** Manifests as Ollama's registry and store have them: a config and layers, each a blob that is named by its SHA-256. */
import { isObject } from "../formats/json.ts";
import { AlloyError } from "../support/errors.ts";

export const MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json";
export const CONFIG_TYPE = "application/vnd.docker.container.image.v1+json";
/** In front of a layer's kind: model, template, system, params, messages, license, projector, adapter. */
export const LAYER_TYPE = "application/vnd.ollama.image.";
/** A file of a model that needs its files under their names (a split GGUF, a Hugging Face folder); the layer's `name` is the path. */
export const FILE_TYPE = "application/vnd.alloy.model.file";

/** Names of the files of a Hugging Face checkpoint that Alloy reads, or may read one day. */
export const CHECKPOINT_FILES =
  /^(?:config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|chat_template|(?:pre)?processor_config|model\.safetensors\.index)\.json$|^(?:merges\.txt|tokenizer\.model|chat_template\.jinja|model(?:-\d{5}-of-\d{5})?\.safetensors)$/;

export const MAX_MANIFEST_BYTES = 2 ** 20;
const MAX_LAYERS = 1000;
const MAX_BLOB_BYTES = 2 ** 45;

export interface Layer {
  mediaType: string;
  /** Hex SHA-256. */
  digest: string;
  size: number;
  /** With FILE_TYPE: path below the model's folder. */
  name?: string;
}

export interface Manifest {
  config?: Layer;
  layers: Layer[];
  /** Hex SHA-256 of the manifest's bytes, which is the digest that Ollama shows. */
  digest: string;
}

/**
 * Reads a manifest. What came over the network is read with `strict`: then a layer that makes no sense is an error instead of being
 * left out. Throws `bad_file`; `where` names the manifest.
 */
export function parseManifest(bytes: Uint8Array, where: string, { strict = false } = {}): Manifest {
  let json: unknown;
  try {
    json = JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch (e) {
    throw new AlloyError("bad_file", `${where} is no valid JSON`, { hint: "Pull the model again.", cause: e });
  }
  if (!isObject(json) || !Array.isArray(json.layers)) throw new AlloyError("bad_file", `${where} has no layers`);
  if (json.layers.length > MAX_LAYERS) throw new AlloyError("bad_file", `${where} has ${json.layers.length} layers`);
  const layers = json.layers.map(readLayer);
  const wrong = layers.findIndex((l) => l === undefined);
  if (strict && wrong >= 0) throw new AlloyError("bad_file", `${where}: layer ${wrong} is damaged: ${excerpt(json.layers[wrong])}`);
  return {
    config: readLayer(json.config),
    layers: layers.filter((l) => l !== undefined),
    digest: new Bun.CryptoHasher("sha256").update(bytes).digest("hex"),
  };
}

function readLayer(value: unknown): Layer | undefined {
  if (!isObject(value) || typeof value.mediaType !== "string" || typeof value.digest !== "string") return undefined;
  const digest = parseDigest(value.digest);
  const size = value.size ?? 0;
  if (digest === undefined || typeof size !== "number" || !Number.isSafeInteger(size) || size < 0 || size > MAX_BLOB_BYTES)
    return undefined;
  if (value.mediaType !== FILE_TYPE) return { mediaType: value.mediaType, digest, size };
  if (typeof value.name !== "string" || !isFileName(value.name)) return undefined;
  return { mediaType: FILE_TYPE, digest, size, name: value.name };
}

/** Hex digits of `sha256:HEX` or `sha256-HEX`; undefined for anything else: it could lead out of a store. */
export function parseDigest(text: string): string | undefined {
  return /^sha256[:-]([0-9a-f]{64})$/i.exec(text)?.[1].toLowerCase();
}

/** Whether a text is a path that stays below the folder it is put under, whatever system reads it. */
export function isFileName(text: string): boolean {
  if (text === "" || text.length > 255 || /[\\:]/.test(text) || [...text].some((c) => c < " ")) return false;
  return text.split("/").every((part) => part !== "" && part !== "." && part !== "..");
}

/** A manifest's bytes. */
export function writeManifest(config: Layer, layers: readonly Layer[]): Uint8Array {
  const entry = ({ mediaType, digest, size, name }: Layer) => ({
    mediaType,
    digest: `sha256:${digest}`,
    size,
    ...(name === undefined ? {} : { name }),
  });
  return Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: MANIFEST_TYPE, config: entry(config), layers: layers.map(entry) }));
}

/** All blobs of a manifest, each once. */
export function blobsOf({ config, layers }: Pick<Manifest, "config" | "layers">): Layer[] {
  const all = config ? [...layers, config] : [...layers];
  return [...new Map(all.map((layer) => [layer.digest, layer])).values()];
}

/** Last word of an Ollama layer's media type; undefined for other layers. */
export function layerKind({ mediaType }: Layer): string | undefined {
  return mediaType.startsWith(LAYER_TYPE) ? mediaType.slice(LAYER_TYPE.length) : undefined;
}

function excerpt(value: unknown): string {
  const text = JSON.stringify(value) ?? "";
  return text.length > 120 ? `${text.slice(0, 117)}...` : text;
}
