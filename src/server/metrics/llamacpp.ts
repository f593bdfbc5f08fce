/** llama.cpp's metrics (spec 6.3), of all models together. */
import type { LoadedModel } from "../../engine/api.ts";
import { sum, WorkTotals } from "./loaded.ts";
import type { EndEvent } from "./meter.ts";
import { Counter, Gauge } from "./registry.ts";

const counter = (name: string, help: string) => new Counter(`llamacpp:${name}`, help);
const gauge = (name: string, help: string) => new Gauge(`llamacpp:${name}`, help);

export class LlamaCppMetrics {
  readonly #promptTokens = counter("prompt_tokens_total", "Prompt tokens computed.");
  readonly #promptSeconds = counter("prompt_seconds_total", "Time spent on prompts.");
  readonly #predicted = counter("tokens_predicted_total", "Generated tokens.");
  readonly #predictedSeconds = counter("tokens_predicted_seconds_total", "Time spent on generating.");
  readonly #steps = counter("n_decode_total", "Steps of the models.");
  readonly #longest = counter("n_tokens_max", "Tokens of the longest request so far, prompt included.");
  readonly #promptRate = gauge("prompt_tokens_seconds", "Prompt tokens per second, on average.");
  readonly #predictedRate = gauge("predicted_tokens_seconds", "Generated tokens per second of a request, on average.");
  readonly #processing = gauge("requests_processing", "Requests generating.");
  readonly #deferred = gauge("requests_deferred", "Requests waiting.");
  readonly #busy = gauge("n_busy_slots_per_decode", "Generating requests per step, on average.");
  readonly #totals = new WorkTotals();
  #sums = { prompt: 0, promptMs: 0, predicted: 0, predictedMs: 0, longest: 0, steps: 0 };

  ended({ usage, timings }: EndEvent): void {
    const s = this.#sums;
    s.prompt += usage.promptTokens - usage.cachedTokens;
    s.promptMs += timings.prefill;
    s.predicted += usage.completionTokens;
    s.predictedMs += timings.decode;
    this.#promptTokens.add(usage.promptTokens - usage.cachedTokens);
    this.#promptSeconds.add(timings.prefill / 1000);
    this.#predicted.add(usage.completionTokens);
    this.#predictedSeconds.add(timings.decode / 1000);
    const tokens = usage.promptTokens + usage.completionTokens;
    this.#longest.add(Math.max(0, tokens - s.longest));
    s.longest = Math.max(s.longest, tokens);
  }

  render(models: readonly LoadedModel[]): string {
    const s = this.#sums;
    this.#totals.update(models);
    const { steps, decoded } = this.#totals.total;
    this.#steps.add(steps - s.steps);
    s.steps = steps;
    for (const c of [this.#promptTokens, this.#promptSeconds, this.#predicted, this.#predictedSeconds, this.#longest]) c.add(0);
    this.#promptRate.set(s.promptMs > 0 ? (s.prompt * 1000) / s.promptMs : 0);
    this.#predictedRate.set(s.predictedMs > 0 ? (s.predicted * 1000) / s.predictedMs : 0);
    this.#processing.set(sum(models, (m) => m.running));
    this.#deferred.set(sum(models, (m) => m.queued));
    this.#busy.set(steps > 0 ? decoded / steps : 0);
    const counters = [this.#promptTokens, this.#promptSeconds, this.#predicted, this.#predictedSeconds, this.#steps, this.#longest];
    const gauges = [this.#promptRate, this.#predictedRate, this.#processing, this.#deferred, this.#busy];
    return [...counters, ...gauges].map((f) => f.render({})).join("");
  }
}
