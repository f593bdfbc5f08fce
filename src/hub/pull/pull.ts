/** Pulling: from a name to a model in Alloy's own store. */
import { AlloyError } from "../../support/errors.ts";
import { formatBytes } from "../../support/format.ts";
import type { DownloadOptions } from "../download/file.ts";
import { Net, reported, TransferError, type NetOptions } from "../download/net.ts";
import { DEMO_NAME } from "../demo.ts";
import { blobsOf } from "../manifest.ts";
import { readManifest, storedName } from "../manifests.ts";
import { DEFAULT_HOST, displayName, HF_HOST, isCloudName, isHuggingFaceHost, parseName, splitTag, type ModelName } from "../names.ts";
import { freeBytes, hasBlob, keepBlobs } from "../store/blobs.ts";
import { fetchBlob, missingBytes } from "../store/fetch.ts";
import { publishManifest } from "../store/publish.ts";
import { alloyRoot } from "../stores.ts";
import { planFromHuggingFace, type HuggingFaceChoice } from "./huggingface.ts";
import { NotThere, type PlannedFile, type PullEvent, type PullPlan, type Surroundings } from "./plan.ts";
import { planFromRegistry } from "./registry.ts";

export type { PullEvent };

export interface PullOptions extends HuggingFaceChoice {
  /** `process.env` unless told. */
  env?: Readonly<Record<string, string | undefined>>;
  signal?: AbortSignal;
  onEvent?: (event: PullEvent) => void;
  /** Allow a registry that is named with http:// to be asked without encryption. */
  insecure?: boolean;
  /** Patience and persistence of the network's side. */
  net?: Omit<NetOptions, "env">;
  /** How files are fetched. */
  download?: Pick<DownloadOptions, "connections" | "partBytes">;
  /** Bytes that may be written below a folder; asks the system unless told. */
  freeBytes?: (folder: string) => number;
}

/** Left free beside the files: manifests, journals, and other programs' needs. */
const MARGIN_BYTES = 64 * 2 ** 20;
/** Milliseconds between two events about the same file. */
const EVENT_MS = 100;

/**
 * Downloads a model into Alloy's own store and returns its name. `qwen3:8b` and `namespace/model:tag` come from Ollama's registry,
 * `hf.co/org/repo[:QUANT]` from Hugging Face; a name of two parts without a host is looked for in both. What an interrupted pull left is
 * taken up again, what is here already is not fetched, and several pulls of the same files share one download. The last event is
 * `success`.
 *
 * Throws `bad_argument` for what is no name, `model_not_found`, `forbidden` (a gated model), `download_failed`, `io_error` (no room), and
 * the signal's reason; then all that came is kept.
 */
export async function pullModel(reference: string, options: PullOptions = {}): Promise<string> {
  const { env = process.env, onEvent: emit = () => {}, signal } = options;
  const around: Surroundings = { root: alloyRoot(env), env, net: new Net({ ...options.net, env }), signal, emit };
  if (/^demo(?::latest)?$/i.test(reference)) {
    emit({ status: "success" });
    return DEMO_NAME;
  }
  const origins = originsOf(reference, around.root, options);
  emit({ status: "pulling manifest" });
  const plan = await firstPlan(reference, origins, around);
  if (plan) await carryOut(plan, around, options);
  else emit({ status: "success" });
  return displayName(plan?.name ?? origins[0].name);
}

/** A place where a name may be found. */
interface Origin {
  name: ModelName;
  plan(around: Surroundings): Promise<PullPlan>;
}

/** Where to look for a reference, in order. Throws `bad_argument`. */
function originsOf(reference: string, root: string, options: PullOptions): Origin[] {
  const parsed = parseName(reference);
  if (!parsed)
    throw new AlloyError("bad_argument", `"${reference}" is no model name`, {
      param: "model",
      hint: "Write it as model:tag, namespace/model:tag, org/repo:QUANT or hf.co/org/repo:QUANT.",
      data: { ollama: "invalid model name" },
    });
  const name = asStored(root, parsed);
  if (isCloudName(reference))
    throw new AlloyError("model_not_found", `"${reference}" is a cloud model; Alloy runs models on this machine only`, {
      hint: "Pull the same model without the cloud tag.",
    });
  const http = /^http:\/\//i.test(reference);
  if (http && !options.insecure)
    throw new AlloyError("bad_argument", `${name.host} would be asked without encryption`, {
      hint: "Say that it may be insecure, if you trust the network to it.",
      data: { ollama: "insecure protocol http" },
    });
  const registry: Origin = { name, plan: (around) => planFromRegistry(name, http ? "http" : "https", around) };
  const hfName = asStored(root, { ...parsed, host: HF_HOST });
  const hub: Origin = { name: hfName, plan: (around) => planFromHuggingFace(hfName, options, around) };
  if (isHuggingFaceHost(name.host)) return [hub];
  if (name.host !== DEFAULT_HOST || /^(?:https?:\/\/|registry\.ollama\.ai\/)/i.test(reference)) return [registry];
  const [path] = splitTag(reference);
  if (path.split("/").length !== 2 || name.namespace === "library") return [registry];
  if (options.revision !== undefined || options.projector) return [hub];
  // Both spell names like this. Repositories' names have capitals or say what format they are in; Ollama's have neither.
  return /[A-Z]|gguf|safetensors/.test(path) ? [hub, registry] : [registry, hub];
}

/** What was pulled once keeps its spelling. */
const asStored = (root: string, name: ModelName): ModelName => storedName(root, name) ?? name;

/** The plan of the first origin that has the model; undefined when there is no network but the model is here, whole. */
async function firstPlan(reference: string, origins: readonly Origin[], around: Surroundings): Promise<PullPlan | undefined> {
  const missing: NotThere[] = [];
  for (const origin of origins) {
    try {
      return await origin.plan(around);
    } catch (e) {
      around.signal?.throwIfAborted();
      if (e instanceof NotThere) missing.push(e);
      else if (e instanceof TransferError && e.detail.status === undefined && isComplete(around.root, origin.name)) return undefined;
      else throw reported(e);
    }
  }
  const [only] = missing;
  throw new AlloyError(
    "model_not_found",
    missing.length === 1 ? only.message : `neither ${missing.map(({ host }) => host).join(" nor ")} has a model "${reference}"`,
    {
      hint: missing.length === 1 ? only.hint : "Check the name; a private model on Hugging Face needs HF_TOKEN.",
      data: { ollama: "pull model manifest: file does not exist" },
    },
  );
}

function isComplete(root: string, name: ModelName): boolean {
  const stored = storedName(root, name);
  return stored !== undefined && blobsOf(readManifest(root, stored)).every(({ digest, size }) => hasBlob(root, digest, size));
}

async function carryOut(plan: PullPlan, around: Surroundings, options: PullOptions): Promise<void> {
  const { root, emit } = around;
  const known = plan.files.flatMap(({ source: { pin } }) => (pin && "sha256" in pin ? [pin.sha256] : []));
  const kept = [await keepBlobs(root, known)];
  try {
    checkRoom(plan, around, options.freeBytes ?? freeBytes);
    const digests: string[] = [];
    for (const file of plan.files) {
      const digest = await bring(file, plan, around, options);
      digests.push(digest);
      if (!known.includes(digest)) kept.push(await keepBlobs(root, [digest]));
    }
    emit({ status: "verifying sha256 digest" });
    emit({ status: "writing manifest" });
    await publishManifest(root, plan.name, plan.manifest(digests), () => emit({ status: "removing unused layers" }));
    emit({ status: "success" });
  } finally {
    for (const lock of kept) lock.release();
  }
}

function checkRoom({ files, name }: PullPlan, { root }: Surroundings, free: (folder: string) => number): void {
  const needed = files.reduce((sum, { source }) => sum + missingBytes(root, source), 0);
  const room = free(root);
  if (needed === 0 || needed + MARGIN_BYTES <= room) return;
  throw new AlloyError(
    "io_error",
    `${displayName(name)} needs ${formatBytes(needed)} more, and ${root} has room for ${formatBytes(room)}`,
    {
      hint: "Free some space (`alloy rm` deletes models), or set ALLOY_MODELS to a folder on a larger disk.",
    },
  );
}

async function bring({ source, label, copies }: PlannedFile, plan: PullPlan, around: Surroundings, options: PullOptions): Promise<string> {
  const { size: total, pin } = source;
  const digest = pin && "sha256" in pin ? { digest: `sha256:${pin.sha256}` } : {};
  const say = (completed: number) => around.emit({ status: `pulling ${label}`, ...digest, total, completed });
  let said = -Infinity;
  const onProgress = (completed: number) => {
    if (performance.now() - said < EVENT_MS || completed >= total) return;
    said = performance.now();
    say(completed);
  };
  try {
    const { net, signal, root } = around;
    const brought = await fetchBlob(root, source, { ...options.download, net, signal, onProgress, copies });
    say(total);
    return brought;
  } catch (e) {
    around.signal?.throwIfAborted();
    const why = plan.explain?.(e) ?? e;
    throw why instanceof NotThere ? new AlloyError("download_failed", why.message, { hint: why.hint, cause: e }) : reported(why);
  }
}
