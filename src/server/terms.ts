/**
 * On which terms a request is served, in every dialect alike: how long it may take, how urgent it is, and whose it is. Headers say it, or
 * fields of the body beside the dialect's own; a header wins.
 */
import { fieldError } from "./errors.ts";
import { parseGoDuration } from "./keep-alive.ts";

export const TIMEOUT_HEADER = "x-alloy-timeout";
export const PRIORITY_HEADER = "x-alloy-priority";

export interface Terms {
  /** Milliseconds from arrival to the last byte. */
  timeoutMs?: number;
  /** Larger goes first. */
  priority?: number;
  /** The user that a client names, of which it may have several. */
  user?: string;
}

/** Priorities beyond this count as this. */
const MOST_PRIORITY = 20;
const WORDS: Readonly<Record<string, number>> = { high: 10, normal: 0, low: -10 };

/** Throws `invalid_value`. */
export function headerTerms(headers: Headers): Terms {
  const timeout = headers.get(TIMEOUT_HEADER);
  const priority = headers.get(PRIORITY_HEADER);
  return {
    timeoutMs: timeout === null ? undefined : timeoutOf(/^[\d.]+$/.test(timeout) ? Number(timeout) : timeout, TIMEOUT_HEADER),
    priority: priority === null ? undefined : priorityOf(/^-?\d+$/.test(priority) ? Number(priority) : priority, PRIORITY_HEADER),
  };
}

/** Of a body of any dialect: `timeout`, `priority`, and OpenAI's `user` or Anthropic's `metadata.user_id`. Throws `invalid_type`, `invalid_value`. */
export function bodyTerms(body: unknown): Terms {
  if (body === null || typeof body !== "object") return {};
  const { timeout, priority, user, metadata } = body as Record<string, unknown>;
  const named = user ?? (metadata as { user_id?: unknown } | null | undefined)?.user_id;
  return {
    timeoutMs: isAbsent(timeout) ? undefined : timeoutOf(timeout, "timeout"),
    priority: isAbsent(priority) ? undefined : priorityOf(priority, "priority"),
    user: typeof named === "string" && named !== "" ? named : undefined,
  };
}

const isAbsent = (value: unknown): boolean => value === undefined || value === null;

/** Seconds, or a duration with units; in milliseconds. */
function timeoutOf(value: unknown, param: string): number {
  if (typeof value !== "number" && typeof value !== "string") {
    throw fieldError("invalid_type", param, `must be a number of seconds or a duration such as "90s", not ${JSON.stringify(value)}`);
  }
  const ms = typeof value === "number" ? value * 1000 : parseGoDuration(value);
  if (ms !== undefined && ms > 0 && Number.isFinite(ms)) return ms;
  throw fieldError(
    "invalid_value",
    param,
    `is ${JSON.stringify(value)}, which is no time above 0`,
    'Write seconds, or a unit as in "90s" or "5m".',
  );
}

/** vLLM's sense on the wire, where less is earlier; the engine's is the other way round. */
function priorityOf(value: unknown, param: string): number {
  if (typeof value === "string" && Object.hasOwn(WORDS, value.toLowerCase())) return WORDS[value.toLowerCase()];
  if (typeof value === "number" && Number.isInteger(value)) return Math.max(-MOST_PRIORITY, Math.min(MOST_PRIORITY, -value)) + 0;
  throw fieldError(
    typeof value === "number" || typeof value === "string" ? "invalid_value" : "invalid_type",
    param,
    `is ${JSON.stringify(value)}, which is no priority`,
    'Write a whole number (less is earlier, 0 is normal), or "high", "normal" or "low".',
  );
}
