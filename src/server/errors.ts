/** AlloyError to the error envelope of each dialect (spec 1.7, 1.8, 3.9). */
import { AlloyError, type ErrorCode } from "../support/errors.ts";

export type Dialect = "openai" | "anthropic" | "ollama";

/** Codes that OpenAI clients know under another name; null where OpenAI sends none. */
const OPENAI_CODES: Partial<Record<ErrorCode, string | null>> = {
  missing_parameter: "missing_required_parameter",
  unauthorized: "invalid_api_key",
  queue_full: "server_is_overloaded",
  not_found: "unknown_url",
  bad_argument: "invalid_value",
  internal: null,
};

/** The field at fault where the error comes from the engine, which knows no fields. */
const OPENAI_PARAMS: Partial<Record<ErrorCode, string>> = { model_not_found: "model", context_length_exceeded: "messages" };

const ANTHROPIC_TYPES: Record<number, string> = {
  400: "invalid_request_error",
  401: "authentication_error",
  403: "permission_error",
  404: "not_found_error",
  405: "invalid_request_error",
  409: "conflict_error",
  413: "request_too_large",
  429: "rate_limit_error",
  503: "overloaded_error",
  504: "timeout_error",
  529: "overloaded_error",
};

/** A request field that is wrong. `reason` completes "the field ...": "must be a string, not the number 5". */
export function fieldError(
  code: "missing_parameter" | "invalid_type" | "invalid_value" | "unsupported_content" | "unsupported_feature",
  param: string,
  reason: string,
  hint?: string,
): AlloyError {
  return new AlloyError(code, `'${param}' ${reason}`, { param, hint, data: { reason } });
}

/** HTTP status of an error in a dialect: Anthropic signals overload with 529. */
export function errorStatus(dialect: Dialect, error: AlloyError): number {
  return dialect === "anthropic" && error.code === "queue_full" ? 529 : error.status;
}

/** The error object that a dialect sends, as a response body or as the last frame of a stream. */
export function errorBody(dialect: Dialect, error: AlloyError, requestId: string, status = errorStatus(dialect, error)): object {
  const message = errorMessage(dialect, error, requestId);
  if (dialect === "ollama") return { error: message };
  if (dialect === "anthropic") {
    return { type: "error", error: { type: ANTHROPIC_TYPES[status] ?? "api_error", message }, request_id: requestId };
  }
  const known = OPENAI_CODES[error.code];
  return {
    error: {
      message,
      type: status >= 500 ? "server_error" : "invalid_request_error",
      param: error.param ?? OPENAI_PARAMS[error.code] ?? null,
      // An error that OpenAI has a code of its own for carries it in its data.
      code: typeof error.data?.code === "string" ? error.data.code : known === undefined ? error.code : known,
    },
  };
}

export function errorResponse(dialect: Dialect, error: AlloyError, requestId: string, status = errorStatus(dialect, error)): Response {
  const headers = new Headers({ "content-type": "application/json; charset=utf-8" });
  if (status === 503 || status === 529) headers.set("retry-after", String(error.data?.retryAfter ?? 1));
  // Retrying cannot help, or would take as long: without this header both SDKs repeat 5xx and Claude Code repeats 401 with back-off.
  if (status === 401 || status === 501 || status === 504) headers.set("x-should-retry", "false");
  return new Response(JSON.stringify(errorBody(dialect, error, requestId, status)), { status, headers });
}

function errorMessage(dialect: Dialect, error: AlloyError, requestId: string): string {
  const exact = exactMessage(dialect, error);
  if (exact !== undefined) return exact;
  // A bug's own text may hold paths or data of other requests; the log has it under this id.
  if (error.code === "internal") return `internal error (request ${requestId})`;
  return error.hint ? `${sentence(error.message)} ${capital(sentence(error.hint))}` : error.message;
}

/** Wordings that clients match on; an error that has one for a single dialect carries it in its data. */
function exactMessage(dialect: Dialect, error: AlloyError): string | undefined {
  const data = error.data ?? {};
  if (dialect === "ollama" && typeof data.ollama === "string") return data.ollama;
  switch (error.code) {
    case "context_length_exceeded": {
      const { tokens, window } = data;
      if (tokens === undefined || window === undefined) return undefined;
      if (dialect === "anthropic") return `prompt is too long: ${tokens} tokens > ${window} maximum`;
      if (dialect === "ollama") {
        return `request (${tokens} tokens) exceeds the available context size (${window} tokens), try increasing it`;
      }
      return (
        `This model's maximum context length is ${window} tokens. However, your messages resulted in ${tokens} tokens, ` +
        "which exceeds the available context size."
      );
    }
    case "model_not_found":
      if (data.model === undefined) return undefined;
      if (dialect === "anthropic") return `model: ${data.model}`;
      if (dialect === "ollama") return `model '${data.model}' not found`;
      return undefined;
    case "queue_full":
      return dialect === "ollama" ? "server busy, please try again.  maximum pending requests exceeded" : undefined;
    case "unauthorized":
      return dialect === "ollama" ? "unauthorized" : undefined;
    case "request_too_large":
      return dialect === "ollama" ? "request body too large" : undefined;
    case "missing_parameter":
      if (dialect === "anthropic" && error.param) return `${dotted(error.param)}: Field required`;
      if (dialect === "ollama" && error.param) return `${error.param} is required`;
      return undefined;
    case "invalid_type":
    case "invalid_value":
    case "invalid_json_schema":
    case "invalid_grammar":
    case "unsupported_content":
    case "unsupported_feature":
      if (dialect !== "anthropic" || !error.param || data.reason === undefined) return undefined;
      return `${dotted(error.param)}: ${data.reason}${error.hint ? `. ${capital(sentence(error.hint))}` : ""}`;
    default:
      return undefined;
  }
}

/** `messages[0].content` in Anthropic's spelling: `messages.0.content`. */
function dotted(param: string): string {
  return param.replace(/\[(\d+)\]/g, ".$1");
}

function sentence(text: string): string {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
