/** What every handler receives, and the shape of the route table. */
import type { TSchema } from "@sinclair/typebox";
import type { Engine } from "../engine/api.ts";
import { AlloyError } from "../support/errors.ts";
import type { Dialect } from "./errors.ts";
import type { RequestMeter } from "./metrics/meter.ts";
import type { PatienceLimits } from "./patience.ts";
import type { ServerState } from "./state.ts";
import type { Terms } from "./terms.ts";

/** Settings of a running server, fixed at start. */
export interface ServerSettings {
  version: string;
  /** Silence after which a stream sends a heartbeat, in milliseconds. */
  heartbeatMs: number;
  /** Largest JSON body in bytes, before and after decompression. */
  maxBody: number;
  /** How long clients may keep the server waiting. */
  patience: PatienceLimits;
  /** Milliseconds that a request to a model may take, where it does not say. */
  timeoutMs?: number;
  /** Model for vendor names (`claude-*`, `gpt-*`) when several models could serve them. */
  defaultModel?: string;
  /** Per-tier models for `claude-*` names. */
  claudeModels: Partial<Record<"opus" | "sonnet" | "haiku" | "fable", string>>;
  /** Unknown vendor names are 404 instead of falling back to the default model. */
  strictNames: boolean;
  /** Hosts that models may be fetched from, beside the registries; undefined: all. */
  pullHosts?: ReadonlySet<string>;
  /** Environment that the server was started with: where models are stored, proxies, registries. */
  env: Readonly<Record<string, string | undefined>>;
  /** User aliases: name that clients ask for -> model reference. */
  aliases: Record<string, string>;
}

/** An iterator that runs for a request. */
type Work = Pick<AsyncIterator<unknown>, "return">;

/** One request on its way through the server. */
export class RequestContext {
  /** Headers that the handler adds to its response, also on errors. */
  readonly headers = new Headers();
  /** True once a streaming response took over the request's lifetime. */
  held = false;
  /** Nothing is lost when it is cut and asked again: a server that stops does not wait for it. */
  resumable = false;
  /** For the log: status of the response, and what went wrong, also after its first byte. */
  outcome: { status: number; error?: AlloyError } = { status: 200 };
  /** What it asked of models. */
  readonly generations: RequestMeter[] = [];
  readonly terms: Terms = {};
  readonly #started = performance.now();
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #controller = new AbortController();
  readonly #work = new Set<Work>();
  readonly #onRelease: (context: RequestContext) => void;

  constructor(
    readonly engine: Engine,
    readonly settings: ServerSettings,
    readonly state: ServerState,
    readonly request: Request,
    /** Tidy path: no duplicate or trailing slashes, still URL-encoded. */
    readonly path: string,
    /** What the route's `*` matched, decoded once ("" without one). */
    readonly rest: string,
    readonly dialect: Dialect,
    readonly id: string,
    /** Who asks: a key or an address, and the program. Says nothing of either. */
    readonly caller: string,
    onRelease: (context: RequestContext) => void,
  ) {
    this.#onRelease = onRelease;
    const gone = () => this.abort(new AlloyError("cancelled", "the client closed the connection"));
    if (request.signal.aborted) gone();
    else request.signal.addEventListener("abort", gone, { once: true });
  }

  /** Aborted when the client went away or the server shuts down; the reason is an AlloyError. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  abort(reason: AlloyError): void {
    if (!this.signal.aborted) this.#controller.abort(reason);
  }

  /** Takes terms over where none were taken before, and holds to them from now on. */
  agree(terms: Terms): void {
    for (const [key, value] of Object.entries(terms)) {
      if (value !== undefined && this.terms[key as keyof Terms] === undefined) Object.assign(this.terms, { [key]: value });
    }
    const { timeoutMs } = this.terms;
    if (timeoutMs === undefined || this.#timer) return;
    const left = this.#started + timeoutMs - performance.now();
    this.#timer = setTimeout(() => this.abort(timedOut(timeoutMs)), Math.min(Math.max(0, left), LONGEST_TIMER));
  }

  /** Who shares turns in the queue: the user that the caller names, else the caller. */
  get client(): string {
    const { user } = this.terms;
    return user === undefined ? this.caller : `${this.caller}/${Bun.hash(user).toString(36)}`;
  }

  /** Query parameters; never throws. */
  get query(): URLSearchParams {
    const at = this.request.url.indexOf("?");
    return new URLSearchParams(at < 0 ? "" : this.request.url.slice(at + 1));
  }

  /** Ties work to this request: what is not disowned before the request is over is stopped then. */
  own(work: Work): void {
    this.#work.add(work);
  }

  disown(work: Work): void {
    this.#work.delete(work);
  }

  /** The request is over: called once the body is sent, the client is gone, or the handler failed. */
  release(): void {
    clearTimeout(this.#timer);
    if (this.#work.size > 0) this.abort(new AlloyError("cancelled", "the request ended before its work"));
    // A generator that waits between two steps hears no signal; only its return ends it.
    for (const work of this.#work) void Promise.resolve(work.return?.()).catch(() => {});
    this.#work.clear();
    this.#onRelease(this);
  }
}

const LONGEST_TIMER = 2 ** 31 - 1;

const timedOut = (ms: number): AlloyError =>
  new AlloyError("timeout", `the request was not done within ${ms / 1000} s`, {
    hint: "Allow more time ('timeout' in the body, the header x-alloy-timeout, or --timeout of the server), or ask for less.",
  });

export type Handler = (context: RequestContext) => Promise<Response> | Response;
export type Method = "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE";

export interface Route {
  method: Method;
  /** Exact path, or a prefix followed by `*` for the rest of the path. */
  path: string;
  dialect: Dialect;
  handle: Handler;
  /** What it does, for its description in /openapi.json. */
  summary: string;
  /** Served without an API key. */
  open?: boolean;
  /** What the `*` of the path stands for. */
  rest?: string;
  /** What JSON bodies are checked against. */
  body?: TSchema;
  /** Media type of a body that is no JSON. */
  upload?: "multipart/form-data" | "application/octet-stream";
  /** How it streams, where it does. */
  streams?: "text/event-stream" | "application/x-ndjson";
  /** Media type of a good answer, if that is not JSON. "": no body. */
  answers?: string;
  /** In the contract, but not built yet: answers 501. */
  absent?: boolean;
}
