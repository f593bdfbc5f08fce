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
 * A response that sends `frames` as they come. A frame is only asked for when the socket has taken the last one, so a slow reader slows the
 * producer down instead of filling memory. When the client goes away the context is aborted and the generator returned.
 */
export function streamResponse(context: RequestContext, frames: AsyncGenerator<string>, options: StreamOptions): Response {
  context.held = true;
  const silence = new Silence(context.settings.heartbeatMs);
  let over = false;
  const finish = () => {
    if (over) return;
    over = true;
    silence.end();
    context.release();
  };
  // Bun's direct streams hand strings to the socket without a queue between, at half the cost of the standard's for each frame.
  const source: Bun.DirectUnderlyingSource<Uint8Array> = {
    type: "direct",
    async pull(sink) {
      const send = (text: string): unknown => {
        const written: unknown = sink.write(text);
        void sink.flush();
        return written;
      };
      silence.begin(
        () => send(options.heartbeat()),
        () => context.state.patience.answering(context.request),
      );
      try {
        for (;;) {
          const next = await frames.next();
          if (over) return;
          if (next.done) break;
          silence.broken();
          // A promise where the client is behind.
          const written = send(next.value);
          if (written instanceof Promise) await silence.during(written);
          if (over) return;
        }
      } catch (thrown) {
        if (over) return;
        const error = AlloyError.from(thrown);
        context.outcome.error = error;
        if (error.code !== "cancelled" || !context.signal.aborted) send(options.onError(error));
      } finally {
        // Also when the socket fails under what is written to it.
        if (!over) {
          finish();
          sink.close();
        }
      }
    },
    async cancel() {
      if (over) return;
      context.outcome = { status: 499 };
      context.abort(new AlloyError("cancelled", "the client closed the connection"));
      finish();
      await frames.return(undefined).catch(() => {});
    },
  };
  // The types of the standard's constructor are the ones in force here.
  const body = new ReadableStream(source as unknown as UnderlyingSource<Uint8Array>);
  const headers: Record<string, string> = { "content-type": CONTENT_TYPE[options.kind] };
  if (options.kind === "sse") Object.assign(headers, { "cache-control": "no-cache", "x-accel-buffering": "no" });
  return new Response(body, { headers });
}

/** Calls back after each `ms` without a frame: one timer for a stream, which is not set anew for every frame. */
class Silence {
  #timer: ReturnType<typeof setTimeout> | undefined;
  #since = 0;
  /** The client is behind: it hears nothing, and there is nothing to tell it. */
  #blocked = false;

  constructor(private readonly ms: number) {}

  /** @param keepingUp called every `ms` while the client takes what it is sent */
  begin(beat: () => void, keepingUp: () => void): void {
    this.#since = performance.now();
    const look = () => {
      if (!this.#blocked) keepingUp();
      const left = this.#since + this.ms - performance.now();
      if (left <= 0) {
        if (!this.#blocked) beat();
        this.broken();
      }
      this.#timer = setTimeout(look, left > 0 ? Math.ceil(left) : this.ms);
    };
    this.#timer = setTimeout(look, this.ms);
  }

  broken(): void {
    this.#since = performance.now();
  }

  async during(blocked: Promise<unknown>): Promise<void> {
    this.#blocked = true;
    await blocked;
    this.#blocked = false;
  }

  end(): void {
    clearTimeout(this.#timer);
  }
}

export function jsonResponse(value: object, status = 200): Response {
  return new Response(JSON.stringify(value), { status, headers: { "content-type": "application/json; charset=utf-8" } });
}
