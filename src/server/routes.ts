/** Every endpoint, one line each. A new one is a file with its handler and a line here. */
import type { Method, Route } from "./context.ts";
import { countTokens } from "./dialects/anthropic/count-tokens.ts";
import { createMessage } from "./dialects/anthropic/create.ts";
import { completion } from "./dialects/llama/completion.ts";
import { loraAdapters, props, ready, slots } from "./dialects/llama/props.ts";
import { rerank } from "./dialects/llama/rerank.ts";
import { applyTemplate, chatInputTokens, detokenize, tokenize } from "./dialects/llama/tokenize.ts";
import { account, recommendations, status } from "./dialects/ollama/account.ts";
import { headBlob, postBlob } from "./dialects/ollama/blobs.ts";
import { chat as ollamaChat } from "./dialects/ollama/chat.ts";
import { create } from "./dialects/ollama/create.ts";
import { generate } from "./dialects/ollama/generate.ts";
import { embed } from "./dialects/ollama/embed.ts";
import { copy, remove } from "./dialects/ollama/manage.ts";
import { ps, show, tags, version } from "./dialects/ollama/models.ts";
import { pull, push } from "./dialects/ollama/pull.ts";
import { transcriptions } from "./dialects/openai/audio.ts";
import { chatCompletions } from "./dialects/openai/chat.ts";
import { completions } from "./dialects/openai/completions.ts";
import { embeddings } from "./dialects/openai/embeddings.ts";
import { listModels, retrieveModel } from "./dialects/openai/models.ts";
import { createResponse, responseInputTokens } from "./dialects/openai/responses/create.ts";
import { deleteResponse, getResponse, postBelowResponse } from "./dialects/openai/responses/stored.ts";
import type { Dialect } from "./errors.ts";
import { notBuilt } from "./not-built.ts";
import { metrics } from "./metrics/metrics.ts";
import { health, live } from "./small.ts";
import { pageFile, rootOrPage } from "./web/page.ts";

const SERVED: Route[] = [
  { method: "GET", path: "/", dialect: "ollama", handle: rootOrPage, open: true },
  { method: "HEAD", path: "/", dialect: "ollama", handle: rootOrPage, open: true },
  { method: "GET", path: "/web/*", dialect: "ollama", handle: pageFile, open: true },
  { method: "HEAD", path: "/web/*", dialect: "ollama", handle: pageFile, open: true },
  { method: "GET", path: "/health", dialect: "openai", handle: health, open: true },
  { method: "GET", path: "/v1/health", dialect: "openai", handle: health, open: true },
  { method: "GET", path: "/healthz", dialect: "openai", handle: live, open: true },
  { method: "GET", path: "/livez", dialect: "openai", handle: live, open: true },
  { method: "GET", path: "/readyz", dialect: "openai", handle: ready, open: true },

  { method: "POST", path: "/v1/chat/completions", dialect: "openai", handle: chatCompletions },
  { method: "POST", path: "/v1/chat/completions/input_tokens", dialect: "openai", handle: chatInputTokens },
  { method: "POST", path: "/v1/completions", dialect: "openai", handle: completions },
  { method: "POST", path: "/v1/responses", dialect: "openai", handle: createResponse },
  { method: "POST", path: "/v1/responses/input_tokens", dialect: "openai", handle: responseInputTokens },
  { method: "GET", path: "/v1/responses/*", dialect: "openai", handle: getResponse },
  { method: "DELETE", path: "/v1/responses/*", dialect: "openai", handle: deleteResponse },
  { method: "POST", path: "/v1/responses/*", dialect: "openai", handle: postBelowResponse },
  { method: "POST", path: "/v1/embeddings", dialect: "openai", handle: embeddings },
  { method: "POST", path: "/v1/audio/transcriptions", dialect: "openai", handle: transcriptions },
  { method: "POST", path: "/v1/audio/translations", dialect: "openai", handle: transcriptions },
  { method: "GET", path: "/v1/models", dialect: "openai", handle: listModels },
  { method: "GET", path: "/v1/models/*", dialect: "openai", handle: retrieveModel },

  { method: "POST", path: "/v1/messages", dialect: "anthropic", handle: createMessage },
  { method: "POST", path: "/v1/messages/count_tokens", dialect: "anthropic", handle: countTokens },

  { method: "GET", path: "/metrics", dialect: "openai", handle: metrics },
  { method: "GET", path: "/props", dialect: "openai", handle: props },
  { method: "GET", path: "/slots", dialect: "openai", handle: slots },
  { method: "GET", path: "/lora-adapters", dialect: "openai", handle: loraAdapters },
  { method: "POST", path: "/tokenize", dialect: "openai", handle: tokenize },
  { method: "POST", path: "/detokenize", dialect: "openai", handle: detokenize },
  { method: "POST", path: "/apply-template", dialect: "openai", handle: applyTemplate },
  { method: "POST", path: "/completion", dialect: "openai", handle: completion },
  ...["/v1/rerank", "/v1/reranking", "/rerank", "/reranking"].map((path): Route => ({
    method: "POST",
    path,
    dialect: "openai",
    handle: rerank,
  })),

  { method: "POST", path: "/api/chat", dialect: "ollama", handle: ollamaChat },
  { method: "POST", path: "/api/generate", dialect: "ollama", handle: generate },
  { method: "POST", path: "/api/embed", dialect: "ollama", handle: embed },
  { method: "POST", path: "/api/embeddings", dialect: "ollama", handle: embed },
  { method: "GET", path: "/api/tags", dialect: "ollama", handle: tags },
  { method: "HEAD", path: "/api/tags", dialect: "ollama", handle: tags },
  { method: "POST", path: "/api/show", dialect: "ollama", handle: show },
  { method: "GET", path: "/api/ps", dialect: "ollama", handle: ps },
  { method: "POST", path: "/api/pull", dialect: "ollama", handle: pull },
  { method: "POST", path: "/api/push", dialect: "ollama", handle: push },
  { method: "POST", path: "/api/create", dialect: "ollama", handle: create },
  { method: "POST", path: "/api/copy", dialect: "ollama", handle: copy },
  { method: "DELETE", path: "/api/delete", dialect: "ollama", handle: remove },
  { method: "HEAD", path: "/api/blobs/*", dialect: "ollama", handle: headBlob },
  { method: "POST", path: "/api/blobs/*", dialect: "ollama", handle: postBlob },
  { method: "GET", path: "/api/status", dialect: "ollama", handle: status },
  { method: "POST", path: "/api/me", dialect: "ollama", handle: account },
  { method: "POST", path: "/api/signout", dialect: "ollama", handle: account },
  { method: "GET", path: "/api/experimental/model-recommendations", dialect: "ollama", handle: recommendations },
  { method: "GET", path: "/api/version", dialect: "ollama", handle: version },
  { method: "HEAD", path: "/api/version", dialect: "ollama", handle: version },
];

/** In the contract, not built yet: answers 501 in the dialect's shape instead of pretending that the path is unknown. */
const NOT_BUILT: [Method, string, Dialect][] = [
  ["POST", "/v1/chat/completions/control", "openai"],
  ["POST", "/props", "openai"],
  ["POST", "/slots/*", "openai"],
  ["POST", "/lora-adapters", "openai"],
  ["POST", "/infill", "openai"],
  ["POST", "/embedding", "openai"],
  ["GET", "/api/experimental/*", "ollama"],
  ["POST", "/api/experimental/*", "ollama"],
];

export const ROUTES: readonly Route[] = [
  ...SERVED,
  ...NOT_BUILT.map(([method, path, dialect]): Route => ({ method, path, dialect, handle: notBuilt(`${method} ${path}`) })),
];

/** For base URLs without `/v1` (spec 1.2): the path as if it had been written. */
const WITHOUT_V1 = ["/chat/completions", "/completions", "/responses", "/models", "/messages", "/embeddings", "/audio/transcriptions"];

/** A path without duplicate and trailing slashes, `/v1/v1` and missing `/v1` put right. */
export function tidyPath(pathname: string): string {
  const single = pathname.replace(/\/{2,}/g, "/").replace(/(.)\/$/, "$1");
  const once = single.replace(/^\/v1\/v1(?=\/|$)/, "/v1");
  return WITHOUT_V1.some((p) => once === p || once.startsWith(`${p}/`)) ? `/v1${once}` : once;
}

/** The route of a tidy path; otherwise the methods that the path has (none: unknown path). */
export function findRoute(method: string, path: string): { route: Route; rest: string } | { allow: Method[] } {
  const matching = ROUTES.filter((r) => matches(r, path));
  // An exact path wins over a prefix.
  const route = matching.find((r) => r.method === method && r.path === path) ?? matching.find((r) => r.method === method);
  if (!route) return { allow: [...new Set(matching.map((r) => r.method))] };
  return { route, rest: route.path.endsWith("*") ? decode(path.slice(route.path.length - 1)) : "" };
}

/** Whose error shape a path without route gets. */
export function dialectOf(path: string): Dialect {
  if (path === "/v1/messages" || path.startsWith("/v1/messages/")) return "anthropic";
  return path === "/v1" || path.startsWith("/v1/") ? "openai" : "ollama";
}

function matches(route: Route, path: string): boolean {
  return route.path.endsWith("*") ? path.startsWith(route.path.slice(0, -1)) : route.path === path;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
