/** Something asked of an engine that runs elsewhere: what came of it so far, and whether it may be asked once more. */
import type { AlloyError } from "../support/errors.ts";
import type { GenerateEvent, GenerateRequest } from "./api.ts";
import type { CallArguments, Callable, ToEngine } from "./protocol.ts";
import { EventQueue } from "./queue.ts";

/** How much a death speaks against a request that was being read or computed, and how much of that it may take. */
const SUSPICION = { asked: 1, running: 2 };
const MOST_SUSPICION = 4;

export class Errand {
  /** Of a generation. */
  events?: EventQueue;
  /** Of a call. */
  answer?: Promise<unknown>;
  onOver: () => void = () => {};
  /** Called once it has something to show, or is over: whatever kills the engine, it is not this. */
  onCleared: () => void = () => {};
  private settle?: PromiseWithResolvers<unknown>;
  private start: Extract<GenerateEvent, { type: "start" }> | undefined;
  /** asked: it may be read or tokenised, or its model loaded; queued: waits for its turn; running: computed; emitting: the reader has some of it. */
  private state: "asked" | "queued" | "running" | "emitting" = "asked";
  private suspicion = 0;

  private constructor(private readonly what: { method: Callable; args: readonly unknown[] } | { request: GenerateRequest }) {}

  static call<M extends Callable>(method: M, args: CallArguments<M>): Errand {
    const errand = new Errand({ method, args });
    errand.settle = Promise.withResolvers<unknown>();
    errand.answer = errand.settle.promise;
    return errand;
  }

  /** @param cancel called when the reader leaves or `signal` is aborted, once, unless it is over by then */
  static generation(request: GenerateRequest, signal: AbortSignal | undefined, cancel: (errand: Errand) => void): Errand {
    const errand = new Errand({ request });
    const stop = (): void => cancel(errand);
    errand.events = new EventQueue(() => {
      stop();
      errand.over();
    });
    signal?.addEventListener("abort", stop, { once: true });
    errand.forget = () => signal?.removeEventListener("abort", stop);
    return errand;
  }

  private forget: () => void = () => {};

  /** As it is sent, under a number of the link's. */
  message(id: number): ToEngine {
    if ("method" in this.what) return { type: "call", id, ...this.what } as ToEngine;
    const { request } = this.what;
    // The seed that its reader was told.
    const sampling = this.start ? { ...request.sampling, seed: this.start.seed } : request.sampling;
    return { type: "generate", id, request: { ...request, sampling } };
  }

  /** It was computed when the engine died. */
  get suspected(): boolean {
    return this.suspicion >= SUSPICION.running;
  }

  /**
   * The engine died: whether it can be sent to the next one as if nothing had happened. One that was computed at two deaths is at fault
   * more likely than not; one that only waited is innocent.
   * @param seen the engine had begun to look at it
   */
  survives(seen: boolean): boolean {
    if (this.state === "emitting") return false;
    if (seen && this.state !== "queued") this.suspicion += SUSPICION[this.state];
    this.state = "asked";
    return this.suspicion < MOST_SUSPICION;
  }

  event(event: GenerateEvent): void {
    if (event.type === "start") {
      this.state = "queued";
      if (this.start) return;
      this.start = event;
    } else this.state = event.type === "prefill" ? "running" : "emitting";
    if (this.state === "emitting") this.onCleared();
    this.events?.push(event);
  }

  result(value: unknown): void {
    this.settle?.resolve(value);
    this.over();
  }

  end(): void {
    this.events?.end();
    this.over();
  }

  fail(error: AlloyError): void {
    this.settle?.reject(error);
    this.events?.fail(error);
    this.over();
  }

  private over(): void {
    this.forget();
    this.onOver();
    this.onCleared();
  }
}
