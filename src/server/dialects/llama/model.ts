/** Which model a llama-server route means: the named one, else the default, else the only one loaded (spec 5). */
import type { ModelInfo } from "../../../engine/api.ts";
import type { RequestContext } from "../../context.ts";
import { fieldError } from "../../errors.ts";
import { resolveModel } from "../../names.ts";

/** Throws `missing_parameter` when nothing says which model is meant. */
export async function modelName(context: RequestContext, wanted?: string | null): Promise<string> {
  const named = wanted || context.query.get("model") || context.settings.defaultModel;
  if (named) return named;
  const loaded = await context.engine.loaded();
  if (loaded.length === 1) return loaded[0].name;
  throw fieldError("missing_parameter", "model", "is required", `${loaded.length} models are loaded; name one in 'model'.`);
}

export async function modelOf(context: RequestContext, wanted?: string | null): Promise<ModelInfo> {
  return resolveModel(context, await modelName(context, wanted));
}
