/** Alloy's own metrics (spec 6.4): per model, per route, and of the process. Labels are installed models and known routes only. */
import { readdirSync, readFileSync } from "node:fs";
import { type EngineHealth, GRAMMAR_SECONDS, type LoadedModel } from "../../engine/api.ts";
import { cacheUse, WorkTotals } from "./loaded.ts";
import { Counter, Gauge, Histogram } from "./registry.ts";

const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600];

export const REJECTION_REASONS = ["host", "origin", "unauthorized", "queue_full", "too_large", "shutting_down", "timeout"] as const;
export type RejectionReason = (typeof REJECTION_REASONS)[number];

export class OwnMetrics {
  readonly #build = new Gauge("alloy_build_info", "Version, and what the first model computes on.");
  readonly #loaded = new Gauge("alloy_model_loaded", "Models in memory.");
  readonly #memory = new Gauge("alloy_model_memory_bytes", "Memory of a model: its cache, and weights with working memory.");
  readonly #running = new Gauge("alloy_requests_running", "Requests generating.");
  readonly #waiting = new Gauge("alloy_requests_waiting", "Requests waiting for a slot.");
  readonly #cacheUse = new Gauge("alloy_kv_cache_usage_ratio", "Part of the KV cache that running requests hold.");
  readonly #blocks = new Gauge("alloy_kv_cache_blocks", "Blocks of the KV cache: held by running requests, holding cached prefixes, free.");
  readonly #evictions = new Counter("alloy_prefix_cache_evictions_total", "Blocks of cached prefixes that were given to other requests.");
  readonly #queueLimit = new Gauge("alloy_queue_limit", "Requests that may wait for a model.");
  readonly #load = new Histogram("alloy_model_load_seconds", "What requests waited for their model to load.", SECONDS);
  readonly #requests = new Counter("alloy_http_requests_total", "HTTP requests; status 499: the client left first.");
  readonly #duration = new Histogram("alloy_http_request_duration_seconds", "HTTP requests from arrival to the last byte.", SECONDS);
  readonly #queueRejected = new Counter("alloy_queue_rejected_total", "Answers refused because too many were waiting.");
  readonly #rejected = new Counter("alloy_requests_rejected_total", "HTTP requests turned away, by reason.");
  readonly #disconnects = new Counter("alloy_client_disconnects_total", "Clients that left before their response was complete.");
  readonly #toolCalls = new Counter("alloy_tool_calls_total", "Tool calls by whether their arguments are JSON.");
  readonly #process = [
    new Gauge("process_resident_memory_bytes", "Resident memory."),
    new Counter("process_cpu_seconds_total", "CPU time, user and system."),
    new Gauge("process_start_time_seconds", "Start of the process, Unix time."),
  ];
  readonly #files = new Gauge("process_open_fds", "Open file descriptors.");
  readonly #engineUp = new Gauge("alloy_engine_up", "Whether the engine runs; 0 while it is being started again.");
  readonly #engineRestarts = new Counter("alloy_engine_restarts_total", "How often the engine died.");
  readonly #engineMemory = new Gauge("alloy_engine_resident_memory_bytes", "Resident memory of the engine's own process.");
  readonly #forced = new Counter("alloy_grammar_forced_tokens_total", "Tokens that a grammar left no choice of, computed without a draw.");
  readonly #grammars = new Histogram(
    "alloy_grammar_compile_seconds",
    "Grammars of requests, compiled or given up.",
    GRAMMAR_SECONDS,
  ).init();
  readonly #totals = new WorkTotals();
  #restarts = 0;
  #cpu = 0;

  constructor(private readonly version: string) {
    this.#queueRejected.add(0);
    for (const reason of REJECTION_REASONS) this.#rejected.add(0, { reason });
  }

  http(request: { route: string; method: string; status: number; ms: number }): void {
    const { route, method, status } = request;
    this.#requests.add(1, { route, method, status: String(status) });
    this.#duration.observe(request.ms / 1000, { route });
    if (status === 499) this.#disconnects.add(1, { route });
  }

  queueRejected(): void {
    this.#queueRejected.add(1);
  }

  rejected(reason: RejectionReason): void {
    this.#rejected.add(1, { reason });
  }

  toolCall(model: string, outcome: "ok" | "invalid"): void {
    this.#toolCalls.add(1, { model, outcome });
  }

  loadTime(model: string, ms: number): void {
    this.#load.observe(ms / 1000, { model });
  }

  render(models: readonly LoadedModel[], health: EngineHealth = { state: "up", restarts: 0 }): string {
    const current = [this.#build, this.#loaded, this.#memory, this.#running, this.#waiting, this.#cacheUse, this.#blocks, this.#queueLimit];
    for (const family of current) family.clear();
    this.#build.set(1, { version: this.version, backend: models[0]?.device ?? "none" });
    for (const m of models) {
      const model = { model: m.name };
      this.#loaded.set(1, model);
      this.#memory.set(m.cache.bytes, { ...model, kind: "kv" });
      this.#memory.set(Math.max(0, m.memoryBytes - m.cache.bytes), { ...model, kind: "weights" });
      this.#running.set(m.running, model);
      this.#waiting.set(m.queued, model);
      this.#cacheUse.set(cacheUse(m), model);
      const { blocks, used, cached } = m.cache;
      for (const [state, n] of Object.entries({ used, cached, free: blocks - used - cached })) this.#blocks.set(n, { ...model, state });
      this.#queueLimit.set(m.limits.queued, model);
    }
    const { evictions: evicted, forced } = this.#totals.total;
    this.#totals.update(models);
    this.#evictions.add(this.#totals.total.evictions - evicted);
    this.#forced.add(this.#totals.total.forced - forced);
    this.#grammars.copy(this.#totals.total.grammars, this.#totals.total.grammarSeconds);
    this.#renderProcess();
    this.#renderEngine(health);
    const counted = [
      this.#engineUp,
      this.#engineRestarts,
      this.#engineMemory,
      this.#evictions,
      this.#load,
      this.#requests,
      this.#duration,
      this.#queueRejected,
      this.#rejected,
      this.#disconnects,
      this.#toolCalls,
      this.#forced,
      this.#grammars,
    ];
    return [...current, ...counted, ...this.#process, this.#files].map((f) => f.render({})).join("");
  }

  #renderEngine({ state, restarts, pid }: EngineHealth): void {
    this.#engineUp.set(state === "up" ? 1 : 0);
    this.#engineRestarts.add(restarts - this.#restarts);
    this.#restarts = restarts;
    this.#engineMemory.clear();
    const memory = pid === undefined ? undefined : residentMemory(pid);
    if (memory !== undefined) this.#engineMemory.set(memory);
  }

  #renderProcess(): void {
    const [memory, cpu, start] = this.#process as [Gauge, Counter, Gauge];
    memory.set(process.memoryUsage.rss());
    const { user, system } = process.cpuUsage();
    cpu.add((user + system) / 1e6 - this.#cpu);
    this.#cpu = (user + system) / 1e6;
    start.set(performance.timeOrigin / 1000);
    // Linux only; elsewhere the family stays empty.
    if (process.platform === "linux") this.#files.set(readdirSync("/proc/self/fd").length);
  }
}

/** Bytes; undefined where there is no /proc, or no such process any more. */
function residentMemory(pid: number): number | undefined {
  try {
    const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    return kib === undefined ? undefined : Number(kib) * 1024;
  } catch {
    return undefined;
  }
}
