/** The routes that need no model: liveness and the greeting. */
import type { RequestContext } from "./context.ts";
import { jsonResponse } from "./stream.ts";

/** Clients compare the body to the letter; HEAD is the Ollama client's heartbeat. */
export function root(context: RequestContext): Response {
  const body = context.request.method === "HEAD" ? null : "Ollama is running";
  return new Response(body, { headers: { "content-type": "text/plain; charset=utf-8" } });
}

/** 503 while the engine, having died, is not up again; how often it died is said from the first time on. */
export function health({ engine }: RequestContext): Response {
  const { pid: _, ...state } = engine.health?.() ?? { state: "up", restarts: 0 };
  if (state.state === "up") return jsonResponse({ status: "ok", ...(state.restarts > 0 ? { engine: state } : {}) });
  const message = state.state === "starting" ? "The engine is starting again" : "The engine does not stay up; the next request starts it";
  return jsonResponse({ error: { code: 503, message, type: "unavailable_error" }, engine: state }, 503);
}

/** The process is up, whatever its engine does: nothing is won by ending it. */
export function live(): Response {
  return jsonResponse({ status: "ok" });
}
