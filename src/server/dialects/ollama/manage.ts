/** POST /api/copy and DELETE /api/delete (spec 4.11). */
import { Type } from "@sinclair/typebox";
import { cacheSettings, removeStalePacked } from "../../../graph/packed-cache.ts";
import { copyModel } from "../../../hub/store/create.ts";
import { removeModel } from "../../../hub/store/remove.ts";
import { AlloyError } from "../../../support/errors.ts";
import { readJson } from "../../body.ts";
import type { RequestContext } from "../../context.ts";
import { fieldError } from "../../errors.ts";
import { opt, validate } from "../../validate.ts";
import { unloadStale } from "./progress.ts";

export const CopyBody = Type.Object({ source: opt(Type.String()), destination: opt(Type.String()) });

export async function copy(context: RequestContext): Promise<Response> {
  const { source, destination } = validate(CopyBody, await readJson(context));
  if (!source) throw invalidName("source", source ?? "");
  if (!destination) throw invalidName("destination", destination ?? "");
  try {
    const name = await copyModel(source, destination, { env: context.settings.env, signal: context.signal });
    await unloadStale(context, name);
  } catch (e) {
    if (!(e instanceof AlloyError) || e.code !== "model_not_found") throw e;
    // Ollama quotes this one in its own way.
    throw new AlloyError("model_not_found", e.message, { ...detail(e), data: { ollama: `model ${JSON.stringify(source)} not found` } });
  }
  return new Response(null, { status: 200 });
}

export const DeleteBody = Type.Object({ model: opt(Type.String()), name: opt(Type.String()) });

export async function remove(context: RequestContext): Promise<Response> {
  const body = validate(DeleteBody, await readJson(context));
  const name = body.model || body.name;
  if (!name) throw fieldError("missing_parameter", "model", "is required");
  await unloadStale(context, name);
  await removeModel(name, { env: context.settings.env });
  removeStalePacked(cacheSettings(context.settings.env).folder);
  return new Response(null, { status: 200 });
}

function invalidName(param: string, value: string): AlloyError {
  return new AlloyError("invalid_value", `${param} ${JSON.stringify(value)} is invalid`, { param });
}

const detail = ({ hint, param }: AlloyError) => ({ hint, param });
