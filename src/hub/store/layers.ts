/** The layers of a model that is here already, brought into Alloy's own store wherever it lies: what a copy, or a model made from it, consists of. */
import { readFileSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { AlloyError } from "../../support/errors.ts";
import type { HubOptions, ResolvedModel } from "../api.ts";
import { shardPaths } from "../gguf-files.ts";
import { blobsOf, CHECKPOINT_FILES, FILE_TYPE, LAYER_TYPE, type Layer } from "../manifest.ts";
import { blobPath, readConfig, readManifest } from "../manifests.ts";
import { alloyRoot, entries, ollamaRoot } from "../stores.ts";
import { adoptFile, hasBlob, hashFile, putBlob } from "./blobs.ts";

export interface ModelLayers {
  layers: Layer[];
  /** Content of its config blob. */
  config: Record<string, unknown>;
}

export interface LayerOptions {
  env: NonNullable<HubOptions["env"]>;
  signal?: AbortSignal;
}

/** Throws `io_error`, `bad_file`, and the signal's reason. Files of other programs are linked or copied, never changed. */
export async function layersOf(model: ResolvedModel, options: LayerOptions): Promise<ModelLayers> {
  const root = alloyRoot(options.env);
  if (model.manifest) return fromManifest(model, root, model.source === "ollama" ? ollamaRoot(options.env) : root);
  if (model.format === "huggingface") {
    const names = entries(model.path).flatMap(({ name }) => (CHECKPOINT_FILES.test(name) ? [name] : []));
    const layers: Layer[] = [];
    for (const name of names) layers.push({ ...(await bringFile(join(model.path, name), model, options)), mediaType: FILE_TYPE, name });
    return { layers, config: { model_format: "safetensors" } };
  }
  const paths = shardPaths(model.path);
  const layers: Layer[] = [];
  for (const path of paths) {
    const layer = await bringFile(path, model, options);
    layers.push(
      paths.length === 1 ? { ...layer, mediaType: `${LAYER_TYPE}model` } : { ...layer, mediaType: FILE_TYPE, name: basename(path) },
    );
  }
  if (model.projector) layers.push({ ...(await bringFile(model.projector, model, options)), mediaType: `${LAYER_TYPE}projector` });
  return { layers, config: { model_format: "gguf" } };
}

function fromManifest(model: ResolvedModel, root: string, from: string): ModelLayers {
  const { layers, config } = readManifest(from, model.manifest!);
  for (const { digest } of blobsOf({ layers, config })) {
    if (from === root || hasBlob(root, digest)) continue;
    if (!hasBlob(from, digest))
      throw new AlloyError("bad_file", `${model.name} is not complete: there is no file ${blobPath(from, digest)}`, {
        hint: "Pull it again.",
      });
    adoptFile(root, blobPath(from, digest), digest, "immutable");
  }
  return { layers, config: { model_format: "gguf", ...(config ? readConfig(blobPath(root, config.digest)) : {}) } };
}

async function bringFile(path: string, model: ResolvedModel, { env, signal }: LayerOptions): Promise<{ digest: string; size: number }> {
  const root = alloyRoot(env);
  const { size } = statSync(path);
  // Small files are cheaper copied than hashed first.
  if (size < 2 ** 20) return putBlob(root, readFileSync(path));
  const digest = await hashFile(path, signal);
  // A file of one's own may be written to later, and the store's must not change with it.
  adoptFile(root, path, digest, model.source === "huggingface" ? "immutable" : "changing");
  return { digest, size };
}
