/**
 * The server's log: a line per event, for people or as JSON. What users write (paths, names) cannot end a line, hide in one or move a
 * terminal's cursor, and no line holds text of prompts, answers or keys.
 */
import type { AlloyError } from "../support/errors.ts";
import { type AccessEntry, workOf } from "./access.ts";

export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];
export const LOG_FORMATS = ["pretty", "json"] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

/** Values beside a line's message. Undefined ones are left out. */
export type LogFields = Readonly<Record<string, string | number | boolean | null | undefined | object>>;

export interface Logger {
  log(level: LogLevel, message: string, fields?: LogFields): void;
  /** The line of a finished request. */
  access(entry: AccessEntry): void;
}

export interface LogOptions {
  level: LogLevel;
  format: LogFormat;
  /** ANSI colours, in the form for people only. */
  color: boolean;
  /** Takes whole lines. */
  write(line: string): void;
  /** Default: the clock. */
  now?: () => Date;
}

/** Longest value of a user's that a line repeats. */
const MAX_VALUE = 200;

/** Asked for every few seconds by probes and scrapers: lines of debugging. */
const PROBES = new Set(["/health", "/v1/health", "/healthz", "/livez", "/readyz", "/metrics"]);

/** ALLOY_LOG, else OLLAMA_DEBUG (true, or a number above 0: debug), else info; `unknown` is a level that is none. */
export function levelFromEnv(env: Readonly<Record<string, string | undefined>>): { level: LogLevel; unknown?: string } {
  const named = env.ALLOY_LOG?.trim().toLowerCase();
  if (named) return isLevel(named) ? { level: named } : { level: "info", unknown: env.ALLOY_LOG };
  const debug = env.OLLAMA_DEBUG?.trim().toLowerCase() ?? "";
  return { level: ["", "0", "f", "false"].includes(debug) ? "info" : "debug" };
}

function isLevel(word: string): word is LogLevel {
  return (LOG_LEVELS as readonly string[]).includes(word);
}

export function createLogger({ level, format, color, write, now = () => new Date() }: LogOptions): Logger {
  const lowest = LOG_LEVELS.indexOf(level);
  const emit = (of: LogLevel, message: string, fields: LogFields, line: () => string) => {
    if (LOG_LEVELS.indexOf(of) < lowest) return;
    if (format === "json") return write(json({ time: now().toISOString(), level: of, msg: message, ...fields }));
    const paint = (code: number, text: string) => (color ? `\x1b[${code}m${text}\x1b[0m` : text);
    write(`${paint(2, clock(now()))} ${paint(LEVEL_COLORS[of], of.toUpperCase().padEnd(5))} ${clean(line())}\n`);
  };
  return {
    log: (of, message, fields = {}) =>
      emit(of, message, fields, () =>
        [message, ...Object.entries(fields).flatMap(([k, v]) => (v === undefined ? [] : `${k}=${text(v)}`))].join(" "),
      ),
    access: (entry) => emit(accessLevel(entry), "request", accessFields(entry), () => accessLine(entry)),
  };
}

const LEVEL_COLORS: Record<LogLevel, number> = { debug: 2, info: 32, warn: 33, error: 31 };

function accessLevel({ status, route, error }: AccessEntry): LogLevel {
  if (error?.code === "internal") return "error";
  // With a status below 400 an error came after the first byte.
  if (status >= 500 || (error && error.code !== "cancelled" && status < 400)) return "warn";
  return PROBES.has(route) ? "debug" : "info";
}

function accessFields(entry: AccessEntry): LogFields {
  const work = workOf(entry);
  return {
    method: cut(entry.method),
    path: cut(entry.path),
    status: entry.status,
    dialect: entry.dialect,
    model: work?.model,
    tokens_in: work?.input,
    tokens_out: work?.output,
    tokens_cached: work?.cached,
    queue_ms: work && rounded(work.queued),
    ttft_ms: work?.firstToken === undefined ? undefined : rounded(work.firstToken),
    duration_ms: rounded(entry.ms),
    request_id: entry.id,
    error: entry.error && errorFields(entry.error),
  };
}

function accessLine(entry: AccessEntry): string {
  const work = workOf(entry);
  const parts = [`${entry.status} ${cut(entry.method)} ${cut(entry.path)} ${span(entry.ms)}`];
  if (work) {
    const cached = work.cached > 0 ? ` (${work.cached} cached)` : "";
    parts.push(`${work.model} ${work.input}${cached} -> ${work.output} tokens, queued ${span(work.queued)}`);
    if (work.firstToken !== undefined) parts[1] += `, first after ${span(work.firstToken)}`;
  }
  parts.push(entry.id);
  if (entry.error) {
    const { code, message, param, hint, frames } = errorFields(entry.error);
    const what = [code, param && `in ${param}`].filter(Boolean).join(" ");
    parts.push([what, message, hint && `(${hint})`, frames?.join(" < ")].filter(Boolean).join(": "));
  }
  return parts.join("  ");
}

interface ErrorFields {
  code: string;
  message?: string;
  param?: string;
  hint?: string;
  /** Where a mistake of Alloy's own happened, innermost first. */
  frames?: string[];
}

/**
 * An error as a log may show it. The message of a refused request repeats what the request said: of those only the code, the place and
 * the hint are shown, and the name of a model that is not there, for that is what an operator looks for.
 */
export function errorFields(error: AlloyError): ErrorFields {
  const { code } = error;
  if (code === "cancelled") return { code };
  if (code === "internal") return { code, ...bug(error) };
  const told = error.status >= 500 || code === "model_not_found";
  return {
    code,
    message: told ? cut(error.message) : undefined,
    // Deeper places name what the user named: properties of schemas.
    param: /^\w+(\[\d+\])?/.exec(error.param ?? "")?.[0],
    hint: error.hint && cut(error.hint),
  };
}

/** Errors that a program's own slips raise speak of code; others, such as JSON's, quote the data. */
const OF_CODE = [TypeError, RangeError, ReferenceError];

function bug(error: AlloyError): Omit<ErrorFields, "code"> {
  const { cause } = error;
  if (!(cause instanceof Error)) return { message: cause === undefined ? cut(error.message) : `a ${typeof cause} was thrown` };
  const frames = (cause.stack ?? "").split("\n").flatMap((l) => /^\s*at (.+)$/.exec(l)?.[1] ?? []);
  const message = OF_CODE.some((type) => cause instanceof type) ? `${cause.name}: ${cut(cause.message)}` : cause.name;
  return { message, frames: frames.slice(0, 12) };
}

const UNSAFE = /[\p{Cc}\p{Bidi_Control}\u2028\u2029\ufeff]/gu;

const escape = (char: string): string => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`;

/** Without what ends a line, moves a cursor or turns the direction of writing. */
function clean(line: string): string {
  return line.replace(UNSAFE, escape);
}

/** One line of JSON; what JSON leaves as it is but a terminal does not is escaped too. */
function json(value: object): string {
  return `${JSON.stringify(value).replace(UNSAFE, escape)}\n`;
}

function text(value: LogFields[string]): string {
  const plain = typeof value === "string" ? value : JSON.stringify(value);
  return /[\s"]/.test(plain) && typeof value === "string" ? JSON.stringify(plain) : plain;
}

function cut(value: string): string {
  return value.length > MAX_VALUE ? `${value.slice(0, MAX_VALUE)}...` : value;
}

function clock(date: Date): string {
  return date.toTimeString().slice(0, 8);
}

function rounded(ms: number): number {
  return Math.round(ms * 10) / 10;
}

/** A duration for people. */
function span(ms: number): string {
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
}
