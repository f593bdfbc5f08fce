/** /metrics: the text format, the names that routers need, and numbers that agree with what was asked. */
import { describe, expect, test } from "bun:test";
import type { Engine } from "../../src/engine/api.ts";
import { AlloyError } from "../../src/support/errors.ts";
import { Counter, Gauge } from "../../src/server/metrics/registry.ts";
import { type Harness, rawRequest, start, until } from "./harness.ts";
import { fallen, lint, type MetricFamily, parsePrometheus } from "./prometheus.ts";
import { scriptedModel, type Step } from "./scripted-engine.ts";

async function scrape(h: Harness): Promise<Map<string, MetricFamily>> {
  const response = await fetch(`${h.url}/metrics`);
  expect(response.status).toBe(200);
  expect(response.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
  return parsePrometheus(await response.text());
}

/** The first series of a family whose labels include these: what a router reads. */
function value(families: Map<string, MetricFamily>, name: string, labels: Record<string, string> = {}): number | undefined {
  const family = families.get(name.replace(/_(count|sum)$/, "")) ?? families.get(name);
  return family?.samples.find((s) => s.name === name && Object.entries(labels).every(([k, v]) => s.labels[k] === v))?.value;
}

const chat = (h: Harness, body: object = {}, signal?: AbortSignal) =>
  h.post("/v1/chat/completions", { model: "demo", messages: [{ role: "user", content: "one two" }], ...body }, {}, signal);

test("an idle server: everything that a router looks for is there, and nothing loads a model", async () => {
  await using h = await start();
  const families = await scrape(h);
  for (const name of ["vllm:num_requests_waiting", "vllm:num_requests_running", "vllm:kv_cache_usage_perc"]) {
    expect(families.get(name)).toMatchObject({ type: "gauge", samples: [{ labels: { engine: "0" }, value: 0 }] });
  }
  expect(families.get("vllm:lora_requests_info")!.samples[0].labels).toMatchObject({ max_lora: "0", running_lora_adapters: "" });
  expect(families.get("vllm:cache_config_info")!.samples[0].labels.num_gpu_blocks).toMatch(/^\d+$/);
  for (const name of ["vllm:prompt_tokens_total", "llamacpp:n_decode_total", "alloy_queue_rejected_total"])
    expect(value(families, name)).toBe(0);
  expect(value(families, "process_resident_memory_bytes")).toBeGreaterThan(1e6);
  expect(await h.engine.loaded()).toEqual([]);
});

test("tokens, times and calls of requests in every dialect", async () => {
  const script: Step[] = [
    { type: "text", text: "a b c" },
    { type: "tool", name: "f", arguments: "{}" },
    { type: "tool", name: "f", arguments: "{oops" },
  ];
  await using h = await start(script);
  const usage = (await (await chat(h)).json()).usage;
  const messages = [{ role: "user", content: "hi" }];
  await (await h.post("/v1/messages", { model: "demo", max_tokens: 2, messages })).text();
  await (await h.post("/api/chat", { model: "demo", messages })).text();
  await (await h.post("/v1/responses", { model: "demo", input: "hi", stream: true })).text();
  await (await chat(h, { n: 3 })).text();
  const families = await scrape(h);
  expect(value(families, "vllm:request_success_total", { finished_reason: "stop", model_name: "demo" })).toBe(6);
  expect(value(families, "vllm:request_success_total", { finished_reason: "length" })).toBe(1);
  expect(value(families, "vllm:generation_tokens_total")).toBe(6 * usage.completion_tokens + 2);
  expect(value(families, "llamacpp:tokens_predicted_total")).toBe(6 * usage.completion_tokens + 2);
  expect(value(families, "vllm:prompt_tokens_total")).toBe(value(families, "vllm:request_prompt_tokens_sum")!);
  expect(value(families, "vllm:prefix_cache_queries_total")).toBe(value(families, "vllm:prompt_tokens_total")!);
  for (const name of [
    "time_to_first_token_seconds",
    "e2e_request_latency_seconds",
    "request_queue_time_seconds",
    "request_generation_tokens",
  ]) {
    expect(value(families, `vllm:${name}_count`)).toBe(7);
  }
  expect(value(families, "vllm:inter_token_latency_seconds_count")).toBeGreaterThan(12);
  expect(value(families, "vllm:request_params_n_sum")).toBe(7);
  expect(value(families, "vllm:request_params_n_count")).toBe(5);
  expect(value(families, "vllm:request_params_max_tokens_sum")).toBe(2);
  expect(value(families, "alloy_tool_calls_total", { model: "demo", outcome: "ok" })).toBe(6);
  expect(value(families, "alloy_tool_calls_total", { model: "demo", outcome: "invalid" })).toBe(6);
  expect(value(families, "alloy_http_requests_total", { route: "/v1/chat/completions", method: "POST", status: "200" })).toBe(2);
  expect(value(families, "alloy_model_loaded", { model: "demo" })).toBe(1);
  expect(value(families, "alloy_build_info", { backend: "cpu" })).toBe(1);
});

test("running and waiting requests, all models together first; clients that leave; slots", async () => {
  const models = [scriptedModel("demo"), scriptedModel("other")];
  await using h = await start({ models, slots: 2, queueLimit: 1, delayMs: 5, script: () => [{ type: "text", text: "w ".repeat(5000) }] });
  const stop = new AbortController();
  const asked = [1, 2, 3].map(() => chat(h, { stream: true }, stop.signal).catch(() => undefined));
  await until(() => h.engine.running === 2 && h.engine.queued === 1, "two run and one waits");
  expect((await chat(h)).status).toBe(503);
  const families = await scrape(h);
  expect(value(families, "vllm:num_requests_running")).toBe(2);
  expect(value(families, "vllm:num_requests_waiting")).toBe(1);
  expect(value(families, "llamacpp:requests_deferred")).toBe(1);
  expect(value(families, "alloy_requests_running", { model: "demo" })).toBe(2);
  expect(value(families, "alloy_queue_rejected_total")).toBe(1);
  expect(families.get("vllm:num_requests_running")!.samples).toHaveLength(1);
  await until(() => h.engine.emitted > 4, "some tokens");
  const slots = await (await fetch(`${h.url}/slots?model=demo`)).json();
  expect(slots.map((s: { is_processing: boolean }) => s.is_processing)).toEqual([true, true]);
  expect(slots[0]).toMatchObject({ id: 0, n_ctx: 65_536, n_prompt_tokens: 3, next_token: [{ has_next_token: true, n_remain: -1 }] });
  expect(JSON.stringify(slots)).not.toContain("one two");
  expect((await fetch(`${h.url}/slots?model=demo&fail_on_no_slot=1`)).status).toBe(503);
  stop.abort();
  await Promise.all(asked);
  await until(() => h.engine.running === 0, "all are gone");
  await until(() => h.engine.cancelled.length >= 3, "all are cancelled");
  const after = await scrape(h);
  expect(value(after, "vllm:request_success_total", { finished_reason: "abort" })).toBe(3);
  expect(value(after, "alloy_client_disconnects_total", { route: "/v1/chat/completions" })).toBe(3);
  expect(value(after, "vllm:num_requests_running")).toBe(0);
});

test("what fails in the middle counts as an error; what is refused before it starts does not", async () => {
  await using h = await start([
    { type: "text", text: "a" },
    { type: "error", error: new AlloyError("device_error", "gone") },
  ]);
  expect((await chat(h)).status).toBe(500);
  expect((await chat(h, { model: "nope" })).status).toBe(404);
  await fetch(`${h.url}/made-up/"path"`, { method: "BREW" }).catch(() => {});
  await fetch(`${h.url}/made-up/2`);
  const families = await scrape(h);
  expect(value(families, "vllm:request_success_total", { finished_reason: "error" })).toBe(1);
  expect(value(families, "alloy_http_requests_total", { status: "404", route: "/v1/chat/completions" })).toBe(1);
  const routes = families.get("alloy_http_requests_total")!.samples.map((s) => s.labels.route);
  expect(routes).toContain("other");
  expect(routes.join()).not.toContain("made-up");
});

test("an engine in the middle of a step does not hold up a scrape", async () => {
  await using h = await start();
  await (await chat(h)).text();
  await scrape(h);
  h.engine.loaded = () => new Promise(() => {});
  expect(value(await scrape(h), "alloy_model_loaded", { model: "demo" })).toBe(1);
});

test("label values are escaped", () => {
  const odd = 'a"b\\c\nd,e="f"}';
  const gauge = new Gauge("g", "A\nline.");
  gauge.set(1, { model: odd });
  const counter = new Counter("c_total", "x");
  counter.add(2);
  const families = parsePrometheus(gauge.render({ common: odd }) + counter.render({}));
  expect(families.get("g")!.samples).toEqual([{ name: "g", labels: { common: odd, model: odd }, value: 1 }]);
  expect(families.get("c_total")!.samples[0].value).toBe(2);
});

test("a server that asks for a key asks for it here too", async () => {
  await using h = await start({}, { env: { ALLOY_API_KEY: "secret" } });
  expect((await fetch(`${h.url}/metrics`)).status).toBe(401);
  expect((await fetch(`${h.url}/readyz`)).status).toBe(200);
});

test("requests that were turned away, by reason", async () => {
  await using h = await start({}, { env: { ALLOY_API_KEY: "secret", ALLOY_MAX_BODY: "100" } });
  const key = { authorization: "Bearer secret" };
  await h.post("/api/chat", {}, { origin: "https://evil.example" });
  await h.post("/api/chat", {});
  await h.post("/api/chat", { x: "y".repeat(200) }, key);
  await rawRequest(h.server.port, "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n");
  await fetch(`${h.url}/api/chat`, { method: "OPTIONS", headers: { origin: "http://localhost" } });
  const families = parsePrometheus(await (await fetch(`${h.url}/metrics`, { headers: key })).text());
  const counts = families.get("alloy_requests_rejected_total")!.samples.map(({ labels, value }) => [labels.reason, value]);
  expect(Object.fromEntries(counts)).toEqual({
    host: 1,
    origin: 1,
    unauthorized: 1,
    too_large: 1,
    queue_full: 0,
    shutting_down: 0,
    timeout: 0,
  });
});

/** Names that others gave: routers and dashboards look for them as they are. */
const OTHERS =
  /^(vllm|llamacpp):\w+ (metric names should not contain ':'|counter metrics should have "_total" suffix|non-counter metrics should not)/;

describe("as promtool checks it", () => {
  const models = [scriptedModel("demo"), scriptedModel("other")];

  test("idle and with two models loaded: nothing to say of our own names, and of others' only that they are others'", async () => {
    await using h = await start({ models });
    const check = async () => {
      const text = await (await fetch(`${h.url}/metrics`)).text();
      const ours = lint(parsePrometheus(text));
      expect(ours.filter((line) => !OTHERS.test(line))).toEqual([]);
      const promtool = Bun.which("promtool");
      if (promtool === null) return console.log("skipped: promtool is not installed, our own check stands alone");
      const said = Bun.spawnSync([promtool, "check", "metrics"], { stdin: Buffer.from(text) });
      expect((said.stdout.toString() + said.stderr.toString()).trim().split("\n").toSorted()).toEqual(ours);
    };
    await check();
    for (const model of ["demo", "other"]) await (await chat(h, { model })).text();
    await check();
    const families = await scrape(h);
    for (const name of ["alloy_model_loaded", "alloy_requests_running", "alloy_kv_cache_usage_ratio"])
      expect(families.get(name)!.samples).toHaveLength(2);
    // What a router reads is one series, of all models together.
    for (const name of ["num_requests_waiting", "num_requests_running", "kv_cache_usage_perc", "cache_config_info", "lora_requests_info"])
      expect(families.get(`vllm:${name}`)!.samples).toHaveLength(1);
    expect(families.get("vllm:cache_config_info")!.samples[0].labels).toMatchObject({ block_size: "16", num_gpu_blocks: "4096" });
    expect(value(families, "vllm:lora_requests_info")).toBeGreaterThan(Date.now() / 1000 - 60);
  });

  test("the check finds what is wrong", () => {
    const bad = "# HELP x_ms A.\n# TYPE x_ms counter\nx_ms 1\n# HELP y_total B.\n# TYPE y_total gauge\ny_total 1\n";
    expect(lint(parsePrometheus(bad))).toEqual([
      'x_ms counter metrics should have "_total" suffix',
      'x_ms use a base unit instead of "ms"',
      'y_total non-counter metrics should not have "_total" suffix',
    ]);
  });

  test("counters and histograms never fall, whatever is loaded and unloaded", async () => {
    await using h = await start({ models });
    const named = async () => (await scrape(h)).get("vllm:prompt_tokens_total")!.samples[0].labels.model_name;
    expect(await named()).toBe("none");
    let before = await scrape(h);
    for (const step of [
      () => chat(h, { model: "demo" }),
      () => h.post("/api/generate", { model: "demo", keep_alive: 0 }),
      () => chat(h, { model: "other", n: 2 }),
      () => chat(h, { model: "demo", stream: true }),
      () => chat(h, { model: 5 }),
      () => h.post("/api/generate", { model: "other", keep_alive: 0 }),
    ]) {
      await (await step()).text();
      const after = await scrape(h);
      expect(fallen(before, after)).toEqual([]);
      before = after;
    }
    expect(await named()).toBe("demo");
    await h.engine.unload("demo");
    expect(await named()).toBe("demo");
    await h.engine.load("other");
    expect(await named()).toBe("other");
    await using other = await start({ models });
    expect(fallen(before, await scrape(other))).toContain(
      'vllm:request_success_total[["engine","0"],["finished_reason","stop"],["model_name",""]]',
    );
  });
});

/** As an engine that may die has it. */
const health = (h: Harness) => h.engine as Pick<Engine, "health">;

test("an engine in a process of its own: whether it is up, its deaths and its memory", async () => {
  await using h = await start();
  expect(value(await scrape(h), "alloy_engine_up")).toBe(1);
  health(h).health = () => ({ state: "starting", restarts: 2, pid: process.pid });
  const families = await scrape(h);
  expect(value(families, "alloy_engine_up")).toBe(0);
  expect(value(families, "alloy_engine_restarts_total")).toBe(2);
  if (process.platform === "linux") expect(value(families, "alloy_engine_resident_memory_bytes")).toBeGreaterThan(1e6);
  health(h).health = () => ({ state: "down", restarts: 3, pid: 2 ** 30 });
  expect(value(await scrape(h), "alloy_engine_restarts_total")).toBe(3);
});
