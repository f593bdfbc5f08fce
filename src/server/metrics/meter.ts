/** What is measured of one request to the engine, from its events. */
import type { GenerateEvent, GenerateRequest } from "../../engine/api.ts";
import { AlloyError } from "../../support/errors.ts";
import { isJson } from "../json.ts";

export type EndEvent = Extract<GenerateEvent, { type: "end" }>;

/** Told of what requests do. */
export interface MeterSink {
  firstToken(meter: RequestMeter, seconds: number): void;
  nextToken(meter: RequestMeter, seconds: number): void;
  toolCall(meter: RequestMeter, outcome: "ok" | "invalid"): void;
  ended(meter: RequestMeter, end: EndEvent): void;
  /** Over without an end event. */
  stopped(meter: RequestMeter, why: "abort" | "error" | "rejected" | "refused"): void;
}

export class RequestMeter {
  promptTokens = 0;
  /** Of the prompt, what is in the cache by now. */
  prefilled = 0;
  cached = 0;
  /** Pieces of the answer that came; about one per token. */
  deltas = 0;
  /** Past the queue. */
  running = false;
  /** Milliseconds from arrival until it ran; until now while it waits. */
  queuedMs = 0;
  /** Milliseconds from arrival to the first output. */
  firstTokenMs?: number;
  /** Its last event, if it came to one. */
  end?: EndEvent;
  /** Milliseconds from arrival until it was over. */
  ms = 0;
  /** Why there was none. */
  why?: "abort" | "error" | "rejected" | "refused";
  /** Arrival, in milliseconds since the epoch. */
  readonly time = Date.now();
  #started = false;
  #over = false;
  readonly #began = performance.now();
  #lastDelta = 0;
  readonly #calls = new Map<number, string>();

  constructor(
    readonly number: number,
    readonly request: GenerateRequest,
    private readonly sink: MeterSink,
  ) {}

  see(event: GenerateEvent): void {
    if (this.#over) return;
    if (event.type === "start") {
      this.#started = true;
      this.promptTokens = event.promptTokens;
    } else if (event.type === "prefill") {
      this.#run();
      this.prefilled = event.done;
      this.cached = event.cached;
    } else if (event.type === "delta") this.#delta(event.delta);
    else {
      for (const text of this.#calls.values()) this.sink.toolCall(this, isJson(text) ? "ok" : "invalid");
      this.cached = event.usage.cachedTokens;
      this.queuedMs = event.timings.queued;
      this.end = event;
      this.#close();
      if (event.reason === "cancelled") this.sink.stopped(this, "abort");
      else this.sink.ended(this, event);
    }
  }

  fail(thrown: unknown): void {
    const { code } = AlloyError.from(thrown);
    if (code === "queue_full") this.#stop("rejected");
    else if (code === "cancelled") this.#stop("abort");
    else this.#stop(this.#started ? "error" : "refused");
  }

  /** Nobody reads on. */
  abandon(): void {
    this.#stop("abort");
  }

  #stop(why: "abort" | "error" | "rejected" | "refused"): void {
    if (this.#over) return;
    this.#close();
    this.why = why;
    if (!this.running) this.queuedMs = this.ms;
    this.sink.stopped(this, why);
  }

  #close(): void {
    this.#over = true;
    this.ms = performance.now() - this.#began;
  }

  #run(): void {
    if (!this.running) this.queuedMs = performance.now() - this.#began;
    this.running = true;
  }

  #delta(delta: Extract<GenerateEvent, { type: "delta" }>["delta"]): void {
    const now = performance.now();
    this.#run();
    this.prefilled = this.promptTokens;
    if (delta.type === "tool_call_end") {
      const text = this.#calls.get(delta.index) ?? "";
      this.#calls.delete(delta.index);
      this.sink.toolCall(this, text === "" || isJson(text) ? "ok" : "invalid");
      return;
    }
    if (this.firstTokenMs === undefined) {
      this.firstTokenMs = now - this.#began;
      this.sink.firstToken(this, this.firstTokenMs / 1000);
    } else this.sink.nextToken(this, (now - this.#lastDelta) / 1000);
    this.#lastDelta = now;
    this.deltas++;
    if (delta.type === "tool_call_start") this.#calls.set(delta.index, "");
    else if (delta.type === "tool_call_arguments") this.#calls.set(delta.index, (this.#calls.get(delta.index) ?? "") + delta.text);
  }
}

/** The engine's events on their way to the client, seen by a meter. */
export function metered(source: AsyncIterableIterator<GenerateEvent>, meter: RequestMeter): AsyncIterableIterator<GenerateEvent> {
  return {
    [Symbol.asyncIterator]() {
      return this;
    },
    async next() {
      try {
        const next = await source.next();
        if (next.done) meter.abandon();
        else meter.see(next.value);
        return next;
      } catch (e) {
        meter.fail(e);
        throw e;
      }
    },
    async return(value) {
      meter.abandon();
      return (await source.return?.(value)) ?? { done: true, value: undefined };
    },
  };
}
