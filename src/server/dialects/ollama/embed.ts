/** POST /api/embed and /api/embeddings (spec 4.12): bodies and models are checked; no model that Alloy loads today embeds. */
import { Type } from "@sinclair/typebox";
import { AlloyError } from "../../../support/errors.ts";
import { readJson } from "../../body.ts";
import type { RequestContext } from "../../context.ts";
import { resolveModel } from "../../names.ts";
import { notSupported } from "../../not-built.ts";
import { opt, validate } from "../../validate.ts";
import { requireEmbedding } from "../openai/embeddings.ts";

export const Body = Type.Object({
  model: Type.String({ minLength: 1 }),
  input: Type.Optional(Type.Unknown()),
  prompt: opt(Type.String()),
  truncate: opt(Type.Boolean()),
  dimensions: opt(Type.Integer()),
});

export async function embed(context: RequestContext): Promise<Response> {
  const { model, input } = validate(Body, await readJson(context));
  const given = input ?? "";
  if (typeof given !== "string" && !(Array.isArray(given) && given.every((v) => typeof v === "string"))) {
    throw new AlloyError("invalid_type", "invalid input type", { param: "input" });
  }
  requireEmbedding(await resolveModel(context, model).catch((e: unknown) => Promise.reject(inOllamasWords(e, model))));
  return notSupported(context, "running embedding models");
}

/** Ollama says this here only, and its clients look for it. */
function inOllamasWords(e: unknown, model: string): unknown {
  if (!(e instanceof AlloyError) || e.code !== "model_not_found") return e;
  return new AlloyError("model_not_found", e.message, {
    data: { ...e.data, ollama: `model ${JSON.stringify(model)} not found, try pulling it first` },
  });
}
