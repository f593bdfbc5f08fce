/** One error type for everything a user can cause; the CLI and every HTTP dialect render this same object. */

/** What went wrong, machine readable. One line per code; the HTTP status is in `ERROR_STATUS`. */
export const ERROR_STATUS = {
  bad_argument: 400,
  invalid_json: 400,
  missing_parameter: 400,
  invalid_type: 400,
  invalid_value: 400,
  unsupported_capability: 400,
  unsupported_content: 400,
  unsupported_feature: 400,
  context_length_exceeded: 400,
  template_error: 400,
  invalid_json_schema: 400,
  invalid_grammar: 400,
  unauthorized: 401,
  forbidden: 403,
  model_not_found: 404,
  not_found: 404,
  method_not_allowed: 405,
  request_too_large: 413,
  queue_full: 503,
  model_loading: 503,
  shutting_down: 503,
  timeout: 504,
  bad_file: 500,
  unsupported_model: 500,
  model_load_failed: 500,
  out_of_memory: 500,
  kernel_error: 500,
  device_error: 500,
  io_error: 500,
  download_failed: 500,
  port_in_use: 500,
  engine_died: 500,
  cancelled: 499,
  internal: 500,
} as const;

export type ErrorCode = keyof typeof ERROR_STATUS;

export interface ErrorDetail {
  /** What to do next, as one sentence. */
  hint?: string;
  /** Path of the offending request field (`messages[0].role`), for API errors. */
  param?: string;
  /** Numbers and names that a dialect needs to build its own sentence (e.g. `{ tokens, window }`). */
  data?: Record<string, string | number | boolean | null>;
  cause?: unknown;
}

/**
 * An error with a code, a sentence that says what was wrong (with the offending value) and a hint that says what to do.
 * Thrown anywhere; crosses the worker boundary through `toJSON`/`fromJSON`.
 */
export class AlloyError extends Error {
  readonly code: ErrorCode;
  readonly hint?: string;
  readonly param?: string;
  readonly data?: ErrorDetail["data"];

  constructor(code: ErrorCode, message: string, detail: ErrorDetail = {}) {
    super(message, detail.cause === undefined ? undefined : { cause: detail.cause });
    this.name = "AlloyError";
    this.code = code;
    this.hint = detail.hint;
    this.param = detail.param;
    this.data = detail.data;
  }

  get status(): number {
    return ERROR_STATUS[this.code];
  }

  toJSON(): SerializedError {
    return { code: this.code, message: this.message, hint: this.hint, param: this.param, data: this.data };
  }

  static fromJSON(e: SerializedError): AlloyError {
    return new AlloyError(e.code, e.message, { hint: e.hint, param: e.param, data: e.data });
  }

  /** Any thrown value as an AlloyError; unknown ones become `internal` and keep their cause. */
  static from(e: unknown): AlloyError {
    if (e instanceof AlloyError) return e;
    return new AlloyError("internal", e instanceof Error ? e.message : String(e), { cause: e });
  }
}

export interface SerializedError {
  code: ErrorCode;
  message: string;
  hint?: string;
  param?: string;
  data?: ErrorDetail["data"];
}

/** The closest of `known` to `word` by edit distance, if near enough to be a likely typo. */
export function suggest(word: string, known: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(word.length / 3)) + 1;
  for (const k of known) {
    const d = editDistance(word.toLowerCase(), k.toLowerCase());
    if (d < bestDistance) [best, bestDistance] = [k, d];
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) next[j] = Math.min(next[j - 1] + 1, row[j] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
    row = next;
  }
  return row[b.length];
}
