/** Every endpoint, one line each. A new one is a file with its handler and a line here. */
import type { Handler, Method, Route } from "./context.ts";
import { Body as CountTokensBody, countTokens } from "./dialects/anthropic/count-tokens.ts";
import { Body as MessageBody, createMessage } from "./dialects/anthropic/create.ts";
import { Body as LlamaCompletionBody, completion, infill, InfillBody } from "./dialects/llama/completion.ts";
import { loraAdapters, props, ready, slots } from "./dialects/llama/props.ts";
import { Body as RerankBody, rerank } from "./dialects/llama/rerank.ts";
import {
  applyTemplate,
  chatInputTokens,
  detokenize,
  DetokenizeBody,
  PromptBody,
  tokenize,
  TokenizeBody,
} from "./dialects/llama/tokenize.ts";
import { account, recommendations, status } from "./dialects/ollama/account.ts";
import { headBlob, postBlob } from "./dialects/ollama/blobs.ts";
import { Body as OllamaChatBody, chat as ollamaChat } from "./dialects/ollama/chat.ts";
import { Body as CreateBody, create } from "./dialects/ollama/create.ts";
import { Body as GenerateBody, generate } from "./dialects/ollama/generate.ts";
import { Body as EmbedBody, embed } from "./dialects/ollama/embed.ts";
import { copy, CopyBody, DeleteBody, remove } from "./dialects/ollama/manage.ts";
import { ps, show, ShowBody, tags, version } from "./dialects/ollama/models.ts";
import { pull, PullBody, push, PushBody } from "./dialects/ollama/pull.ts";
import { transcriptions } from "./dialects/openai/audio.ts";
import { Body as ChatBody, chatCompletions } from "./dialects/openai/chat.ts";
import { Body as CompletionBody, completions } from "./dialects/openai/completions.ts";
import { Body as EmbeddingsBody, embeddings } from "./dialects/openai/embeddings.ts";
import { listModels, retrieveModel } from "./dialects/openai/models.ts";
import { createResponse, responseInputTokens } from "./dialects/openai/responses/create.ts";
import { Body as ResponseBody } from "./dialects/openai/responses/request.ts";
import { deleteResponse, getResponse, postBelowResponse } from "./dialects/openai/responses/stored.ts";
import type { Dialect } from "./errors.ts";
import { notBuilt } from "./not-built.ts";
import { metrics } from "./metrics/metrics.ts";
import { openApi } from "./openapi.ts";
import { health, live } from "./small.ts";
import { pageFile, rootOrPage } from "./web/page.ts";

const SSE = "text/event-stream";
const NDJSON = "application/x-ndjson";

/** A line of the table. */
function route(method: Method, path: string, dialect: Dialect, handle: Handler, summary: string, more: Details = {}): Route {
  return { method, path, dialect, handle, summary, ...more };
}
type Details = Pick<Route, "open" | "rest" | "body" | "upload" | "streams" | "answers" | "absent">;

const SERVED: Route[] = [
  route("GET", "/", "ollama", rootOrPage, "what Ollama answers, or in a browser the chat page", { open: true, answers: "text/plain" }),
  route("HEAD", "/", "ollama", rootOrPage, "whether the server is up", { open: true, answers: "" }),
  route("GET", "/web/*", "ollama", pageFile, "files of the chat page", { open: true, rest: "file", answers: "*/*" }),
  route("HEAD", "/web/*", "ollama", pageFile, "files of the chat page", { open: true, rest: "file", answers: "" }),
  route("GET", "/health", "openai", health, "whether the process is up", { open: true }),
  route("GET", "/v1/health", "openai", health, "whether the process is up", { open: true }),
  route("GET", "/healthz", "openai", live, "whether the process is up", { open: true }),
  route("GET", "/livez", "openai", live, "whether the process is up", { open: true }),
  route("GET", "/readyz", "openai", ready, "whether requests can be answered; 503 if not", { open: true }),

  route("POST", "/v1/chat/completions", "openai", chatCompletions, "the next message of a chat", { body: ChatBody, streams: SSE }),
  route("POST", "/v1/chat/completions/input_tokens", "openai", chatInputTokens, "tokens of a chat", { body: PromptBody }),
  route("POST", "/v1/completions", "openai", completions, "the continuation of a text", { body: CompletionBody, streams: SSE }),
  route("POST", "/v1/responses", "openai", createResponse, "a response, with tools and reasoning as items", {
    body: ResponseBody,
    streams: SSE,
  }),
  route("POST", "/v1/responses/input_tokens", "openai", responseInputTokens, "tokens of a response's input", { body: ResponseBody }),
  route("GET", "/v1/responses/*", "openai", getResponse, "a response that is kept in memory", { rest: "response_id" }),
  route("DELETE", "/v1/responses/*", "openai", deleteResponse, "forget a response", { rest: "response_id" }),
  route("POST", "/v1/responses/*", "openai", postBelowResponse, "cancelling and compacting, which are refused", { rest: "response_id" }),
  route("POST", "/v1/embeddings", "openai", embeddings, "embeddings; checked, then refused: no model here embeds yet", {
    body: EmbeddingsBody,
  }),
  route("POST", "/v1/audio/transcriptions", "openai", transcriptions, "transcriptions; checked, then refused: no model here hears yet", {
    upload: "multipart/form-data",
  }),
  route("POST", "/v1/audio/translations", "openai", transcriptions, "translations; checked, then refused: no model here hears yet", {
    upload: "multipart/form-data",
  }),
  route("GET", "/v1/models", "openai", listModels, "models, in a shape that OpenAI's and Anthropic's clients both read"),
  route("GET", "/v1/models/*", "openai", retrieveModel, "a model", { rest: "model" }),

  route("POST", "/v1/messages", "anthropic", createMessage, "the next message of a conversation", { body: MessageBody, streams: SSE }),
  route("POST", "/v1/messages/count_tokens", "anthropic", countTokens, "tokens of a conversation, exactly", { body: CountTokensBody }),

  route("GET", "/openapi.json", "openai", (context) => openApi(ROUTES, context), "this description"),
  route("GET", "/metrics", "openai", metrics, "numbers for Prometheus", { answers: "text/plain" }),
  route("GET", "/props", "openai", props, "properties of the server and a model, as llama-server has them"),
  route("GET", "/slots", "openai", slots, "what a model is working on, without prompts"),
  route("GET", "/lora-adapters", "openai", loraAdapters, "LoRA adapters; there are none"),
  route("POST", "/tokenize", "openai", tokenize, "token ids of a text", { body: TokenizeBody }),
  route("POST", "/detokenize", "openai", detokenize, "the text of token ids", { body: DetokenizeBody }),
  route("POST", "/apply-template", "openai", applyTemplate, "the prompt that a chat comes to", { body: PromptBody }),
  route("POST", "/completion", "openai", completion, "the continuation of a text, as llama-server has it", {
    body: LlamaCompletionBody,
    streams: SSE,
  }),
  route("POST", "/infill", "openai", infill, "what belongs between two texts, as llama-server has it", { body: InfillBody, streams: SSE }),
  ...["/v1/rerank", "/v1/reranking", "/rerank", "/reranking"].map((path) =>
    route("POST", path, "openai", rerank, "ranks of documents; checked, then refused: no model here ranks yet", { body: RerankBody }),
  ),

  route("POST", "/api/chat", "ollama", ollamaChat, "the next message of a chat", { body: OllamaChatBody, streams: NDJSON }),
  route("POST", "/api/generate", "ollama", generate, "the answer to a prompt", { body: GenerateBody, streams: NDJSON }),
  route("POST", "/api/embed", "ollama", embed, "embeddings; checked, then refused: no model here embeds yet", { body: EmbedBody }),
  route("POST", "/api/embeddings", "ollama", embed, "embeddings, in their older form; refused likewise", { body: EmbedBody }),
  route("GET", "/api/tags", "ollama", tags, "models that are installed"),
  route("HEAD", "/api/tags", "ollama", tags, "whether models can be listed", { answers: "" }),
  route("POST", "/api/show", "ollama", show, "what a model is", { body: ShowBody }),
  route("GET", "/api/ps", "ollama", ps, "models that are loaded"),
  route("POST", "/api/pull", "ollama", pull, "download a model", { body: PullBody, streams: NDJSON }),
  route("POST", "/api/push", "ollama", push, "uploading, which is refused with 501", { body: PushBody }),
  route("POST", "/api/create", "ollama", create, "make a model of another one, or of files", { body: CreateBody, streams: NDJSON }),
  route("POST", "/api/copy", "ollama", copy, "give a model a second name", { body: CopyBody, answers: "" }),
  route("DELETE", "/api/delete", "ollama", remove, "delete a model", { body: DeleteBody, answers: "" }),
  route("HEAD", "/api/blobs/*", "ollama", headBlob, "whether a file for `create` is here", { rest: "digest", answers: "" }),
  route("POST", "/api/blobs/*", "ollama", postBlob, "send a file for `create`", {
    rest: "digest",
    upload: "application/octet-stream",
    answers: "",
  }),
  route("GET", "/api/status", "ollama", status, "whether cloud models are off, which they are"),
  route("POST", "/api/me", "ollama", account, "the account; there are none"),
  route("POST", "/api/signout", "ollama", account, "signing out; there are no accounts"),
  route("GET", "/api/experimental/model-recommendations", "ollama", recommendations, "models to begin with; none are recommended"),
  route("GET", "/api/version", "ollama", version, "the version of Ollama that this server answers like, and its own"),
  route("HEAD", "/api/version", "ollama", version, "whether the server is up", { answers: "" }),
];

/** In the contract, not built yet: answers 501 in the dialect's shape instead of pretending that the path is unknown. */
const NOT_BUILT: [Method, string, Dialect][] = [
  ["POST", "/v1/chat/completions/control", "openai"],
  ["POST", "/props", "openai"],
  ["POST", "/slots/*", "openai"],
  ["POST", "/lora-adapters", "openai"],
  ["POST", "/embedding", "openai"],
  ["GET", "/api/experimental/*", "ollama"],
  ["POST", "/api/experimental/*", "ollama"],
];

export const ROUTES: readonly Route[] = [
  ...SERVED,
  ...NOT_BUILT.map(([method, path, dialect]) =>
    route(method, path, dialect, notBuilt(`${method} ${path}`), "not built yet", { absent: true }),
  ),
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
  if (/^\/v1\/(messages|complete|skills)(\/|$)/.test(path)) return "anthropic";
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
