/** Streaming responses: SSE and NDJSON frames, heartbeats, back-pressure, and the end of a stream (spec 1.6). */
import { AlloyError } from "../support/errors.ts";
import type { RequestContext } from "./context.ts";

/** One `data:` frame of server-sent events; `event` names it. JSON.stringify leaves no raw newline in. */
export function sse(data: object | string, event?: string): string {
  const text = typeof data === "string" ? data : JSON.stringify(data);
  return event === undefined ? `data: ${text}\n\n` : `event: ${event}\ndata: ${text}\n\n`;
}

export function ndjson(value: object): string {
  return `${JSON.stringify(value)}\n`;
}

export interface StreamOptions {
  kind: "sse" | "ndjson";
  /** Frame sent after each `heartbeatMs` of silence. */
  heartbeat: () => string;
  /** Frames that end the stream after an error, in the dialect's form. */
  onError: (error: AlloyError) => string;
}

const CONTENT_TYPE = { sse: "text/event-stream; charset=utf-8", ndjson: "application/x-ndjson" };

/**
 * A response that sends `frames` as they come. A frame is only asked for when the socket takes it, so a slow reader slows the
 * producer down instead of filling memory. When the client goes away the context is aborted and the generator returned.
 */
export function streamResponse(context: RequestContext, frames: AsyncGenerator<string>, options: StreamOptions): Response {
  context.held = true;
  const encoder = new TextEncoder();
  let pending: Promise<IteratorResult<string>> | undefined;
  let over = false;
  const finish = () => {
    if (over) return;
    over = true;
    context.release();
  };
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        pending ??= frames.next();
        const next = await within(pending, context.settings.heartbeatMs);
        if (over) return;
        if (next === "silence") return controller.enqueue(encoder.encode(options.heartbeat()));
        pending = undefined;
        if (!next.done) return controller.enqueue(encoder.encode(next.value));
        controller.close();
      } catch (thrown) {
        if (over) return;
        const error = AlloyError.from(thrown);
        context.outcome.error = error;
        if (error.code !== "cancelled" || !context.signal.aborted) controller.enqueue(encoder.encode(options.onError(error)));
        controller.close();
      }
      finish();
    },
    async cancel() {
      context.outcome = { status: 499 };
      context.abort(new AlloyError("cancelled", "the client closed the connection"));
      finish();
      await frames.return(undefined).catch(() => {});
    },
  });
  const headers: Record<string, string> = { "content-type": CONTENT_TYPE[options.kind] };
  if (options.kind === "sse") Object.assign(headers, { "cache-control": "no-cache", "x-accel-buffering": "no" });
  return new Response(body, { headers });
}

async function within<T>(promise: Promise<T>, ms: number): Promise<T | "silence"> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const silence = new Promise<"silence">((resolve) => {
    timer = setTimeout(resolve, ms, "silence");
  });
  try {
    return await Promise.race([promise, silence]);
  } finally {
    clearTimeout(timer);
  }
}

export function jsonResponse(value: object, status = 200): Response {
  return new Response(JSON.stringify(value), { status, headers: { "content-type": "application/json; charset=utf-8" } });
}
