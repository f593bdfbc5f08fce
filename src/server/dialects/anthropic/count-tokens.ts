/** POST /v1/messages/count_tokens (spec 3.7): the count that a later message reports, without a KV slot. */
import { Type } from "@sinclair/typebox";
import { readJson } from "../../body.ts";
import type { RequestContext } from "../../context.ts";
import { resolveModel } from "../../names.ts";
import { jsonResponse } from "../../stream.ts";
import { validate } from "../../validate.ts";
import { requireMessages } from "./create.ts";
import { parsePrompt, PromptFields } from "./request.ts";

export const Body = Type.Object(PromptFields);

export async function countTokens(context: RequestContext): Promise<Response> {
  const body = validate(Body, await readJson(context));
  const info = await resolveModel(context, body.model);
  requireMessages(info);
  const { prompt } = parsePrompt(info, body);
  const { ids } = await context.engine.tokenize(info.name, prompt);
  return jsonResponse({ input_tokens: ids.length });
}
