/** GET /props, /slots, /lora-adapters and /readyz (spec 5). */
import { DEFAULT_SAMPLING, type LoadedModel, type ModelInfo } from "../../../engine/api.ts";
import { AlloyError } from "../../../support/errors.ts";
import type { RequestContext } from "../../context.ts";
import { resolveModel } from "../../names.ts";
import { jsonResponse } from "../../stream.ts";
import { modelOf } from "./model.ts";

/** Describes a model without loading it or keeping it loaded. */
export async function props(context: RequestContext): Promise<Response> {
  const info = await modelOf(context);
  const loaded = await loadedOf(context, info);
  return jsonResponse({
    default_generation_settings: { params: samplingOf(info), n_ctx: loaded?.contextLength ?? info.contextLength },
    total_slots: loaded?.limits.running ?? 0,
    model_alias: info.name,
    model_path: info.path,
    model_ftype: info.quantization,
    modalities: { vision: false, video: false, audio: false },
    media_marker: null,
    endpoint_slots: true,
    endpoint_props: false,
    endpoint_metrics: true,
    chat_template: info.template ?? "",
    chat_template_caps: {
      supports_tools: info.capabilities.includes("tools"),
      supports_thinking: info.capabilities.includes("thinking"),
    },
    bos_token: await special(context, loaded, "bos"),
    eos_token: await special(context, loaded, "eos"),
    build_info: `alloy ${context.settings.version}`,
    is_sleeping: loaded === undefined,
  });
}

/** One entry per request that may generate at once; `?fail_on_no_slot=1` is 503 when all are busy. Prompts are not shown. */
export async function slots(context: RequestContext): Promise<Response> {
  const info = await modelOf(context);
  const loaded = await loadedOf(context, info);
  const total = loaded?.limits.running ?? 0;
  const running = context.state.metrics.active(info.name).filter((r) => r.running);
  if (context.query.get("fail_on_no_slot") && loaded && loaded.running >= total) {
    throw new AlloyError("queue_full", "no slot is free", { hint: "Try again in a moment." });
  }
  const entries = Array.from({ length: total }, (_, id) => {
    const r = running[id];
    return {
      id,
      id_task: r?.number ?? -1,
      n_ctx: loaded!.contextLength,
      speculative: false,
      is_processing: r !== undefined,
      n_prompt_tokens: r?.promptTokens ?? 0,
      n_prompt_tokens_processed: r?.prefilled ?? 0,
      n_prompt_tokens_cache: r?.cached ?? 0,
      params: r ? { ...samplingParams(r.request.sampling), n_predict: r.request.maxTokens ?? -1 } : {},
      next_token: [
        {
          has_next_token: r !== undefined,
          has_new_line: false,
          n_remain: r?.request.maxTokens === undefined ? -1 : Math.max(0, r.request.maxTokens - r.deltas),
          n_decoded: r?.deltas ?? 0,
        },
      ],
    };
  });
  return new Response(JSON.stringify(entries), { headers: { "content-type": "application/json; charset=utf-8" } });
}

export function loraAdapters(): Response {
  return new Response("[]", { headers: { "content-type": "application/json; charset=utf-8" } });
}

/** How long an engine may take to show that it lives. */
const READY_MS = 2000;

/** Ready: not shutting down, the engine answers, and the default model, if there is one, is installed. What `serve --model` names is loaded before it listens. */
export async function ready(context: RequestContext): Promise<Response> {
  if (context.state.draining) return unavailable("Shutting down");
  if ((context.engine.health?.().state ?? "up") !== "up") return unavailable("The engine is starting again");
  const answers = await Promise.race([
    context.engine.loaded().then(
      () => true,
      () => false,
    ),
    Bun.sleep(READY_MS).then(() => false),
  ]);
  const { defaultModel } = context.settings;
  const installed =
    defaultModel === undefined ||
    (await resolveModel(context, defaultModel).then(
      () => true,
      () => false,
    ));
  if (answers && installed) return jsonResponse({ status: "ok" });
  return unavailable(answers ? `The default model '${defaultModel}' is not installed` : "Loading model");
}

const unavailable = (message: string): Response => jsonResponse({ error: { code: 503, message, type: "unavailable_error" } }, 503);

async function loadedOf(context: RequestContext, info: ModelInfo): Promise<LoadedModel | undefined> {
  return (await context.engine.loaded()).find((m) => m.name === info.name);
}

/** A special token's text. Only of loaded models: this must not load one. */
async function special(context: RequestContext, loaded: LoadedModel | undefined, which: "bos" | "eos"): Promise<string> {
  const id = loaded?.info.metadata[`tokenizer.ggml.${which}_token_id`];
  return typeof id === "number" ? context.engine.detokenize(loaded!.name, [id]) : "";
}

/** What a request without settings of its own gets. */
function samplingOf(info: ModelInfo): object {
  const preset = info.preset?.parameters ?? {};
  return { ...samplingParams(DEFAULT_SAMPLING), ...preset };
}

function samplingParams(s: Partial<typeof DEFAULT_SAMPLING>): object {
  const all = { ...DEFAULT_SAMPLING, ...s };
  return {
    seed: all.seed ?? -1,
    temperature: all.temperature,
    top_k: all.topK,
    top_p: all.topP,
    min_p: all.minP,
    repeat_last_n: all.repeatLastN,
    repeat_penalty: all.repeatPenalty,
    presence_penalty: all.presencePenalty,
    frequency_penalty: all.frequencyPenalty,
  };
}
