/** POST /v1/embeddings (spec 2.5): bodies and models are checked; no model that Alloy loads today embeds. */
import { Type } from "@sinclair/typebox";
import type { ModelInfo } from "../../../engine/api.ts";
import { AlloyError } from "../../../support/errors.ts";
import { readJson } from "../../body.ts";
import type { RequestContext } from "../../context.ts";
import { fieldError } from "../../errors.ts";
import { resolveModel } from "../../names.ts";
import { notSupported } from "../../not-built.ts";
import { opt, validate } from "../../validate.ts";

export const Body = Type.Object({
  model: Type.String({ minLength: 1 }),
  input: Type.Optional(Type.Unknown()),
  encoding_format: opt(Type.Union([Type.Literal("float"), Type.Literal("base64")], { description: '"float" or "base64"' })),
  dimensions: opt(Type.Integer({ minimum: 1 })),
});

const MAX_INPUTS = 2048;

export async function embeddings(context: RequestContext): Promise<Response> {
  const body = validate(Body, await readJson(context));
  checkInput(body.input);
  const info = await resolveModel(context, body.model);
  requireEmbedding(info);
  return notSupported(context, "running embedding models");
}

/** Throws `unsupported_capability`. */
export function requireEmbedding(info: ModelInfo): void {
  if (info.capabilities.includes("embedding")) return;
  throw new AlloyError("unsupported_capability", `"${info.name}" does not support embeddings`, { param: "model" });
}

/** A text, token ids, or a list of either; `""` is a text. */
function checkInput(input: unknown): void {
  const ids = (value: unknown) => Array.isArray(value) && value.length > 0 && value.every((n) => Number.isInteger(n) && n >= 0);
  const texts = (value: unknown[]) => value.every((v) => typeof v === "string");
  const list = Array.isArray(input) && input.length > 0 && (texts(input) || ids(input) || input.every(ids));
  if (typeof input !== "string" && !list) {
    throw fieldError("invalid_value", "input", "is an invalid input", "Send a string, token ids, or a non-empty array of either.");
  }
  if (list && !ids(input) && input.length > MAX_INPUTS) {
    throw fieldError("invalid_value", "input", `holds ${input.length} items; at most ${MAX_INPUTS} fit in one request`);
  }
}
