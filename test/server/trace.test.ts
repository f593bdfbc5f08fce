/** Traces, received by a stand-in for an OpenTelemetry collector. */
import { afterEach, expect, test } from "bun:test";
import { gunzipSync } from "node:zlib";
import { AlloyError } from "../../src/support/errors.ts";
import { createLogger } from "../../src/server/log.ts";
import { failure, start, until } from "./harness.ts";
import type { ScriptedOptions, Step } from "./scripted-engine.ts";

interface Span {
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  name: string;
  kind: number;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes: { key: string; value: Record<string, unknown> }[];
  status: { code?: number; message?: string };
}

interface Batch {
  resourceSpans: { resource: { attributes: Span["attributes"] }; scopeSpans: { spans: Span[] }[] }[];
}

/** The exporter reads the process's environment, so that is what a test sets. */
const before = { ...process.env };
afterEach(() => {
  for (const name of Object.keys(process.env)) if (name.startsWith("OTEL_")) delete process.env[name];
  Object.assign(process.env, before);
});

function collector(answer: () => Response | Promise<Response> = () => Response.json({})) {
  const bodies: string[] = [];
  const headers: Headers[] = [];
  const paths: string[] = [];
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    async fetch(request) {
      const bytes = new Uint8Array(await request.arrayBuffer());
      bodies.push(Buffer.from(request.headers.get("content-encoding") === "gzip" ? gunzipSync(bytes) : bytes).toString("latin1"));
      headers.push(request.headers);
      paths.push(new URL(request.url).pathname);
      return answer();
    },
  });
  const batches = () => bodies.map((b) => JSON.parse(b) as Batch);
  return {
    url: `http://127.0.0.1:${server.port}`,
    bodies,
    headers,
    paths,
    batches,
    spans: () => batches().flatMap((b) => b.resourceSpans.flatMap((r) => r.scopeSpans.flatMap((s) => s.spans))),
    [Symbol.asyncDispose]: () => server.stop(true),
  };
}

function traced(url: string, script: ScriptedOptions | Step[] = {}, env: Record<string, string> = {}) {
  const all = { OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_EXPORTER_OTLP_PROTOCOL: "http/json", ...env };
  Object.assign(process.env, all);
  const lines: string[] = [];
  const log = createLogger({ level: "warn", format: "json", color: false, write: (line) => lines.push(line) });
  return start(script, { env: all, log }).then((harness) => Object.assign(harness, { lines }));
}

const attributes = ({ attributes: list }: Pick<Span, "attributes">) =>
  Object.fromEntries(list.map(({ key, value }) => [key, Object.values(value)[0]]));
const messages = [{ role: "user", content: "SECRET question" }];

test("spans of a request, of its generation and its phases, below the caller's", async () => {
  await using c = collector();
  const h = await traced(c.url, [{ type: "text", text: "SECRET answer here" }], {
    OTEL_SERVICE_NAME: "my-alloy",
    OTEL_RESOURCE_ATTRIBUTES: "deployment.environment.name=test",
    OTEL_EXPORTER_OTLP_HEADERS: "authorization=Bearer%20collector-key",
    OTEL_EXPORTER_OTLP_COMPRESSION: "gzip",
  });
  const traceId = "4bf92f3577b34da6a3ce929d0e0e4736";
  const response = await h.post(
    "/v1/chat/completions?key=SECRET",
    { model: "demo", messages, temperature: 0.5, max_tokens: 50, stream: true },
    { traceparent: `00-${traceId}-00f067aa0ba902b7-01`, authorization: "Bearer SECRET" },
  );
  await response.text();
  // Stopping sends what is left.
  await h.server.stop(0);
  expect(c.paths).toEqual(["/v1/traces"]);
  expect(c.headers[0].get("authorization")).toBe("Bearer collector-key");
  expect(c.headers[0].get("content-type")).toBe("application/json");
  expect(attributes(c.batches()[0].resourceSpans[0].resource)).toMatchObject({
    "service.name": "my-alloy",
    "service.version": expect.any(String),
    "deployment.environment.name": "test",
  });
  const spans = c.spans();
  expect(spans.map((s) => s.name).toSorted()).toEqual(["POST /v1/chat/completions", "chat demo", "decode", "prefill", "queue"]);
  const named = (name: string) => spans.find((s) => s.name === name)!;
  const [http, chat] = [named("POST /v1/chat/completions"), named("chat demo")];
  expect(spans.every((s) => s.traceId === traceId)).toBe(true);
  expect(http.parentSpanId).toBe("00f067aa0ba902b7");
  expect(http.kind).toBe(2);
  expect(chat.parentSpanId).toBe(http.spanId);
  for (const name of ["queue", "prefill", "decode"]) expect(named(name).parentSpanId).toBe(chat.spanId);
  expect(attributes(http)).toMatchObject({
    "http.request.method": "POST",
    "http.route": "/v1/chat/completions",
    "http.response.status_code": 200,
    "alloy.request_id": response.headers.get("request-id"),
  });
  expect(attributes(chat)).toMatchObject({
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "alloy",
    "gen_ai.request.model": "demo",
    "gen_ai.request.temperature": 0.5,
    "gen_ai.request.max_tokens": 50,
    "gen_ai.usage.output_tokens": 3,
    "gen_ai.latency.time_in_queue": expect.any(Number),
    "gen_ai.latency.time_to_first_token": expect.any(Number),
    "gen_ai.response.finish_reasons": { values: [{ stringValue: "stop" }] },
  });
  expect(Number(attributes(chat)["gen_ai.usage.input_tokens"])).toBeGreaterThan(0);
  for (const s of spans) expect(BigInt(s.endTimeUnixNano)).toBeGreaterThanOrEqual(BigInt(s.startTimeUnixNano));
  expect(BigInt(named("decode").startTimeUnixNano)).toBeGreaterThanOrEqual(BigInt(named("prefill").startTimeUnixNano));
  expect(c.bodies.join("")).not.toContain("SECRET");
});

test("each answer of a request has its span; failures and clients that leave are marked", async () => {
  await using c = collector();
  const h = await traced(c.url, {
    delayMs: 2,
    script: ({ prompt }) => [
      { type: "text", text: "w ".repeat(JSON.stringify(prompt).includes("long") ? 5000 : 2) },
      ...(JSON.stringify(prompt).includes("broken") ? [{ type: "error" as const, error: new AlloyError("device_error", "gone") }] : []),
    ],
  });
  await (await h.post("/v1/chat/completions", { model: "demo", messages, n: 3 })).text();
  await (await h.post("/api/generate", { model: "demo", prompt: "broken" })).text();
  await (await h.post("/api/generate", { model: "nope", prompt: "x" })).text();
  const stop = new AbortController();
  const before = h.engine.emitted;
  const running = h.post(
    "/v1/chat/completions",
    { model: "demo", messages: [{ role: "user", content: "long" }], stream: true },
    {},
    stop.signal,
  );
  await until(() => h.engine.emitted > before + 2, "the stream runs");
  stop.abort();
  await running.then((r) => r.text()).catch(() => {});
  await until(() => h.engine.running === 0, "the stream is over");
  await h.server.stop(0);
  const spans = c.spans();
  const https = spans.filter((s) => s.kind === 2).map((s) => [s.name, s.status.code ?? 0, attributes(s)["error.type"]]);
  expect(https.toSorted()).toEqual(
    [
      ["POST /v1/chat/completions", 0, undefined],
      ["POST /api/generate", 2, "device_error"],
      ["POST /api/generate", 0, "model_not_found"],
      ["POST /v1/chat/completions", 0, undefined],
    ].toSorted(),
  );
  const generations = spans.filter((s) => s.name.endsWith(" demo")).map((s) => attributes(s)["error.type"]);
  expect(generations.toSorted()).toEqual(["abort", "error", undefined, undefined, undefined]);
});

test("sampling: the caller decides, else the ratio; protobuf is the default form", async () => {
  await using c = collector();
  const json = await traced(c.url, {}, { OTEL_TRACES_SAMPLER: "parentbased_traceidratio", OTEL_TRACES_SAMPLER_ARG: "0" });
  const ask = (headers: Record<string, string>) => json.post("/api/show", { model: "demo" }, headers).then((r) => r.text());
  await ask({});
  await ask({ traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01" });
  await ask({ traceparent: "00-5bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00" });
  await ask({ traceparent: "nonsense\t", tracestate: "x".repeat(5000) });
  await json.server.stop(0);
  expect(c.spans().map((s) => s.traceId)).toEqual(["4bf92f3577b34da6a3ce929d0e0e4736"]);

  await using d = collector();
  const proto = await traced(d.url, {}, { OTEL_EXPORTER_OTLP_PROTOCOL: "http/protobuf", OTEL_TRACES_SAMPLER: "always_on" });
  await (await proto.post("/api/show", { model: "demo" })).text();
  await proto.server.stop(0);
  expect(d.headers[0].get("content-type")).toBe("application/x-protobuf");
  expect(d.bodies[0]).toContain("POST /api/show");
});

test("a collector that is away, refuses or never answers costs requests nothing, and the log is told once", async () => {
  const never = Promise.withResolvers<Response>();
  await using silent = collector(() => never.promise.then((r) => r.clone()));
  await using refusing = collector(() => new Response("no", { status: 400 }));
  for (const url of ["http://127.0.0.1:1", silent.url, refusing.url]) {
    const h = await traced(
      url,
      {},
      { OTEL_BSP_SCHEDULE_DELAY: "5", OTEL_BSP_MAX_QUEUE_SIZE: "8", OTEL_BSP_MAX_EXPORT_BATCH_SIZE: "4", OTEL_BSP_EXPORT_TIMEOUT: "50" },
    );
    for (let i = 0; i < 40; i++) expect((await h.post("/api/show", { model: "demo" })).status).toBe(200);
    if (url !== silent.url) await until(() => h.lines.length > 0, "the log is told");
    await h.server.stop(0);
    expect(h.lines.length).toBeLessThanOrEqual(1);
    for (const line of h.lines) expect(JSON.parse(line)).toMatchObject({ level: "warn", msg: expect.stringMatching(/^traces: /) });
  }
  never.resolve(Response.json({}));
}, 120_000);

test("off: without an endpoint, or turned off; settings that make no sense are refused at start", async () => {
  await using c = collector();
  for (const env of [{ OTEL_SDK_DISABLED: "true" }, { OTEL_TRACES_EXPORTER: "none" }] as Record<string, string>[]) {
    const h = await traced(c.url, {}, env);
    await (await h.post("/api/show", { model: "demo" })).text();
    await h.server.stop(0);
    for (const name of Object.keys(env)) delete process.env[name];
  }
  expect(c.bodies).toEqual([]);
  const refused = async (env: Record<string, string>) => (await failure(traced(c.url, {}, env))).message;
  expect(await refused({ OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" })).toBe("OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc', which Alloy does not speak");
  expect(await refused({ OTEL_TRACES_SAMPLER: "coin" })).toContain("OTEL_TRACES_SAMPLER is 'coin'");
  expect(await refused({ OTEL_TRACES_SAMPLER: "traceidratio", OTEL_TRACES_SAMPLER_ARG: "2" })).toContain("OTEL_TRACES_SAMPLER_ARG is 2");
});

test("off, none of it is loaded", () => {
  const script = `
    Bun.plugin({
      name: "watch",
      setup: (build) => build.onLoad({ filter: /@opentelemetry/ }, () => process.exit(3)),
    });
    const { createServer } = await import("./src/server/app.ts");
    await (await createServer({ engine: {}, port: 0, host: "127.0.0.1", env: process.env })).stop(0);
  `;
  const run = (env: Record<string, string>) =>
    Bun.spawnSync([process.execPath, "-e", script], { cwd: `${import.meta.dir}/../..`, env: { PATH: process.env.PATH!, ...env } }).exitCode;
  expect(run({})).toBe(0);
  expect(run({ OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:1" })).toBe(3);
});
