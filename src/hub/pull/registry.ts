/**
 * Ollama's registry, which speaks the Docker registry's protocol (distribution specification 1.1): GET /v2/NAME/manifests/TAG, then
 * GET /v2/NAME/blobs/DIGEST for each layer. Who wants to know who is asking answers 401 and names where an anonymous token is to be had.
 */
import { isObject } from "../../formats/json.ts";
import { AlloyError } from "../../support/errors.ts";
import { type Net, TransferError } from "../download/net.ts";
import { blobsOf, FILE_TYPE, layerKind, MANIFEST_TYPE, MAX_MANIFEST_BYTES, parseManifest } from "../manifest.ts";
import { blobPath } from "../manifests.ts";
import { DEFAULT_HOST, displayName, type ModelName } from "../names.ts";
import { ollamaRoot } from "../stores.ts";
import { NotThere, parseAnswer, type PullPlan, type Surroundings } from "./plan.ts";

const ACCEPT = `${MANIFEST_TYPE}, application/vnd.oci.image.manifest.v1+json`;
const MAX_TOKEN_BYTES = 64 * 1024;

/** Where a name's registry is. ALLOY_REGISTRY stands in for the default one. @param scheme of other hosts */
export function registryUrl(name: ModelName, env: Surroundings["env"], scheme: "http" | "https"): string {
  if (name.host !== DEFAULT_HOST) return `${scheme}://${name.host}`;
  return (env.ALLOY_REGISTRY || `https://${DEFAULT_HOST}`).replace(/\/+$/, "");
}

/** Throws NotThere, `unsupported_model` for models without GGUF weights, `bad_file` for a manifest that makes no sense. */
export async function planFromRegistry(name: ModelName, scheme: "http" | "https", around: Surroundings): Promise<PullPlan> {
  const base = registryUrl(name, around.env, scheme);
  const repository = `${base}/v2/${name.namespace}/${name.model}`;
  const { bytes, headers, renew } = await readManifest(`${repository}/manifests/${name.tag}`, name, around);
  const manifest = parseManifest(bytes, `the manifest of ${displayName(name)} from ${new URL(base).host}`, { strict: true });
  if (!manifest.layers.some((layer) => layerKind(layer) === "model" || layer.mediaType === FILE_TYPE))
    throw new AlloyError("unsupported_model", `${displayName(name)} has no GGUF weights`, {
      hint: "It is a cloud model, or one for another engine; take another tag of it.",
    });
  const files = blobsOf(manifest).map(({ digest, size }) => ({
    source: { url: `${repository}/blobs/sha256:${digest}`, headers, renew, size, pin: { sha256: digest } },
    label: digest.slice(0, 12),
    copies: [blobPath(ollamaRoot(around.env), digest)],
  }));
  return { name, files, manifest: () => bytes };
}

type Headers = Record<string, string>;

/** The manifest, the headers that the layers have to be asked for with, and how to get new ones. */
async function readManifest(
  url: string,
  name: ModelName,
  { net, signal }: Surroundings,
): Promise<{ bytes: Uint8Array; headers: Headers; renew?: () => Promise<Headers> }> {
  const get = async (headers: Headers): Promise<Uint8Array> => {
    const { bytes } = await net.text(url, MAX_MANIFEST_BYTES, { signal, headers: { accept: ACCEPT, ...headers } });
    return bytes;
  };
  try {
    return { bytes: await get({}), headers: {} };
  } catch (e) {
    const challenge = e instanceof TransferError && e.detail.status === 401 ? e.detail.headers?.get("www-authenticate") : undefined;
    if (!challenge) throw explained(e, url, name);
    const login = async (until?: AbortSignal) => ({ authorization: `Bearer ${await anonymousToken(challenge, url, net, until)}` });
    const headers = await login(signal);
    const bytes = await get(headers).catch((refused: unknown) => Promise.reject(explained(refused, url, name)));
    // The download may outlive the one who asked for it first: others share it.
    return { bytes, headers, renew: () => login() };
  }
}

function explained(e: unknown, url: string, name: ModelName): unknown {
  const { host } = new URL(url);
  const status = e instanceof TransferError ? e.detail.status : undefined;
  if (status === 404 || status === 400) {
    return new NotThere(
      host,
      `${host} has no model ${displayName(name)}`,
      "Check the name and the tag; https://ollama.com/search lists them.",
    );
  }
  if (status === 401 || status === 403) {
    return new NotThere(host, `${host} does not give ${displayName(name)} to everybody (${status})`, "It does not exist, or is private.");
  }
  return e;
}

/** Asks where a `Bearer realm="...",service="...",scope="..."` challenge points to. */
async function anonymousToken(challenge: string, from: string, net: Net, signal?: AbortSignal): Promise<string> {
  const values = Object.fromEntries([...challenge.matchAll(/(\w+)="([^"]*)"/g)].map(([, key, value]) => [key, value]));
  if (!/^bearer\s/i.test(challenge) || !URL.canParse(values.realm ?? "", from))
    throw new AlloyError("download_failed", `${new URL(from).host} wants a login that Alloy does not know: ${challenge.slice(0, 80)}`);
  const realm = new URL(values.realm, from);
  if (realm.protocol !== "https:" && realm.origin !== new URL(from).origin)
    throw new AlloyError("download_failed", `${new URL(from).host} sends for a token to ${realm.origin}, without encryption`);
  for (const key of ["service", "scope"]) if (values[key]) realm.searchParams.set(key, values[key]);
  const { bytes } = await net.text(realm.href, MAX_TOKEN_BYTES, { signal });
  const json = parseAnswer(bytes, realm.host);
  const token = isObject(json) ? (json.token ?? json.access_token) : undefined;
  if (typeof token === "string" && /^[\x21-\x7e]+$/.test(token)) return token;
  throw new AlloyError("download_failed", `${realm.host} gives no token`);
}
