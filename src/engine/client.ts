/** An engine that runs in a worker, so that HTTP and the terminal never wait for it. A worker that dies is replaced when it is next needed. */
import { AlloyError } from "../support/errors.ts";
import type { Engine, GenerateEvent, GenerateRequest, LoadedModel, ModelInfo, Prompt } from "./api.ts";
import type { EngineOptions } from "./core.ts";
import type { CallArguments, Callable, CallResult, FromWorker, ToWorker } from "./protocol.ts";
import { EventQueue } from "./queue.ts";

export interface ClientParts {
  startWorker(): Worker;
  /** Answered on this side of the border: they never wait for a generation. */
  models(): Promise<ModelInfo[]>;
  model(reference: string): Promise<ModelInfo>;
}

/** How much longer than asked a worker may take to close before it is ended. */
const CLOSE_PATIENCE_MS = 2000;

export class EngineClient implements Engine {
  private link: Link | undefined;
  private closing = false;

  private constructor(
    private readonly parts: ClientParts,
    private readonly options: EngineOptions,
  ) {}

  /** Starts the worker and waits until its engine is up. Throws what keeps it from that. */
  static async start(parts: ClientParts, options: EngineOptions): Promise<EngineClient> {
    const client = new EngineClient(parts, options);
    await client.connect().ready;
    return client;
  }

  models(): Promise<ModelInfo[]> {
    return this.parts.models();
  }

  model(reference: string): Promise<ModelInfo> {
    return this.parts.model(reference);
  }

  loaded(): Promise<LoadedModel[]> {
    return this.call("loaded", []);
  }

  load(reference: string, keepAlive?: number): Promise<void> {
    return this.call("load", [reference, keepAlive]);
  }

  unload(reference: string): Promise<void> {
    return this.call("unload", [reference]);
  }

  tokenize(model: string, prompt: Prompt): Promise<{ ids: number[]; text?: string }> {
    return this.call("tokenize", [model, prompt]);
  }

  detokenize(model: string, ids: number[]): Promise<string> {
    return this.call("detokenize", [model, ids]);
  }

  tokenBytes(model: string, ids: number[]): Promise<Uint8Array[]> {
    return this.call("tokenBytes", [model, ids]);
  }

  generate(request: GenerateRequest, signal?: AbortSignal): AsyncIterableIterator<GenerateEvent> {
    if (this.closing) return failed(shuttingDown());
    if (signal?.aborted) return failed(new AlloyError("cancelled", "the request was cancelled before it started"));
    return this.connect().generate(request, signal);
  }

  async close(graceMs = 0): Promise<void> {
    if (this.closing) return;
    this.closing = true;
    const { link } = this;
    if (!link) return;
    // A worker that died meanwhile has nothing left to close.
    const closed = link.call("close", [graceMs]).catch(() => {});
    await Promise.race([closed, Bun.sleep(graceMs + CLOSE_PATIENCE_MS)]);
    link.end(shuttingDown());
  }

  private async call<M extends Callable>(method: M, args: CallArguments<M>): Promise<CallResult<M>> {
    if (this.closing) throw shuttingDown();
    return this.connect().call(method, args);
  }

  private connect(): Link {
    if (this.link && !this.link.over) return this.link;
    return (this.link = new Link(this.parts.startWorker(), this.options));
  }
}

/** One worker and what is asked of it. */
class Link {
  /** Rejects when the engine cannot come up. */
  readonly ready: Promise<void>;
  over = false;
  private ids = 0;
  private readonly calls = new Map<number, PromiseWithResolvers<unknown>>();
  private readonly streams = new Map<number, { events: EventQueue; forget(): void }>();
  private readonly opened = Promise.withResolvers<void>();

  constructor(
    private readonly worker: Worker,
    options: EngineOptions,
  ) {
    this.ready = this.opened.promise;
    // Whoever waits for it hears of it; a replaced worker's failure reaches its requests.
    this.ready.catch(() => {});
    worker.onmessage = ({ data }: MessageEvent<FromWorker>) => this.receive(data);
    worker.onerror = (event) => {
      event.preventDefault();
      this.end(died(event.message));
    };
    worker.addEventListener("close", () => this.end(died("its thread ended")));
    this.post({ type: "open", options });
  }

  call<M extends Callable>(method: M, args: CallArguments<M>): Promise<CallResult<M>> {
    const id = this.ids++;
    const answer = Promise.withResolvers<unknown>();
    this.calls.set(id, answer);
    this.post({ type: "call", id, method, args } as ToWorker);
    return answer.promise as Promise<CallResult<M>>;
  }

  generate(request: GenerateRequest, signal?: AbortSignal): EventQueue {
    const id = this.ids++;
    const cancel = (): void => this.post({ type: "cancel", id });
    const events = new EventQueue(() => {
      this.forget(id);
      cancel();
    });
    signal?.addEventListener("abort", cancel, { once: true });
    this.streams.set(id, { events, forget: () => signal?.removeEventListener("abort", cancel) });
    this.post({ type: "generate", id, request });
    return events;
  }

  /** Ends the worker; all that is still asked of it fails with `error`. */
  end(error: AlloyError): void {
    if (this.over) return;
    this.over = true;
    this.worker.terminate();
    this.opened.reject(error);
    for (const call of this.calls.values()) call.reject(error);
    for (const { events, forget } of this.streams.values()) {
      forget();
      events.fail(error);
    }
    this.calls.clear();
    this.streams.clear();
  }

  private post(message: ToWorker): void {
    if (!this.over) this.worker.postMessage(message);
  }

  private receive(message: FromWorker): void {
    if (message.type === "ready") return this.opened.resolve();
    if (message.type === "failed") return this.end(AlloyError.fromJSON(message.error));
    const { id } = message;
    const events = this.streams.get(id)?.events;
    if (message.type === "event") events?.push(message.event);
    else if (message.type === "result") this.take(id)?.resolve(message.value);
    else if (message.type === "done") events?.end();
    else if (events) events.fail(AlloyError.fromJSON(message.error));
    else this.take(id)?.reject(AlloyError.fromJSON(message.error));
    if (message.type !== "event") this.forget(id);
  }

  private take(id: number): PromiseWithResolvers<unknown> | undefined {
    const call = this.calls.get(id);
    this.calls.delete(id);
    return call;
  }

  private forget(id: number): void {
    this.streams.get(id)?.forget();
    this.streams.delete(id);
  }
}

function failed(error: AlloyError): EventQueue {
  const events = new EventQueue();
  events.fail(error);
  return events;
}

const died = (why: string): AlloyError =>
  new AlloyError("engine_died", `the engine stopped: ${why}`, {
    hint: "It starts again with the next request; if that fails too, please report it.",
  });
const shuttingDown = (): AlloyError => new AlloyError("shutting_down", "Alloy is shutting down", { hint: "try again once it is up" });
