/**
 * vLLM's metrics where Alloy has the same numbers (spec 6.1, 6.2). The router of Kubernetes' Gateway API Inference Extension reads one
 * series per family, so these are of the whole process, all models together; per model there are Alloy's own.
 */
import { type LoadedModel, STEP_TOKENS } from "../../engine/api.ts";
import { cacheUse, sum, WorkTotals } from "./loaded.ts";
import type { EndEvent, RequestMeter } from "./meter.ts";
import { Counter, Gauge, Histogram, type Metric } from "./registry.ts";

const FIRST_TOKEN = [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560];
const PER_TOKEN = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80];
const REQUEST = [0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680];
const TOKENS = [1, 10, 100, 1000, 10_000, 100_000].flatMap((n) => [n, 2 * n, 5 * n]);
const CHOICES = [1, 2, 5, 10, 20];

const counter = (name: string, help: string) => new Counter(`vllm:${name}`, help);
const gauge = (name: string, help: string) => new Gauge(`vllm:${name}`, help);
const histogram = (name: string, help: string, bounds: readonly number[]) => new Histogram(`vllm:${name}`, help, bounds).init();

export class VllmMetrics {
  /** In the order in which they are declared. */
  readonly #families: Metric[] = [];
  readonly #add = <M extends Metric>(family: M): M => {
    this.#families.push(family);
    return family;
  };
  readonly #waiting = this.#add(gauge("num_requests_waiting", "Requests waiting for a slot."));
  readonly #running = this.#add(gauge("num_requests_running", "Requests generating."));
  readonly #swapped = this.#add(gauge("num_requests_swapped", "Requests swapped out; always 0."));
  readonly #cacheUse = this.#add(gauge("kv_cache_usage_perc", "Part of the KV cache that running requests hold, 0 to 1."));
  readonly #oldCacheUse = this.#add(gauge("gpu_cache_usage_perc", "Old name of vllm:kv_cache_usage_perc."));
  readonly #cacheInfo = this.#add(gauge("cache_config_info", "Size of the KV cache of the first model."));
  readonly #lora = this.#add(gauge("lora_requests_info", "LoRA adapters in use; there are none."));
  readonly #promptTokens = this.#add(counter("prompt_tokens_total", "Prompt tokens, cached ones too."));
  readonly #generated = this.#add(counter("generation_tokens_total", "Generated tokens."));
  readonly #finished = this.#add(counter("request_success_total", "Requests by how they ended."));
  readonly #preemptions = this.#add(counter("num_preemptions_total", "Requests that gave their cache blocks back and waited again."));
  readonly #queries = this.#add(counter("prefix_cache_queries_total", "Prompt tokens looked up in the prefix cache."));
  readonly #hits = this.#add(counter("prefix_cache_hits_total", "Prompt tokens found in the prefix cache."));
  readonly #speculative = [
    this.#add(counter("spec_decode_num_drafts_total", "Speculative drafts; always 0.")),
    this.#add(counter("spec_decode_num_draft_tokens_total", "Speculative tokens; always 0.")),
    this.#add(counter("spec_decode_num_accepted_tokens_total", "Accepted speculative tokens; always 0.")),
  ];
  readonly #firstToken = this.#add(histogram("time_to_first_token_seconds", "From a request's arrival to its first output.", FIRST_TOKEN));
  readonly #gap = this.#add(histogram("inter_token_latency_seconds", "Between two pieces of output of one request.", PER_TOKEN));
  readonly #perToken = this.#add(
    histogram("time_per_output_token_seconds", "Between two pieces of output of one request (old name).", PER_TOKEN),
  );
  readonly #meanPerToken = this.#add(
    histogram("request_time_per_output_token_seconds", "A request's mean time per token after the first.", PER_TOKEN),
  );
  readonly #latency = this.#add(histogram("e2e_request_latency_seconds", "From a request's arrival to its end.", REQUEST));
  readonly #queueTime = this.#add(histogram("request_queue_time_seconds", "Waiting for a slot.", REQUEST));
  readonly #inference = this.#add(histogram("request_inference_time_seconds", "Prompt and generation.", REQUEST));
  readonly #prefill = this.#add(histogram("request_prefill_time_seconds", "Computing the prompt.", REQUEST));
  readonly #decode = this.#add(histogram("request_decode_time_seconds", "Generating.", REQUEST));
  readonly #promptSize = this.#add(histogram("request_prompt_tokens", "Prompt tokens of a request.", TOKENS));
  readonly #answerSize = this.#add(histogram("request_generation_tokens", "Generated tokens of a request.", TOKENS));
  readonly #largestAnswer = this.#add(
    histogram("request_max_num_generation_tokens", "Generated tokens of a request's longest choice.", TOKENS),
  );
  readonly #limit = this.#add(histogram("request_params_max_tokens", "Token limits that requests set.", TOKENS));
  readonly #choices = this.#add(histogram("request_params_n", "Answers that a request asks for.", CHOICES));
  readonly #iteration = this.#add(histogram("iteration_tokens_total", "Tokens of a step of a model.", STEP_TOKENS));
  readonly #totals = new WorkTotals();
  #counted = 0;

  constructor() {
    for (const reason of ["stop", "length", "abort", "error"]) this.#finished.add(0, { finished_reason: reason });
    for (const c of [this.#promptTokens, this.#generated, this.#preemptions, this.#queries, this.#hits, ...this.#speculative]) c.add(0);
    this.#swapped.set(0);
  }

  choices(n: number): void {
    this.#choices.observe(n);
  }

  firstToken(seconds: number): void {
    this.#firstToken.observe(seconds);
  }

  nextToken(seconds: number): void {
    this.#gap.observe(seconds);
    this.#perToken.observe(seconds);
  }

  ended({ request }: RequestMeter, { usage, timings, reason }: EndEvent): void {
    const { queued, prefill, decode, total } = timings;
    this.#finished.add(1, { finished_reason: reason === "length" || reason === "context" ? "length" : "stop" });
    this.#promptTokens.add(usage.promptTokens);
    this.#generated.add(usage.completionTokens);
    this.#queries.add(usage.promptTokens);
    this.#hits.add(usage.cachedTokens);
    this.#latency.observe(total / 1000);
    this.#queueTime.observe(queued / 1000);
    this.#prefill.observe(prefill / 1000);
    this.#decode.observe(decode / 1000);
    this.#inference.observe((prefill + decode) / 1000);
    if (usage.completionTokens > 1) this.#meanPerToken.observe(decode / 1000 / (usage.completionTokens - 1));
    this.#promptSize.observe(usage.promptTokens);
    this.#answerSize.observe(usage.completionTokens);
    this.#largestAnswer.observe(usage.completionTokens);
    if (request.maxTokens !== undefined) this.#limit.observe(request.maxTokens);
  }

  /** Ended early: what was computed counts, as far as it was seen. */
  stopped(meter: RequestMeter, reason: "abort" | "error"): void {
    this.#finished.add(1, { finished_reason: reason });
    this.#promptTokens.add(meter.prefilled);
    this.#generated.add(meter.deltas);
  }

  render(models: readonly LoadedModel[], name: string): string {
    this.#totals.update(models);
    this.#preemptions.add(this.#totals.total.preemptions - this.#counted);
    this.#counted = this.#totals.total.preemptions;
    this.#iteration.copy(this.#totals.total.stepTokens, this.#totals.total.tokens);
    const use = Math.max(0, ...models.map(cacheUse));
    this.#waiting.set(sum(models, (m) => m.queued));
    this.#running.set(sum(models, (m) => m.running));
    this.#cacheUse.set(use);
    this.#oldCacheUse.set(use);
    this.#cacheInfo.clear();
    const { cache } = models.find((m) => m.name === name) ?? models[0] ?? { cache: { blocks: 0, blockTokens: 16, type: "auto" } };
    this.#cacheInfo.set(1, { block_size: String(cache.blockTokens), num_gpu_blocks: String(cache.blocks), cache_dtype: cache.type });
    this.#lora.set(Date.now() / 1000, { max_lora: "0", running_lora_adapters: "", waiting_lora_adapters: "" });
    const common = { model_name: name, engine: "0" };
    return this.#families.map((f) => f.render(common)).join("");
  }
}
