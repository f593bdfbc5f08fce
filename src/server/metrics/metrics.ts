/** GET /metrics (spec 6): vLLM's names, llama.cpp's and Alloy's own, in one text. */
import type { Engine, GenerateRequest } from "../../engine/api.ts";
import type { ErrorCode } from "../../support/errors.ts";
import type { RequestContext } from "../context.ts";
import { LlamaCppMetrics } from "./llamacpp.ts";
import { LoadedModels } from "./loaded.ts";
import { type EndEvent, type MeterSink, RequestMeter } from "./meter.ts";
import { OwnMetrics, type RejectionReason } from "./own.ts";
import { VllmMetrics } from "./vllm.ts";

const REFUSALS: Partial<Record<ErrorCode, RejectionReason>> = {
  unauthorized: "unauthorized",
  queue_full: "queue_full",
  request_too_large: "too_large",
  shutting_down: "shutting_down",
  timeout: "timeout",
};

export class Metrics implements MeterSink {
  readonly #vllm = new VllmMetrics();
  readonly #llamaCpp = new LlamaCppMetrics();
  readonly #own: OwnMetrics;
  readonly #models = new LoadedModels();
  readonly #active = new Set<RequestMeter>();
  #requests = 0;
  /** Model whose name the families of the whole process carry. */
  #name: string | undefined;

  constructor(version: string) {
    this.#own = new OwnMetrics(version);
  }

  /** A request on its way to the engine. */
  begin(request: GenerateRequest): RequestMeter {
    const meter = new RequestMeter(this.#requests++, request, this);
    this.#active.add(meter);
    return meter;
  }

  /** Requests of a model that are not over, in order of arrival. */
  active(model: string): RequestMeter[] {
    return [...this.#active].filter((m) => m.request.model === model);
  }

  /** How many answers one HTTP request asks for. */
  choices(n: number): void {
    this.#vllm.choices(n);
  }

  /** @param request `route` is the template of the path, never the path itself */
  http(request: { route: string; method: string; status: number; ms: number }): void {
    this.#own.http(request);
  }

  /** Turned away before anything was computed. */
  rejected(reason: RejectionReason): void {
    this.#own.rejected(reason);
  }

  /** A request that ended with an error: counted where that is a refusal. */
  refusal(code: ErrorCode): void {
    const reason = REFUSALS[code];
    if (reason) this.#own.rejected(reason);
  }

  firstToken(_: RequestMeter, seconds: number): void {
    this.#vllm.firstToken(seconds);
  }

  nextToken(_: RequestMeter, seconds: number): void {
    this.#vllm.nextToken(seconds);
  }

  toolCall({ request }: RequestMeter, outcome: "ok" | "invalid"): void {
    this.#own.toolCall(request.model, outcome);
  }

  ended(meter: RequestMeter, end: EndEvent): void {
    this.#active.delete(meter);
    this.#vllm.ended(meter, end);
    this.#llamaCpp.ended(end);
    if (end.timings.load > 0) this.#own.loadTime(meter.request.model, end.timings.load);
  }

  stopped(meter: RequestMeter, why: "abort" | "error" | "rejected" | "refused"): void {
    this.#active.delete(meter);
    if (why === "rejected") this.#own.queueRejected();
    else if (why !== "refused") this.#vllm.stopped(meter, why);
  }

  /** @param preferred model whose name the families of the whole process carry, if it is loaded */
  async render(engine: Engine, preferred: string | undefined): Promise<string> {
    const models = await this.#models.get(engine);
    // Counters change their series with the name: it stays while its model is loaded, and when none is.
    const first = models.find((m) => m.name === preferred) ?? models.find((m) => m.name === this.#name) ?? models[0];
    const name = (this.#name = first?.name ?? this.#name ?? preferred ?? "none");
    return this.#vllm.render(models, name) + this.#llamaCpp.render(models) + this.#own.render(models, engine.health?.());
  }
}

export async function metrics({ state, engine, settings }: RequestContext): Promise<Response> {
  const text = await state.metrics.render(engine, settings.defaultModel);
  return new Response(text, { headers: { "content-type": "text/plain; version=0.0.4; charset=utf-8" } });
}
