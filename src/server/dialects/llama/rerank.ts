/** POST /v1/rerank and its other names (spec 5): bodies and models are checked; no model that Alloy loads today ranks. */
import { Type } from "@sinclair/typebox";
import { readJson } from "../../body.ts";
import type { RequestContext } from "../../context.ts";
import { fieldError } from "../../errors.ts";
import { jsonResponse } from "../../stream.ts";
import { opt, validate } from "../../validate.ts";
import { modelOf } from "./model.ts";

const Document = Type.Union([Type.String(), Type.Object({ text: Type.String() })], { description: "a string or an object with text" });
export const Body = Type.Object({
  model: opt(Type.String()),
  query: Type.String(),
  documents: opt(Type.Array(Document, { minItems: 1 })),
  /** The form of Text Embeddings Inference. */
  texts: opt(Type.Array(Type.String(), { minItems: 1 })),
  top_n: opt(Type.Integer({ minimum: 1 })),
  return_documents: opt(Type.Boolean()),
  return_text: opt(Type.Boolean()),
});

export async function rerank(context: RequestContext): Promise<Response> {
  const body = validate(Body, await readJson(context));
  if (!body.documents && !body.texts) throw fieldError("missing_parameter", "documents", "is required");
  const { name } = await modelOf(context, body.model);
  const message = `The model '${name}' does not rank documents; this version of alloy runs no model that does.`;
  const response = jsonResponse({ error: { message, type: "not_supported_error", param: "model", code: "unsupported_feature" } }, 501);
  response.headers.set("x-should-retry", "false");
  return response;
}
