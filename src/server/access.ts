/** What is known of a request once it is over: for the log and for traces. Holds no text of a prompt, and no key. */
import type { AlloyError } from "../support/errors.ts";
import type { Dialect } from "./errors.ts";
import type { RequestMeter } from "./metrics/meter.ts";

export interface AccessEntry {
  id: string;
  method: string;
  /** As sent, tidied, without the query string. */
  path: string;
  /** Template of the path; "other" for one that no route has. */
  route: string;
  dialect: Dialect;
  /** 499: the client left first. */
  status: number;
  /** Arrival, in milliseconds since the epoch. */
  time: number;
  /** From arrival to the last byte, in milliseconds. */
  ms: number;
  error?: AlloyError;
  /** What was asked of models: one for each answer, none for most routes. */
  generations: readonly RequestMeter[];
  /** W3C trace context of the caller. */
  traceparent?: string;
  tracestate?: string;
}

/** Sums over the answers of a request; undefined where no model was asked. */
export interface Work {
  model: string;
  input: number;
  cached: number;
  output: number;
  /** Milliseconds in the queue: of the answer that waited longest. */
  queued: number;
  /** Milliseconds until the first output of any answer. */
  firstToken?: number;
}

export function workOf({ generations }: AccessEntry): Work | undefined {
  if (generations.length === 0) return undefined;
  const sum = (of: (m: RequestMeter) => number) => generations.reduce((n, m) => n + of(m), 0);
  const firsts = generations.flatMap((m) => m.firstTokenMs ?? []);
  return {
    model: generations[0].request.model,
    // The answers of a request share one prompt.
    input: Math.max(...generations.map((m) => m.promptTokens)),
    cached: Math.max(...generations.map((m) => m.cached)),
    output: sum((m) => m.end?.usage.completionTokens ?? m.deltas),
    queued: Math.max(...generations.map((m) => m.queuedMs)),
    firstToken: firsts.length > 0 ? Math.min(...firsts) : undefined,
  };
}
