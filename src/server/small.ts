/** The routes that need no model: liveness and the greeting. */
import type { RequestContext } from "./context.ts";
import { jsonResponse } from "./stream.ts";

/** Clients compare the body to the letter; HEAD is the Ollama client's heartbeat. */
export function root(context: RequestContext): Response {
  const body = context.request.method === "HEAD" ? null : "Ollama is running";
  return new Response(body, { headers: { "content-type": "text/plain; charset=utf-8" } });
}

export function health(): Response {
  return jsonResponse({ status: "ok" });
}
