/** GET /v1/models and /v1/models/{id}: one shape for the OpenAI and Anthropic SDKs (spec 2.6). */
import type { ModelInfo } from "../../../engine/api.ts";
import { AlloyError } from "../../../support/errors.ts";
import type { RequestContext } from "../../context.ts";
import { resolveModel } from "../../names.ts";
import { jsonResponse } from "../../stream.ts";

export async function listModels(context: RequestContext): Promise<Response> {
  const windows = await loadedWindows(context);
  const installed = (await context.engine.models()).toSorted((a, b) => b.modified.localeCompare(a.modified));
  const aliases = Object.entries(context.settings.aliases).flatMap(([alias, target]) => {
    const info = installed.find((m) => m.name === target);
    return info ? [entry(info, alias, windows)] : [];
  });
  const data = page([...installed.map((m) => entry(m, m.name, windows)), ...aliases], context.query);
  return jsonResponse({
    object: "list",
    data: data.items,
    has_more: data.more,
    first_id: data.items[0]?.id ?? null,
    last_id: data.items.at(-1)?.id ?? null,
  });
}

export async function retrieveModel(context: RequestContext): Promise<Response> {
  if (context.rest === "") throw new AlloyError("missing_parameter", "the path names no model", { param: "model" });
  return jsonResponse(entry(await resolveModel(context, context.rest), context.rest, await loadedWindows(context)));
}

/** Window of each loaded model: memory may have allowed less than the model was trained for. */
async function loadedWindows(context: RequestContext): Promise<Map<string, number>> {
  return new Map((await context.engine.loaded()).map((m) => [m.info.name, m.contextLength]));
}

type Entry = ReturnType<typeof entry>;

function entry(info: ModelInfo, id: string, windows: Map<string, number>) {
  const window = windows.get(info.name) ?? info.contextLength;
  const created = Math.floor(Date.parse(info.modified) / 1000) || 0;
  const slash = info.name.lastIndexOf("/");
  return {
    id,
    object: "model",
    created,
    owned_by: slash > 0 ? info.name.slice(0, slash) : "library",
    type: "model",
    display_name: id,
    created_at: new Date(created * 1000).toISOString(),
    max_input_tokens: window,
    max_tokens: window,
    lifecycle: "active",
    capabilities: Object.fromEntries(info.capabilities.map((c) => [c, true])),
    meta: {
      n_ctx: window,
      n_ctx_train: info.contextLength,
      n_params: info.parameters,
      size: info.fileBytes,
      n_vocab: info.metadata["tokenizer.ggml.vocab_size"] ?? null,
      n_embd: info.embeddingLength,
    },
  };
}

/** `limit`, `after_id` and `before_id` as Anthropic defines them; unreadable values count as absent. */
function page(entries: Entry[], query: URLSearchParams): { items: Entry[]; more: boolean } {
  const at = (id: string | null) => (id === null ? -1 : entries.findIndex((e) => e.id === id));
  const after = at(query.get("after_id"));
  const before = at(query.get("before_id"));
  const rest = entries.slice(after + 1, before < 0 ? undefined : before);
  const limit = Number(query.get("limit") ?? NaN);
  if (!Number.isInteger(limit) || limit < 1 || limit >= rest.length) return { items: rest, more: false };
  return { items: before < 0 ? rest.slice(0, limit) : rest.slice(-limit), more: true };
}
