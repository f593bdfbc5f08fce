/**
 * OpenTelemetry traces of finished requests, exported over OTLP/HTTP. Off unless an endpoint is set, and then only loaded. Spans are made
 * when a request is over, from what its meters saw: nothing is done for them while it runs.
 *
 * Names: semantic conventions for HTTP and for generative AI, and `gen_ai.latency.*` as vLLM has them. No span holds text of a prompt or answer.
 */
import { type Attributes, type Context, diag, DiagLogLevel, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import { getNumberFromEnv, getStringFromEnv, W3CTraceContextPropagator } from "@opentelemetry/core";
import { OTLPTraceExporter as JsonExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { OTLPTraceExporter as ProtobufExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { defaultResource, detectResources, envDetector, resourceFromAttributes } from "@opentelemetry/resources";
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  type Sampler,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from "@opentelemetry/sdk-trace";
import { AlloyError } from "../support/errors.ts";
import type { AccessEntry } from "./access.ts";
import type { Logger } from "./log.ts";
import type { RequestMeter } from "./metrics/meter.ts";

export interface Traces {
  /** Records a finished request; never throws and never waits. */
  record(entry: AccessEntry): void;
  /** Sends what is left, for at most `ms`. */
  stop(ms: number): Promise<void>;
}

/** Time between two lines of the log about exports that fail. */
const QUIET_MS = 60_000;

const ignored = (): void => {};

/** Reads the standard OTEL_ variables of the process. Throws `bad_argument` for a sampler or protocol that is none. */
export function startTraces(version: string, log: Logger): Traces {
  let told = -Infinity;
  const complain = (message: string) => {
    if (performance.now() - told < QUIET_MS) return;
    told = performance.now();
    log.log("warn", `traces: ${message}`);
  };
  const quiet = { debug: ignored, verbose: ignored, info: ignored };
  diag.setLogger({ error: complain, warn: complain, ...quiet }, { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true });
  const processor = new BatchSpanProcessor({
    exporter: exporterFromEnv(),
    maxQueueSize: getNumberFromEnv("OTEL_BSP_MAX_QUEUE_SIZE"),
    maxExportBatchSize: getNumberFromEnv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE"),
    scheduledDelayMillis: getNumberFromEnv("OTEL_BSP_SCHEDULE_DELAY"),
    exportTimeoutMillis: getNumberFromEnv("OTEL_BSP_EXPORT_TIMEOUT"),
  });
  const resource = defaultResource()
    .merge(resourceFromAttributes({ "service.name": "alloy", "service.version": version, "process.pid": process.pid }))
    .merge(detectResources({ detectors: [envDetector] }));
  const provider = new TracerProvider({ resource, sampler: samplerFromEnv(), spanProcessors: [processor] });
  const tracer = provider.getTracer("alloy", version);
  const propagator = new W3CTraceContextPropagator();

  const span = (name: string, kind: SpanKind, parent: Context, begin: number, ms: number, attributes: Attributes, error?: string) => {
    const made = tracer.startSpan(name, { kind, startTime: new Date(begin), attributes }, parent);
    if (error !== undefined) made.setStatus({ code: SpanStatusCode.ERROR, message: error });
    // A child's clock may be a little ahead of its parent's.
    return { context: trace.setSpan(parent, made), end: () => made.end(new Date(begin + Math.max(0, ms))) };
  };

  const generation = (meter: RequestMeter, parent: Context) => {
    const { context, end } = span(
      `${operation(meter)} ${meter.request.model}`,
      SpanKind.INTERNAL,
      parent,
      meter.time,
      meter.ms,
      generationAttributes(meter),
      meter.why === "error" ? "the generation failed" : undefined,
    );
    let at = meter.time;
    for (const [name, ms] of phases(meter)) {
      span(name, SpanKind.INTERNAL, context, at, ms, {}).end();
      at += ms;
    }
    end();
  };

  return {
    record(entry) {
      try {
        const carrier = { traceparent: entry.traceparent, tracestate: entry.tracestate };
        const caller = propagator.extract(ROOT_CONTEXT, carrier, GETTER);
        const name = entry.route === "other" ? entry.method.slice(0, 20) : `${entry.method} ${entry.route}`;
        const broken = entry.status >= 500 || (entry.error && entry.status < 400);
        const { context, end } = span(
          name,
          SpanKind.SERVER,
          caller,
          entry.time,
          entry.ms,
          httpAttributes(entry),
          broken ? (entry.error?.code ?? String(entry.status)) : undefined,
        );
        for (const meter of entry.generations) generation(meter, context);
        end();
      } catch (e) {
        complain(`a request could not be recorded: ${(e as Error).message}`);
      }
    },
    async stop(ms) {
      await Promise.race([provider.shutdown().catch((e: unknown) => complain(String(e))), Bun.sleep(ms)]);
      diag.disable();
    },
  };
}

const GETTER = {
  keys: (carrier: Record<string, string | undefined>) => Object.keys(carrier),
  get: (carrier: Record<string, string | undefined>, key: string) => carrier[key],
};

function httpAttributes(entry: AccessEntry): Attributes {
  return {
    "http.request.method": entry.route === "other" ? "_OTHER" : entry.method,
    "http.route": entry.route === "other" ? undefined : entry.route,
    "url.path": entry.path.slice(0, 200),
    "url.scheme": "http",
    "http.response.status_code": entry.status,
    "error.type": entry.error?.code,
    "alloy.request_id": entry.id,
    "alloy.dialect": entry.dialect,
  };
}

const operation = ({ request }: RequestMeter): string => (request.prompt.kind === "chat" ? "chat" : "text_completion");

function generationAttributes(meter: RequestMeter): Attributes {
  const { request, end } = meter;
  const { temperature, topP, topK, frequencyPenalty, presencePenalty, seed } = request.sampling;
  return {
    "gen_ai.operation.name": operation(meter),
    "gen_ai.provider.name": "alloy",
    "gen_ai.request.model": request.model,
    "gen_ai.response.model": request.model,
    "gen_ai.response.id": request.id,
    "gen_ai.response.finish_reasons": end && [end.reason],
    "gen_ai.request.max_tokens": request.maxTokens,
    "gen_ai.request.temperature": temperature,
    "gen_ai.request.top_p": topP,
    "gen_ai.request.top_k": topK,
    "gen_ai.request.frequency_penalty": frequencyPenalty,
    "gen_ai.request.presence_penalty": presencePenalty,
    "gen_ai.request.seed": seed,
    "gen_ai.usage.input_tokens": meter.promptTokens,
    "gen_ai.usage.cache_read.input_tokens": meter.cached,
    "gen_ai.usage.output_tokens": end?.usage.completionTokens ?? meter.deltas,
    "gen_ai.latency.e2e": meter.ms / 1000,
    "gen_ai.latency.time_in_queue": meter.queuedMs / 1000,
    "gen_ai.latency.time_to_first_token": meter.firstTokenMs === undefined ? undefined : meter.firstTokenMs / 1000,
    "error.type": meter.why,
  };
}

/** What a generation spent its time on, in order, in milliseconds. Of one that was cut off, as far as it was seen. */
function phases(meter: RequestMeter): [name: string, ms: number][] {
  const { end, queuedMs, firstTokenMs, running, ms } = meter;
  if (end) {
    const { load, queued, prefill, decode } = end.timings;
    return [...(load > 0 ? [["load", load] as [string, number]] : []), ["queue", queued], ["prefill", prefill], ["decode", decode]];
  }
  if (!running) return [["queue", queuedMs]];
  const first = firstTokenMs ?? ms;
  return [
    ["queue", queuedMs],
    ["prefill", first - queuedMs],
    ...(firstTokenMs === undefined ? [] : [["decode", ms - first] as [string, number]]),
  ];
}

function exporterFromEnv() {
  const protocol =
    getStringFromEnv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") ?? getStringFromEnv("OTEL_EXPORTER_OTLP_PROTOCOL") ?? "http/protobuf";
  if (protocol === "http/protobuf") return new ProtobufExporter();
  if (protocol === "http/json") return new JsonExporter();
  throw new AlloyError("bad_argument", `OTEL_EXPORTER_OTLP_PROTOCOL is '${protocol}', which Alloy does not speak`, {
    hint: "Use http/protobuf or http/json; collectors take both on port 4318.",
  });
}

/** OTEL_TRACES_SAMPLER and its argument, as the specification has them. */
function samplerFromEnv(): Sampler {
  const name = getStringFromEnv("OTEL_TRACES_SAMPLER") ?? "parentbased_always_on";
  const [, parentBased, root] = /^(parentbased_)?(always_on|always_off|traceidratio)$/.exec(name) ?? [];
  const ratio = getNumberFromEnv("OTEL_TRACES_SAMPLER_ARG") ?? 1;
  if (root === undefined || !(ratio >= 0 && ratio <= 1)) {
    const shown = root === undefined ? `OTEL_TRACES_SAMPLER is '${name}'` : `OTEL_TRACES_SAMPLER_ARG is ${ratio}`;
    throw new AlloyError("bad_argument", `${shown}, which is none that Alloy knows`, {
      hint: "Samplers: always_on, always_off, traceidratio, each also with parentbased_ in front; the argument is a ratio from 0 to 1.",
    });
  }
  const sampler =
    root === "always_on" ? new AlwaysOnSampler() : root === "always_off" ? new AlwaysOffSampler() : new TraceIdRatioBasedSampler(ratio);
  return parentBased ? new ParentBasedSampler({ root: sampler }) : sampler;
}
