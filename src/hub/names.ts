/** Model names as Ollama defines them: `[host/][namespace/]model[:tag]`, compared without regard to case. */

export interface ModelName {
  host: string;
  namespace: string;
  model: string;
  tag: string;
}

/** The host part of names from Hugging Face. */
export const HF_HOST = "hf.co";
export const DEFAULT_HOST = "registry.ollama.ai";
export const DEFAULT_NAMESPACE = "library";
export const DEFAULT_TAG = "latest";

const HOST = /^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}$/;
const NAMESPACE = /^[A-Za-z0-9_][A-Za-z0-9_-]{0,79}$/;
const PART = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}$/;
/** Hugging Face allows longer names than Ollama. */
const HF_REPOSITORY = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}$/;

/** Parts of a name with the defaults filled in; undefined when it is no valid name. */
export function parseName(text: string): ModelName | undefined {
  const [path, tag = DEFAULT_TAG] = splitTag(text.replace(/^https?:\/\//, ""));
  const parts = path.split("/");
  if (parts.length > 3) return undefined;
  const model = parts.pop() ?? "";
  const namespace = parts.pop() ?? DEFAULT_NAMESPACE;
  const host = parts.pop() ?? DEFAULT_HOST;
  const valid =
    HOST.test(host) && NAMESPACE.test(namespace) && (isHuggingFaceHost(host) ? HF_REPOSITORY : PART).test(model) && PART.test(tag);
  return valid ? { host, namespace, model, tag } : undefined;
}

export function isHuggingFaceHost(host: string): boolean {
  return /^(?:www\.)?(?:hf\.co|huggingface\.co)$/i.test(host);
}

/** A reference without and with its tag: the text after the last colon, if that comes after the last slash. */
export function splitTag(text: string): [path: string, tag: string | undefined] {
  const colon = text.lastIndexOf(":");
  return colon > text.lastIndexOf("/") ? [text.slice(0, colon), text.slice(colon + 1)] : [text, undefined];
}

/** The name to show: default host and namespace are left out, the tag is kept. */
export function displayName({ host, namespace, model, tag }: ModelName): string {
  const short = `${model}:${tag}`;
  if (host !== DEFAULT_HOST) return `${host}/${namespace}/${short}`;
  return namespace === DEFAULT_NAMESPACE ? short : `${namespace}/${short}`;
}

/** Whether a name asks for a model that runs on somebody else's machines. */
export function isCloudName(text: string): boolean {
  return /[:-]cloud$/i.test(text);
}

const PREFIXES = /^(?:ollama|ollama_chat|openai|anthropic|alloy)\//i;

/**
 * The names to try for a requested one, in order: as it stands, then without what clients add to names (provider prefixes,
 * `[1m]`, date stamps and `-latest` on vendor names). `:local` is dropped first.
 */
export function nameVariants(requested: string): string[] {
  const plain = requested.trim().replace(/:local$/i, "");
  let bare = plain.replace(PREFIXES, "").replace(/\[1m\]$/i, "");
  if (/^(?:claude|gpt)-/i.test(bare)) bare = bare.replace(/-(?:\d{8}|latest)$/i, "");
  return bare === plain ? [plain] : [plain, bare];
}
