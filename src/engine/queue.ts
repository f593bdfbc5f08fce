/** A stream of generate events between the one who makes them and the one who reads them. */
import type { GenerateEvent } from "./api.ts";

/**
 * Unbounded, but a reader that falls behind finds adjacent pieces of text joined into one event rather than a longer queue.
 * `onReturn` is called once when the reader stops early.
 */
export class EventQueue implements AsyncIterableIterator<GenerateEvent> {
  private events: GenerateEvent[] = [];
  private waiting: { resolve(r: IteratorResult<GenerateEvent>): void; reject(e: unknown): void }[] = [];
  private closed = false;
  private failure: { error: unknown } | undefined;

  constructor(private readonly onReturn: () => void = () => {}) {}

  /** Whether it takes no more events. */
  get over(): boolean {
    return this.closed;
  }

  push(event: GenerateEvent): void {
    if (this.closed) return;
    const reader = this.waiting.shift();
    if (reader) return reader.resolve({ value: event, done: false });
    const last = this.events.at(-1);
    const joined = last && join(last, event);
    if (joined) this.events[this.events.length - 1] = joined;
    else this.events.push(event);
  }

  /** No more events; what is queued can still be read. */
  end(): void {
    this.closed = true;
    for (const reader of this.waiting.splice(0)) reader.resolve({ value: undefined, done: true });
  }

  /** The reader gets what is queued and then this error. */
  fail(error: unknown): void {
    if (this.closed) return;
    this.closed = true;
    const [first, ...rest] = this.waiting.splice(0);
    if (first) first.reject(error);
    else this.failure = { error };
    for (const reader of rest) reader.resolve({ value: undefined, done: true });
  }

  next(): Promise<IteratorResult<GenerateEvent>> {
    const event = this.events.shift();
    if (event) return Promise.resolve({ value: event, done: false });
    if (this.failure) {
      const { error } = this.failure;
      this.failure = undefined;
      return Promise.reject(error);
    }
    if (this.closed) return Promise.resolve({ value: undefined, done: true });
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }));
  }

  return(): Promise<IteratorResult<GenerateEvent>> {
    const early = !this.closed;
    this.events = [];
    this.failure = undefined;
    this.end();
    if (early) this.onReturn();
    return Promise.resolve({ value: undefined, done: true });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

/** One event that says what `a` then `b` say, where there is one. */
function join(a: GenerateEvent, b: GenerateEvent): GenerateEvent | undefined {
  if (a.type === "prefill" && b.type === "prefill") return b;
  if (a.type !== "delta" || b.type !== "delta" || a.logprobs || b.logprobs) return undefined;
  if (a.delta.type === "text" && b.delta.type === "text") {
    return { type: "delta", delta: { type: "text", text: a.delta.text + b.delta.text } };
  }
  if (a.delta.type === "reasoning" && b.delta.type === "reasoning") {
    return { type: "delta", delta: { type: "reasoning", text: a.delta.text + b.delta.text } };
  }
  if (a.delta.type === "tool_call_arguments" && b.delta.type === "tool_call_arguments" && a.delta.index === b.delta.index) {
    return { type: "delta", delta: { type: "tool_call_arguments", index: a.delta.index, text: a.delta.text + b.delta.text } };
  }
  return undefined;
}
