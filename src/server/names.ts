/** From the model name in a request to an installed model (spec 1.10). */
import type { ModelInfo } from "../engine/api.ts";
import { AlloyError, suggest } from "../support/errors.ts";
import type { RequestContext, ServerSettings } from "./context.ts";

const NAME = /^[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,511}$/;
const VENDOR = /^(claude-|gpt-|o[1-9]|codex-|chatgpt-|text-embedding-|whisper-1$)/i;
const CLIENT_PREFIX = /^(ollama|ollama_chat|openai|anthropic|alloy)\//i;

/** The name as Ollama shows it: without default host and namespace, with its tag. */
export function displayName(name: string): string {
  const short = name.replace(/^registry\.ollama\.ai\//i, "").replace(/^library\//i, "");
  return short.slice(short.lastIndexOf("/") + 1).includes(":") ? short : `${short}:latest`;
}

/**
 * The installed model that a request means. Sets `x-alloy-model` when it goes by another name.
 * Vendor names (`claude-*`, `gpt-*`) fall back to the default model on `/v1` paths only: Ollama clients need the 404 to pull.
 * Throws `model_not_found`.
 */
export async function resolveModel(context: RequestContext, requested: string): Promise<ModelInfo> {
  const { settings } = context;
  const vendor = context.dialect !== "ollama" && !settings.strictNames;
  const info =
    (await find(context, requested)) ??
    (await findUndecorated(context, requested)) ??
    (vendor ? await vendorFallback(context, requested) : undefined);
  if (!info) throw notFound(requested, await context.engine.models());
  if (canonical(info.name) !== canonical(requested)) context.headers.set("x-alloy-model", headerText(info.name));
  return info;
}

/** By the engine's own search where it can be one: a list of everything that is installed takes a look at every file. */
async function find(context: RequestContext, name: string): Promise<ModelInfo | undefined> {
  const local = name.replace(/:local$/i, "");
  const alias = lookup(context.settings.aliases, local);
  for (const candidate of alias === undefined ? [local] : [local, alias]) {
    // Only a name reaches the engine, never a path: a request must not open any file it likes.
    const isName = NAME.test(candidate) && !candidate.split("/").includes("..") && !/[:-]cloud$/i.test(candidate);
    const known = isName ? await context.engine.model(candidate).catch(unlessUnknown) : undefined;
    if (known) return known;
    const listed = (await context.engine.models()).find((m) => canonical(m.name) === canonical(candidate));
    if (listed) return listed;
  }
  return undefined;
}

function unlessUnknown(e: unknown): undefined {
  if (e instanceof AlloyError && (e.code === "model_not_found" || e.code === "bad_argument")) return undefined;
  throw e;
}

/** Retries without what clients add: `ollama/x`, `x[1m]`, date stamps on vendor names. */
async function findUndecorated(context: RequestContext, name: string): Promise<ModelInfo | undefined> {
  let bare = name.replace(CLIENT_PREFIX, "").replace(/\[1m\]$/i, "");
  if (/^(claude-|gpt-)/i.test(bare)) bare = bare.replace(/-(\d{8}|latest)$/i, "");
  return bare === name || bare === "" ? undefined : find(context, bare);
}

async function vendorFallback(context: RequestContext, name: string): Promise<ModelInfo | undefined> {
  const bare = name.replace(CLIENT_PREFIX, "");
  // Whisper needs a transcription model, which no installed model can be yet.
  if (!VENDOR.test(bare) || /^whisper-1$/i.test(bare)) return undefined;
  const kind = /^text-embedding-/i.test(bare) ? "embedding" : "completion";
  const fits = (m: ModelInfo) => m.capabilities.includes(kind);
  for (const wanted of [claudeTier(context.settings, bare), context.settings.defaultModel]) {
    const info = wanted === undefined ? undefined : await find(context, wanted);
    if (info && fits(info)) return info;
  }
  const loaded = (await context.engine.loaded()).map((l) => l.info).filter(fits);
  if (loaded.length === 1) return loaded[0];
  const installed = (await context.engine.models()).filter(fits);
  return installed.length === 1 ? installed[0] : undefined;
}

function claudeTier(settings: ServerSettings, name: string): string | undefined {
  const tier = /^claude-.*(opus|sonnet|haiku|fable)/i.exec(name)?.[1]?.toLowerCase();
  return tier === undefined ? undefined : settings.claudeModels[tier as keyof ServerSettings["claudeModels"]];
}

function lookup(aliases: Record<string, string>, name: string): string | undefined {
  const key = Object.keys(aliases).find((k) => canonical(k) === canonical(name));
  return key === undefined ? undefined : aliases[key];
}

function canonical(name: string): string {
  return displayName(name).toLowerCase();
}

function notFound(requested: string, models: ModelInfo[]): AlloyError {
  const names = models.map((m) => m.name);
  const near = suggest(requested, names);
  const hint =
    near !== undefined
      ? `Did you mean '${near}'?`
      : names.length === 0
        ? "No model is installed."
        : `Installed: ${names.slice(0, 8).join(", ")}${names.length > 8 ? ", ..." : ""}.`;
  return new AlloyError("model_not_found", `model '${requested}' not found`, { hint, param: "model", data: { model: requested } });
}

/** Header values are ASCII; file names need not be. */
function headerText(text: string): string {
  return text.replace(/[^\x20-\x7e]+/g, (odd) => encodeURIComponent(odd.toWellFormed()));
}
