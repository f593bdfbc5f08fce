/** One request from guard to response: the path that all routes share. */
import type { Engine } from "../engine/api.ts";
import { AlloyError } from "../support/errors.ts";
import type { AccessEntry } from "./access.ts";
import { compressJson } from "./compress.ts";
import { type Handler, RequestContext, type Route, type ServerSettings } from "./context.ts";
import { type Dialect, errorResponse } from "./errors.ts";
import type { Guard } from "./guard.ts";
import { randomId } from "./request-id.ts";
import { dialectOf, findRoute, tidyPath } from "./routes.ts";
import { ServerState } from "./state.ts";
import { headerTerms } from "./terms.ts";

export class Dispatcher {
  readonly active = new Set<RequestContext>();
  readonly state: ServerState;

  constructor(
    private readonly engine: Engine,
    private readonly settings: ServerSettings,
    private readonly guard: Guard,
    /** Told of every request when its response is complete or its client gone. */
    private readonly over: (entry: AccessEntry) => void,
    /** Where a request comes from. */
    private readonly addressOf: (request: Request) => string,
  ) {
    this.state = new ServerState(settings.version, settings.patience);
  }

  /** Never rejects: every failure becomes a response in the path's dialect. */
  async dispatch(request: Request): Promise<Response> {
    const id = randomId("req_");
    const decorate = (response: Response, headers: Iterable<[string, string]> = []) => {
      for (const [name, value] of headers) response.headers.set(name, value);
      response.headers.set("request-id", id);
      response.headers.set("x-request-id", id);
      this.state.patience.answering(request);
      response.headers.set("server", `alloy/${this.settings.version}`);
      return response;
    };
    const path = tidyPath(pathOf(request.url));
    const found = findRoute(request.method, path);
    const route = "route" in found ? found.route : undefined;
    const dialect = errorDialect(route?.dialect ?? dialectOf(path), path, route, request);
    const over = this.#recorder(request, { id, path, dialect, route: route?.path ?? "other" });
    const verdict = this.guard.admit(request);
    if (!verdict.pass) {
      if (verdict.reason) this.state.metrics.rejected(verdict.reason);
      over({ status: verdict.response.status });
      return decorate(verdict.response);
    }
    if (/^websocket$/i.test(request.headers.get("upgrade") ?? "")) {
      over({ status: 426 });
      // Codex falls back to plain HTTP at once on 426, and on nothing else.
      return decorate(new Response(null, { status: 426, headers: { connection: "close", upgrade: "HTTP/1.1" } }), verdict.cors);
    }
    const rest = "rest" in found ? found.rest : "";
    const caller = this.guard.caller(request, this.addressOf(request));
    const context = new RequestContext(this.engine, this.settings, this.state, request, path, rest, dialect, id, caller, (c) => {
      this.active.delete(c);
      over(c.outcome, c.generations);
    });
    this.active.add(context);
    if (hasBody(request)) this.state.patience.reading(request);
    else this.state.patience.working(request);
    const handle = route?.handle ?? refuse("allow" in found ? found.allow : [], path);
    const answer = await this.#run(context, handle, route?.open ?? false);
    const response = context.held ? answer : await compressJson(request, answer);
    return decorate(response, [...verdict.cors, ...context.headers]);
  }

  async #run(context: RequestContext, handle: Handler, open: boolean): Promise<Response> {
    try {
      if (!open) this.guard.authorize(context.request);
      // What is only read is read to the end.
      const reads = context.request.method === "GET" || context.request.method === "HEAD";
      if (this.state.draining && !open && !reads) throw shuttingDown();
      context.agree(headerTerms(context.request.headers));
      const response = await handle(context);
      if (!context.held) context.outcome.status = response.status;
      return response;
    } catch (thrown) {
      // Whatever broke because the request was aborted, the reason is why.
      const error = AlloyError.from(context.signal.aborted ? context.signal.reason : thrown);
      const response = errorResponse(context.dialect, error, context.id);
      if (error.code === "shutting_down") response.headers.set("connection", "close");
      context.outcome = { status: response.status, error };
      return response;
    } finally {
      if (!context.held) context.release();
    }
  }

  /** What to call when a request is over. */
  #recorder(request: Request, known: Pick<AccessEntry, "id" | "path" | "dialect" | "route">) {
    const time = Date.now();
    const started = performance.now();
    return (outcome: RequestContext["outcome"], generations: AccessEntry["generations"] = []) => {
      const ms = performance.now() - started;
      const { metrics } = this.state;
      // Anything may be written as a method.
      const method = known.route === "other" ? "other" : request.method;
      metrics.http({ route: known.route, method, status: outcome.status, ms });
      if (outcome.error) metrics.refusal(outcome.error.code);
      const [traceparent, tracestate] = ["traceparent", "tracestate"].map((h) => request.headers.get(h) ?? undefined);
      this.over({ ...known, method: request.method, time, ms, ...outcome, generations, traceparent, tracestate });
    };
  }
}

export const shuttingDown = (): AlloyError =>
  new AlloyError("shutting_down", "the server is shutting down", { hint: "Try again in a moment." });

function hasBody({ headers }: Request): boolean {
  return headers.has("transfer-encoding") || Number(headers.get("content-length") ?? 0) > 0;
}

/** The path of a request URL as sent: no decoding. */
function pathOf(url: string): string {
  const authority = url.indexOf("://");
  const start = authority < 0 ? 0 : url.indexOf("/", authority + 3);
  if (start < 0) return "/";
  const path = url.slice(start).replace(/[?#].*$/s, "");
  return path === "" ? "/" : path;
}

/** /v1/models serves two SDKs, and both ask for paths that are not here: errors follow the header that only Anthropic's sends. */
function errorDialect(dialect: Dialect, path: string, route: Route | undefined, request: Request): Dialect {
  const shared = /^\/v1\/models(\/|$)/.test(path) || (route === undefined && path.startsWith("/v1/"));
  return shared && request.headers.has("anthropic-version") ? "anthropic" : dialect;
}

function refuse(allow: string[], path: string): Handler {
  return (context) => {
    if (allow.length === 0) {
      const message = context.dialect === "ollama" ? "404 page not found" : `unknown URL: ${context.request.method} ${path}`;
      throw new AlloyError("not_found", message);
    }
    context.headers.set("allow", allow.join(", "));
    throw new AlloyError("method_not_allowed", `${path} does not take ${context.request.method}; it takes ${allow.join(", ")}`);
  };
}
