/**
 * Models from the Hugging Face hub: one quantization of a GGUF repository (all parts of a split one, the projector when asked for), or a
 * checkpoint as safetensors with its configuration and tokenizer. Files come from /ORG/REPO/resolve/COMMIT/PATH; the tree tells their
 * sizes and digests (SHA-256 of large files, git's SHA-1 of small ones).
 */
import { basename, join } from "node:path";
import { isObject } from "../../formats/json.ts";
import { AlloyError } from "../../support/errors.ts";
import type { Pin } from "../download/file.ts";
import { TransferError } from "../download/net.ts";
import { chooseGguf, ggufAmong, isProjector, quantLabel, shardPaths } from "../gguf-files.ts";
import { CHECKPOINT_FILES, CONFIG_TYPE, FILE_TYPE, isFileName, LAYER_TYPE, writeManifest, type Layer } from "../manifest.ts";
import { DEFAULT_TAG, HF_HOST, type ModelName } from "../names.ts";
import { putBlob } from "../store/blobs.ts";
import { huggingFaceRoot } from "../stores.ts";
import { NotThere, parseAnswer, type PlannedFile, type PullPlan, type Surroundings } from "./plan.ts";

export interface HuggingFaceChoice {
  /** Branch, tag or commit. Default `main`. */
  revision?: string;
  /** Also bring the vision or audio projector of a GGUF model. */
  projector?: boolean;
}

interface RemoteFile {
  path: string;
  size: number;
  pin?: Pin;
}

/** What a name's tag may say instead of a quantization: the checkpoint even where there are GGUF files. */
const CHECKPOINT_TAG = "safetensors";
const MAX_INFO_BYTES = 16 * 2 ** 20;
const MAX_PAGES = 50;
/** Of projectors, the most exact form that every device computes with. */
const PROJECTOR_LABELS = ["F16", "BF16", "Q8_0", "F32"];

/** Throws NotThere, `model_not_found` for a quantization that is not there, `forbidden` for a model whose terms were not accepted. */
export async function planFromHuggingFace(name: ModelName, choice: HuggingFaceChoice, around: Surroundings): Promise<PullPlan> {
  const hub = new Hub(name, around);
  const { revision = "main" } = choice;
  const commit = await hub.commit(revision);
  const tree = await hub.tree(commit);
  const chosen = choose(hub.repository, tree, name.tag, choice.projector ?? false);
  const cache = join(huggingFaceRoot(around.env), `models--${name.namespace}--${name.model}`, "blobs");
  const files = chosen.map(({ file }): PlannedFile => {
    const sha256 = file.pin && "sha256" in file.pin ? file.pin.sha256 : undefined;
    const source = { url: hub.fileUrl(commit, file.path), headers: hub.headers, size: file.size, pin: file.pin };
    return { source, label: sha256?.slice(0, 12) ?? file.path, copies: sha256 === undefined ? [] : [join(cache, sha256)] };
  });
  const manifest = (digests: readonly string[]) => {
    const layers = chosen.map(({ file, type, name: inside }, i): Layer => ({
      mediaType: type,
      digest: digests[i],
      size: file.size,
      ...(inside === undefined ? {} : { name: inside }),
    }));
    const gguf = !chosen.some((c) => c.name === "config.json");
    const config = {
      model_format: gguf ? "gguf" : "safetensors",
      file_type: gguf ? quantLabel(basename(chosen[0].file.path).replace(/(?:-\d{5}-of-\d{5})?\.gguf$/i, "")) : "",
      source: { host: HF_HOST, repository: hub.repository, revision, commit, file: chosen[0].file.path },
    };
    return writeManifest({ mediaType: CONFIG_TYPE, ...putBlob(around.root, JSON.stringify(config)) }, layers);
  };
  return { name: { ...name, host: HF_HOST }, files, manifest, explain: (e) => hub.explain(e) };
}

interface Chosen {
  file: RemoteFile;
  /** Media type of its layer. */
  type: string;
  /** Path below the model's folder. */
  name?: string;
}

function choose(repository: string, tree: readonly RemoteFile[], tag: string, projector: boolean): Chosen[] {
  const byPath = new Map(tree.map((file) => [file.path, file]));
  const models = tag.toLowerCase() === CHECKPOINT_TAG ? [] : ggufAmong([...byPath.keys()]);
  if (models.length === 0) return chooseCheckpoint(repository, tree, tag);
  const { path } = chooseGguf(repository, models, tag === DEFAULT_TAG ? undefined : tag, false);
  const parts = shardPaths(path).map((part) => {
    const file = byPath.get(part);
    if (file) return file;
    throw new AlloyError("model_not_found", `${repository} holds ${path}, but not its other part ${part}`);
  });
  const chosen: Chosen[] =
    parts.length === 1
      ? [{ file: parts[0], type: `${LAYER_TYPE}model` }]
      : parts.map((file) => ({ file, type: FILE_TYPE, name: basename(file.path) }));
  if (!projector) return chosen;
  const projectors = tree.filter((file) => isProjector(basename(file.path)));
  const rank = (file: RemoteFile) => {
    const at = PROJECTOR_LABELS.indexOf(quantLabel(basename(file.path).replace(/\.gguf$/i, "")));
    return at < 0 ? PROJECTOR_LABELS.length : at;
  };
  const [best] = projectors.toSorted((a, b) => rank(a) - rank(b));
  if (!best)
    throw new AlloyError("model_not_found", `${repository} has no projector (mmproj) file`, { hint: "Pull it without asking for one." });
  return [...chosen, { file: best, type: `${LAYER_TYPE}projector` }];
}

function chooseCheckpoint(repository: string, tree: readonly RemoteFile[], tag: string): Chosen[] {
  if (tag !== DEFAULT_TAG && tag.toLowerCase() !== CHECKPOINT_TAG)
    throw new AlloyError("model_not_found", `${repository} has no GGUF files, so there is no "${tag}" of it`, {
      hint: `Pull "${repository}" as it is, or look for a GGUF form of it.`,
    });
  const files = tree.filter(({ path }) => CHECKPOINT_FILES.test(path));
  const has = (test: RegExp) => files.some(({ path }) => test.test(path));
  if (!has(/^config\.json$/) || !has(/\.safetensors$/)) {
    const other = tree.find(({ path }) => /\.(?:bin|pt|pth|h5|onnx|msgpack|safetensors)$/.test(path));
    throw new AlloyError("unsupported_model", `${repository} holds neither GGUF files nor a safetensors checkpoint`, {
      hint: `${other ? `It has ${other.path}, which Alloy does not read. ` : ""}Look for a GGUF form of the model.`,
    });
  }
  return files.map((file) => ({ file, type: FILE_TYPE, name: file.path }));
}

/** One repository. */
class Hub {
  readonly repository: string;
  readonly headers: Record<string, string>;
  private readonly endpoint: string;
  private readonly token: string | undefined;

  constructor(
    name: ModelName,
    private readonly around: Surroundings,
  ) {
    const { env } = around;
    this.repository = `${name.namespace}/${name.model}`;
    this.endpoint = (env.HF_ENDPOINT || "https://huggingface.co").replace(/\/+$/, "");
    this.token = (env.HF_TOKEN || env.HUGGING_FACE_HUB_TOKEN)?.trim();
    this.headers = this.token ? { authorization: `Bearer ${this.token}` } : {};
  }

  fileUrl(commit: string, path: string): string {
    return `${this.endpoint}/${this.repository}/resolve/${commit}/${path.split("/").map(encodeURIComponent).join("/")}`;
  }

  /** The commit that a revision is at, so that all files are of one version. */
  async commit(revision: string): Promise<string> {
    const { json } = await this.get(this.apiUrl(`revision/${encodeURIComponent(revision)}`));
    const sha = isObject(json) ? json.sha : undefined;
    if (typeof sha === "string" && /^[0-9a-f]{7,64}$/.test(sha)) return sha;
    throw new AlloyError("download_failed", `${this.host} does not say at which commit ${this.repository} is`);
  }

  /** All files at a commit, page by page. */
  async tree(commit: string): Promise<RemoteFile[]> {
    const files: RemoteFile[] = [];
    let url: string | undefined = this.apiUrl(`tree/${commit}?recursive=true`);
    for (let page = 0; url !== undefined && page < MAX_PAGES; page++) {
      const { json, next }: { json: unknown; next?: string } = await this.get(url);
      if (!Array.isArray(json)) throw new AlloyError("download_failed", `${this.host} lists no files of ${this.repository}`);
      files.push(...json.flatMap(remoteFile));
      url = next;
    }
    return files;
  }

  /** What a refusal means, by the hub's own error codes. */
  explain(error: unknown): unknown {
    if (!(error instanceof TransferError)) return error;
    const { status, headers } = error.detail;
    const code = headers?.get("x-error-code");
    if (code === "GatedRepo" || status === 403)
      return new AlloyError("forbidden", `${this.repository} is only for people who accepted its terms (${status} from ${this.host})`, {
        hint: this.token
          ? `Accept them at ${this.endpoint}/${this.repository} with the account that HF_TOKEN belongs to.`
          : `Accept them at ${this.endpoint}/${this.repository}, then set HF_TOKEN to a token of that account.`,
        cause: error,
      });
    if (code === "RevisionNotFound")
      return new AlloyError("model_not_found", `${this.repository} has no such revision`, {
        hint: `See ${this.endpoint}/${this.repository}/tree/main for its branches and tags.`,
      });
    if (status === 404 || status === 401) {
      const hint = this.token
        ? "Check the name, and that HF_TOKEN may read it."
        : "Check the name; if the model is private, set HF_TOKEN to a token that may read it.";
      return new NotThere(
        this.host,
        `${this.host} has no model ${this.repository}${status === 401 ? " that everybody may read" : ""}`,
        hint,
      );
    }
    return error;
  }

  private get host(): string {
    return new URL(this.endpoint).host;
  }

  private apiUrl(rest: string): string {
    return `${this.endpoint}/api/models/${this.repository}/${rest}`;
  }

  private async get(url: string): Promise<{ json: unknown; next?: string }> {
    const { net, signal } = this.around;
    try {
      const { bytes, headers } = await net.text(url, MAX_INFO_BYTES, { signal, headers: this.headers });
      return { json: parseAnswer(bytes, this.host), next: this.nextPage(headers) };
    } catch (e) {
      throw this.explain(e);
    }
  }

  /** `Link: <https://...>; rel="next"`, if it leads to the same server: the token goes along. */
  private nextPage(headers: Headers): string | undefined {
    const link = /<([^>]+)>;\s*rel="next"/.exec(headers.get("link") ?? "")?.[1];
    if (link === undefined || !URL.canParse(link, this.endpoint)) return undefined;
    const url = new URL(link, this.endpoint);
    return url.origin === new URL(this.endpoint).origin ? url.href : undefined;
  }
}

/** An entry of the tree; folders, and names that would lead out of one, are left out. */
function remoteFile(entry: unknown): RemoteFile[] {
  if (!isObject(entry) || entry.type !== "file" || typeof entry.path !== "string" || !isFileName(entry.path)) return [];
  const lfs = isObject(entry.lfs) ? entry.lfs : undefined;
  const size = lfs?.size ?? entry.size;
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) return [];
  const sha256 = typeof lfs?.oid === "string" ? /^(?:sha256:)?([0-9a-f]{64})$/.exec(lfs.oid)?.[1] : undefined;
  if (sha256 !== undefined) return [{ path: entry.path, size, pin: { sha256 } }];
  const git = !lfs && typeof entry.oid === "string" && /^[0-9a-f]{40}$/.test(entry.oid) ? entry.oid : undefined;
  return [{ path: entry.path, size, ...(git === undefined ? {} : { pin: { git } }) }];
}
