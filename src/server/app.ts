/** The HTTP server: Elysia at the edge, the route table behind it. */
import { Elysia } from "elysia";
import type { Engine } from "../engine/api.ts";
import { AlloyError } from "../support/errors.ts";
import { VERSION } from "../support/version.ts";
import type { ServerSettings } from "./context.ts";
import { Dispatcher, shuttingDown } from "./dispatch.ts";
import { Guard } from "./guard.ts";
import { clientUrl, listenAddress } from "./listen.ts";
import { createLogger, type Logger } from "./log.ts";
import { PATIENCE, type PatienceLimits } from "./patience.ts";
import { portInUse } from "./port-holder.ts";
import { pullHosts } from "./pull-hosts.ts";
import { ROUTES } from "./routes.ts";

export interface ServerOptions {
  engine: Engine;
  /** Default: from ALLOY_HOST or OLLAMA_HOST, else 127.0.0.1. */
  host?: string;
  /** Default: from the same, else 11434. 0 takes any free port. */
  port?: number;
  /** Environment to read settings from. Default: the process's. */
  env?: Record<string, string | undefined>;
  /** Version shown to clients. Default: the package's. */
  version?: string;
  /** Vendor names (`claude-*`, `gpt-*`) never stand for another model. */
  strictNames?: boolean;
  /** Names that stand for other models. */
  aliases?: Record<string, string>;
  /** Silence on a stream before a heartbeat, in milliseconds. Default 10 s. */
  heartbeatMs?: number;
  /** Milliseconds that a request to a model may take where it does not say; undefined: any. */
  timeoutMs?: number;
  /** Largest body in bytes. Default: ALLOY_MAX_BODY, else 64 MiB. */
  maxBody?: number;
  /** How long clients may keep the server waiting. Default: `PATIENCE`. */
  patience?: PatienceLimits;
  /** Default: mistakes of Alloy's own go to stderr. */
  log?: Logger;
}

export interface RunningServer {
  /** Base URL for clients on this machine, without trailing slash. */
  url: string;
  port: number;
  host: string;
  /**
   * Refuses new requests, lets running ones finish for `graceMs`, then ends them with their dialect's error frame and closes.
   * The engine stays open.
   */
  stop(graceMs?: number): Promise<void>;
}

/** Time that error frames get to reach clients when the grace period is over. */
const FLUSH_MS = 1000;

/** Time that the last traces get to reach their collector. */
const TRACES_MS = 3000;

/** Starts listening. Throws `port_in_use` naming the holder, `bad_argument` for settings that make no sense. */
export async function createServer(options: ServerOptions): Promise<RunningServer> {
  const env = options.env ?? process.env;
  const listen = listenAddress(env);
  const host = options.host ?? listen.host;
  const guard = new Guard({
    bound: host,
    origins: [env.OLLAMA_ORIGINS, env.ALLOY_ORIGINS].filter(Boolean).join(","),
    allowedHosts: env.ALLOY_ALLOWED_HOSTS,
    apiKeys: env.ALLOY_API_KEY,
  });
  const log = options.log ?? createLogger({ level: "error", format: "pretty", color: false, write: (line) => process.stderr.write(line) });
  const settings = settingsFrom(options, env, host);
  const traces = wantsTraces(env) ? (await import("./trace.ts")).startTraces(settings.version, log) : undefined;
  const dispatcher = new Dispatcher(
    options.engine,
    settings,
    guard,
    (entry) => {
      log.access(entry);
      traces?.record(entry);
    },
    (request) => server.requestIP(request)?.address ?? "",
  );
  const app = buildApp(dispatcher);
  const address = { host, port: options.port ?? listen.port };
  const server: Bun.Server<undefined> = await bind(app, address).catch(async (e: unknown) => {
    await traces?.stop(0);
    throw e;
  });
  dispatcher.state.patience.attach(server);
  const bound = { host, port: server.port! };
  return {
    url: clientUrl(bound),
    ...bound,
    async stop(graceMs = 10_000) {
      await stop(server, dispatcher, graceMs);
      await traces?.stop(TRACES_MS);
    },
  };
}

/** An endpoint for OpenTelemetry is set, and nothing turns traces off. Here, so that without one none of it is loaded. */
function wantsTraces(env: Record<string, string | undefined>): boolean {
  if (env.OTEL_SDK_DISABLED?.trim().toLowerCase() === "true" || env.OTEL_TRACES_EXPORTER?.trim() === "none") return false;
  return Boolean(env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT?.trim() || env.OTEL_EXPORTER_OTLP_ENDPOINT?.trim());
}

/**
 * Elysia compiles handlers from their text, so each is this one plain shape: it names what it needs and hands it on. The last route takes
 * what Elysia's router does not know: untidy paths (`//v1/`, trailing slashes, a missing `/v1`), wrong methods, unknown paths.
 */
function buildApp(dispatcher: Dispatcher) {
  const app = new Elysia();
  const hook = { parse: "none" } as const;
  for (const { method, path } of ROUTES) app.route(method, path, ({ request }) => dispatcher.dispatch(request), hook);
  app.all("/*", ({ request }) => dispatcher.dispatch(request), hook);
  app.onError(({ code, request }) => (code === "NOT_FOUND" ? dispatcher.dispatch(request) : new Response(null, { status: 500 })));
  return app.compile();
}

async function bind(app: { fetch(request: Request): Response | Promise<Response> }, address: { host: string; port: number }) {
  try {
    return Bun.serve({
      hostname: address.host,
      port: address.port,
      // Prefill may be silent for minutes. Limits are set for each part of a request (patience.ts).
      idleTimeout: 0,
      // No error pages with stack traces.
      development: false,
      // Outside development mode Bun shares a port by default: two servers would split each other's requests without an error.
      reusePort: false,
      // Bodies are limited where they are read, so that the refusal has the dialect's shape.
      maxRequestBodySize: Number.MAX_SAFE_INTEGER,
      fetch: (request) => app.fetch(request),
    });
  } catch (e) {
    const code = (e as { code?: string }).code;
    if (code === "EADDRINUSE") throw await portInUse(address, e);
    throw new AlloyError(
      "bad_argument",
      `cannot listen on ${address.host}:${address.port}: ${e instanceof Error ? e.message : String(e)}`,
      {
        hint: "Check --host and --port (or OLLAMA_HOST).",
        cause: e,
      },
    );
  }
}

/** The socket stays open while requests finish, so that probes of readiness and clients hear why; all else is refused. */
async function stop(server: Bun.Server<undefined>, dispatcher: Dispatcher, graceMs: number): Promise<void> {
  dispatcher.state.draining = true;
  for (const context of dispatcher.active) if (context.resumable) context.abort(shuttingDown());
  await idle(dispatcher, graceMs);
  const drained = server.stop(false);
  for (const context of dispatcher.active) context.abort(shuttingDown());
  await idle(dispatcher, FLUSH_MS);
  await Promise.race([drained, Bun.sleep(50)]);
  await server.stop(true);
}

/** Waits until no request is active, at most `ms`. */
async function idle(dispatcher: Dispatcher, ms: number): Promise<void> {
  const until = performance.now() + ms;
  while (dispatcher.active.size > 0 && performance.now() < until) await Bun.sleep(Math.min(20, Math.max(1, until - performance.now())));
}

function settingsFrom(options: ServerOptions, env: Record<string, string | undefined>, host: string): ServerSettings {
  const maxBody = options.maxBody ?? Number(env.ALLOY_MAX_BODY || 64 * 2 ** 20);
  if (!Number.isSafeInteger(maxBody) || maxBody < 1) {
    throw new AlloyError("bad_argument", `ALLOY_MAX_BODY is '${env.ALLOY_MAX_BODY}', which is not a number of bytes`, {
      hint: "Write a whole number such as 67108864.",
    });
  }
  return {
    version: options.version ?? VERSION,
    heartbeatMs: options.heartbeatMs ?? 10_000,
    timeoutMs: options.timeoutMs,
    maxBody,
    patience: options.patience ?? PATIENCE,
    pullHosts: pullHosts(host, env),
    defaultModel: env.ALLOY_DEFAULT_MODEL || undefined,
    claudeModels: {
      opus: env.ALLOY_CLAUDE_OPUS || undefined,
      sonnet: env.ALLOY_CLAUDE_SONNET || undefined,
      haiku: env.ALLOY_CLAUDE_HAIKU || undefined,
      fable: env.ALLOY_CLAUDE_FABLE || undefined,
    },
    strictNames: options.strictNames ?? false,
    env,
    aliases: options.aliases ?? {},
  };
}
