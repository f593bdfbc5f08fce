/** The limits of `alloy serve`: options, and the variables that stand in for them. docs/serving.md lists them. */
import { totalmem } from "node:os";
import { keepAliveFromEnv, parseGoDuration } from "../server/keep-alive.ts";
import { parseBytes } from "../support/format.ts";
import type { Io } from "./context.ts";
import { type ArgSpecs, UsageError, type Values } from "./strict.ts";

export const LIMITS = {
  ctx: {
    type: "integer",
    alias: "c",
    hint: "tokens",
    min: 16,
    description: "Context window of each request (default: OLLAMA_CONTEXT_LENGTH, or what the model allows and memory holds)",
  },
  parallel: {
    type: "integer",
    hint: "requests",
    min: 1,
    max: 256,
    description: "Requests that generate at the same time, for each model (default: OLLAMA_NUM_PARALLEL or 8)",
  },
  queue: {
    type: "integer",
    hint: "requests",
    min: 0,
    description: "Requests that may wait, for all models; more are refused with 503 (default: OLLAMA_MAX_QUEUE or 512)",
  },
  "client-parallel": {
    type: "integer",
    hint: "requests",
    min: 1,
    description:
      "Requests of one client that generate at the same time; others of it wait (default: ALLOY_CLIENT_PARALLEL, or no such limit)",
  },
  "client-queue": {
    type: "integer",
    hint: "requests",
    min: 0,
    description: "Requests of one client that may wait (default: ALLOY_CLIENT_QUEUE, or no such limit)",
  },
  timeout: {
    type: "string",
    hint: "duration",
    description: "How long a request may take, waiting included, where it does not say (default: ALLOY_TIMEOUT, or no limit)",
  },
  "max-body": { type: "string", hint: "bytes", description: "Largest request body, for example 16MiB (default: ALLOY_MAX_BODY or 64MiB)" },
  memory: {
    type: "string",
    hint: "bytes",
    description: "Memory for all models, for example 12GiB or 60% of the machine's (default: ALLOY_MEMORY, or what is free)",
  },
  "max-loaded": {
    type: "integer",
    hint: "models",
    min: 1,
    description: "Models loaded at once (default: OLLAMA_MAX_LOADED_MODELS, or as many as memory holds)",
  },
  "load-timeout": {
    type: "string",
    hint: "duration",
    description: "How long a model waits for others to make room for it (default: OLLAMA_LOAD_TIMEOUT or 5m)",
  },
  "keep-alive": {
    type: "string",
    hint: "duration",
    description: "How long an unused model stays loaded, for example 30s, 2h, -1 for ever (default: OLLAMA_KEEP_ALIVE or 5m)",
  },
} as const satisfies ArgSpecs;

export type Limits = Values<typeof LIMITS>;

/** What the engine is told of them. Throws UsageError. */
export function engineLimits(args: Limits, { env }: Pick<Io, "env">) {
  return {
    contextLength: args.ctx ?? countFrom(env.OLLAMA_CONTEXT_LENGTH),
    parallel: args.parallel ?? countFrom(env.OLLAMA_NUM_PARALLEL),
    maxQueue: args.queue ?? countFrom(env.OLLAMA_MAX_QUEUE),
    clientParallel: args["client-parallel"] ?? countFrom(env.ALLOY_CLIENT_PARALLEL),
    clientQueue: args["client-queue"] ?? countFrom(env.ALLOY_CLIENT_QUEUE),
    memory: sized("--memory", args.memory) ?? sized("ALLOY_MEMORY", env.ALLOY_MEMORY),
    maxLoaded: args["max-loaded"] ?? countFrom(env.OLLAMA_MAX_LOADED_MODELS),
    loadTimeout: timed("--load-timeout", args["load-timeout"]) ?? lenient(env.OLLAMA_LOAD_TIMEOUT),
    keepAlive: keepAlive(args["keep-alive"], env.OLLAMA_KEEP_ALIVE),
  };
}

/** What the HTTP server is told of them. Throws UsageError. */
export function serverLimits(args: Limits, { env }: Pick<Io, "env">) {
  return {
    timeoutMs: positive(timed("--timeout", args.timeout) ?? timed("ALLOY_TIMEOUT", env.ALLOY_TIMEOUT)),
    maxBody: sized("--max-body", args["max-body"]) ?? sized("ALLOY_MAX_BODY", env.ALLOY_MAX_BODY),
  };
}

/** 0 is no limit. */
const positive = (ms: number | undefined): number | undefined => (ms === 0 ? undefined : ms);

/** A count from the environment; 0, nothing or nonsense leave the default. */
export function countFrom(text: string | undefined): number | undefined {
  const value = Number(text);
  return Number.isSafeInteger(value) && value > 0 ? value : undefined;
}

/** Milliseconds; a bare number is seconds. */
const duration = (text: string): number | undefined => (/^\d+(\.\d+)?$/.test(text) ? Number(text) * 1000 : parseGoDuration(text));

function timed(name: string, text: string | undefined): number | undefined {
  if (!text) return undefined;
  const ms = duration(text);
  if (ms !== undefined && ms >= 0) return ms;
  throw new UsageError(`${name} must be a duration, got "${text}"`, "write for example 30s, 5m or 2h");
}

/** Ollama's variables: nonsense leaves the default; 0 and below are for ever. */
function lenient(text: string | undefined): number | undefined {
  const ms = text ? duration(text) : undefined;
  return ms === undefined ? undefined : ms <= 0 ? Infinity : ms;
}

/** Bytes: `12GiB`, `12G`, `500MB`, a plain number, or a percentage of the machine's memory. */
function sized(name: string, text: string | undefined): number | undefined {
  if (!text) return undefined;
  const share = /^(\d+(?:\.\d+)?)\s*%$/.exec(text.trim());
  const bytes = Math.floor(share ? (Number(share[1]) * totalmem()) / 100 : (parseBytes(text) ?? 0));
  if (bytes >= 1) return bytes;
  throw new UsageError(`${name} must be a number of bytes, got "${text}"`, "write for example 800MiB, 12GiB or 60%");
}

/** Throws UsageError for a flag that is no duration; a bare number is seconds. */
function keepAlive(flag: string | undefined, env: string | undefined): number {
  if (flag === undefined) return keepAliveFromEnv(env);
  if (!/^-?\d+$/.test(flag) && parseGoDuration(flag) === undefined) {
    throw new UsageError(`--keep-alive must be a duration, got "${flag}"`, "write for example 30s, 5m, 2h, or -1 for ever");
  }
  return keepAliveFromEnv(flag);
}
