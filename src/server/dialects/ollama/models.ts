/** GET /api/tags, POST /api/show, GET /api/ps, GET /api/version (spec 4.4-4.6, 4.13). */
import { Type } from "@sinclair/typebox";
import type { LoadedModel, ModelInfo } from "../../../engine/api.ts";
import { AlloyError } from "../../../support/errors.ts";
import { readJson } from "../../body.ts";
import type { RequestContext } from "../../context.ts";
import { displayName, resolveModel } from "../../names.ts";
import { jsonResponse } from "../../stream.ts";
import { opt, validate } from "../../validate.ts";

/** What Ollama this server answers like: clients compare it with the version that they need. */
export const OLLAMA_VERSION = "0.20.0";

/** `expires_at` of a model that stays for ever. */
const NEVER = "2318-01-01T00:00:00Z";

export function version(context: RequestContext): Response {
  return jsonResponse({ version: OLLAMA_VERSION, alloy_version: context.settings.version });
}

export async function tags(context: RequestContext): Promise<Response> {
  const models = (await context.engine.models()).toSorted((a, b) => b.modified.localeCompare(a.modified));
  return jsonResponse({
    models: models.map((m) => ({ ...identity(m), modified_at: m.modified, capabilities: m.capabilities })),
  });
}

export async function ps(context: RequestContext): Promise<Response> {
  const loaded = (await context.engine.loaded()).toSorted((a, b) => expiry(b) - expiry(a));
  return jsonResponse({
    models: loaded.map((m) => ({
      ...identity(m.info),
      size: m.memoryBytes,
      expires_at: m.expires === undefined || !Number.isFinite(m.expires) ? NEVER : new Date(m.expires).toISOString(),
      size_vram: 0,
      context_length: m.contextLength,
    })),
  });
}

/** For sorting; finite, since the difference of two infinities is no order. */
const expiry = (m: LoadedModel) => Math.min(m.expires ?? Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);

export const ShowBody = Type.Object({
  model: opt(Type.String()),
  name: opt(Type.String()),
  verbose: opt(Type.Boolean()),
  system: opt(Type.String()),
  template: opt(Type.String()),
});

export async function show(context: RequestContext): Promise<Response> {
  const body = validate(ShowBody, await readJson(context));
  const requested = body.model || body.name;
  if (!requested) throw new AlloyError("missing_parameter", "model is required", { param: "model" });
  const info = await resolveModel(context, requested);
  const template = body.template ?? info.template ?? "";
  const system = body.system ?? info.preset?.system;
  const messages = info.preset?.messages ?? [];
  const parameters = parameterLines(info);
  return jsonResponse({
    modelfile: modelfile(info, template, system, parameters),
    parameters: parameters.map(([key, value]) => `${key.padEnd(30)} ${value}`).join("\n"),
    template,
    ...(system ? { system } : {}),
    ...(messages.length > 0 ? { messages } : {}),
    ...(info.license ? { license: info.license } : {}),
    details: details(info),
    model_info: modelInfo(info, requested, body.verbose ?? false, context.request.headers.get("user-agent") ?? ""),
    capabilities: info.capabilities,
    modified_at: info.modified,
  });
}

function identity(info: ModelInfo) {
  const name = displayName(info.name);
  return { name, model: name, size: info.fileBytes, digest: info.digest, details: details(info) };
}

function details(info: ModelInfo): object {
  return {
    parent_model: "",
    format: info.format === "gguf" ? "gguf" : "safetensors",
    family: info.architecture,
    families: [info.architecture],
    parameter_size: parameterSize(info.parameters),
    quantization_level: info.quantization,
    context_length: info.contextLength,
    embedding_length: info.embeddingLength,
  };
}

/** "7.6B", "560M", "10.2M": as Ollama writes it. */
export function parameterSize(count: number): string {
  const [unit, size] = count >= 1e9 ? ["B", 1e9] : count >= 1e6 ? ["M", 1e6] : count >= 1e3 ? ["K", 1e3] : ["", 1];
  const value = count / (size as number);
  return `${value >= 100 ? Math.round(value) : Number(value.toFixed(1))}${unit}`;
}

/** Metadata as GGUF names it; models from other formats get the keys that clients read. Long arrays are left empty unless asked for. */
function modelInfo(info: ModelInfo, requested: string, verbose: boolean, userAgent: string): Record<string, unknown> {
  const arch = info.architecture;
  const result: Record<string, unknown> = {
    "general.architecture": arch,
    "general.parameter_count": info.parameters,
    [`${arch}.context_length`]: info.contextLength,
    [`${arch}.embedding_length`]: info.embeddingLength,
  };
  for (const [key, value] of Object.entries(info.metadata)) {
    if (key === "tokenizer.chat_template") continue;
    result[key] = Array.isArray(value) && value.length > 5 && !verbose ? [] : value;
  }
  // Copilot shows the base name to its user, who knows the model under the name that was asked for.
  if (userAgent.startsWith("GitHubCopilotChat/")) result["general.basename"] = requested;
  return result;
}

/** As `PARAMETER` lines of a Modelfile: those that came with the model, else what its file recommends. */
function parameterLines(info: ModelInfo): [string, string][] {
  const own = Object.entries(info.preset?.parameters ?? {});
  const names: Record<string, string> = {
    "general.sampling.temp": "temperature",
    "general.sampling.top_k": "top_k",
    "general.sampling.top_p": "top_p",
    "general.sampling.min_p": "min_p",
    "general.sampling.penalty_repeat": "repeat_penalty",
  };
  const recommended = Object.entries(names).map(([key, name]): [string, unknown] => [name, info.metadata[key]]);
  return (own.length > 0 ? own : recommended).flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value]).flatMap((one): [string, string][] => (one === undefined ? [] : [[name, JSON.stringify(one)]])),
  );
}

function modelfile(info: ModelInfo, template: string, system: string | undefined, parameters: [string, string][]): string {
  const quote = (text: string) => `"""${text}"""`;
  return [
    `# Modelfile generated by "alloy show"`,
    `FROM ${info.path}`,
    ...(template ? [`TEMPLATE ${quote(template)}`] : []),
    ...(system ? [`SYSTEM ${quote(system)}`] : []),
    ...parameters.map(([key, value]) => `PARAMETER ${key} ${value}`),
    ...(info.preset?.messages ?? []).map(({ role, content }) => `MESSAGE ${role} ${quote(content)}`),
    "",
  ].join("\n");
}
