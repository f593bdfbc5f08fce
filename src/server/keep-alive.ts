/** `keep_alive` of a request and of OLLAMA_KEEP_ALIVE (spec 1.11). */
import { fieldError } from "./errors.ts";

const UNIT_MS: Record<string, number> = { ns: 1e-6, us: 1e-3, µs: 1e-3, μs: 1e-3, ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/**
 * A duration as Go writes it (`300ms`, `1h30m`, `-1s`, `0`) in milliseconds; undefined when it is none.
 * A number without a unit is only a duration when it is 0.
 */
export function parseGoDuration(text: string): number | undefined {
  const sign = text.startsWith("-") ? -1 : 1;
  const body = text.replace(/^[+-]/, "");
  if (body === "0") return 0;
  if (!/^((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))+$/.test(body)) return undefined;
  let total = 0;
  for (const [, value, unit] of body.matchAll(/(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)/g)) total += Number(value) * UNIT_MS[unit];
  return sign * total;
}

/**
 * Milliseconds to keep a model loaded: undefined leaves its present duration, Infinity keeps it for ever, 0 unloads when idle.
 * Numbers are seconds. Throws `invalid_type` or `invalid_value`.
 */
export function parseKeepAlive(value: unknown, param = "keep_alive"): number | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === "number") return value < 0 ? Infinity : value * 1000;
  if (typeof value !== "string") {
    throw fieldError("invalid_type", param, `must be a number of seconds or a duration such as "5m", not ${JSON.stringify(value)}`);
  }
  const ms = parseGoDuration(value);
  if (ms === undefined) {
    throw fieldError(
      "invalid_value",
      param,
      `is not a duration: ${JSON.stringify(value)}`,
      'Write a unit, as in "300ms", "10s", "5m" or "1h30m".',
    );
  }
  return ms < 0 ? Infinity : ms;
}

/** OLLAMA_KEEP_ALIVE: as a request's value, also bare integers (seconds); 5 minutes when absent or unreadable. */
export function keepAliveFromEnv(value: string | undefined): number {
  const text = (value ?? "").trim();
  const ms = /^-?\d+$/.test(text) ? Number(text) * 1000 : parseGoDuration(text);
  if (ms === undefined) return 5 * 60_000;
  return ms < 0 ? Infinity : ms;
}
