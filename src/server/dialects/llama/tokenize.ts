/** POST /tokenize, /detokenize, /apply-template and /v1/chat/completions/input_tokens: none needs a free slot (spec 5). */
import { Type } from "@sinclair/typebox";
import { readJson } from "../../body.ts";
import type { RequestContext } from "../../context.ts";
import { jsonResponse } from "../../stream.ts";
import { opt, validate } from "../../validate.ts";
import { Body as ChatBody, parseChat } from "../openai/chat.ts";
import { modelName, modelOf } from "./model.ts";

export const TokenizeBody = Type.Object({
  model: opt(Type.String()),
  content: Type.String(),
  add_special: opt(Type.Boolean()),
  parse_special: opt(Type.Boolean()),
  with_pieces: opt(Type.Boolean()),
});
/** A chat's body, whose model may be left out here. */
export const PromptBody = Type.Object({ ...ChatBody.properties, model: opt(Type.String()) });
export const DetokenizeBody = Type.Object({ model: opt(Type.String()), tokens: Type.Array(Type.Integer({ minimum: 0 })) });

export async function tokenize(context: RequestContext): Promise<Response> {
  const body = validate(TokenizeBody, await readJson(context));
  const { name } = await modelOf(context, body.model);
  const { ids } = await context.engine.tokenize(name, {
    kind: "text",
    text: body.content,
    addSpecial: body.add_special ?? false,
    parseSpecial: body.parse_special ?? true,
  });
  if (!body.with_pieces) return jsonResponse({ tokens: ids });
  const bytes = await context.engine.tokenBytes(name, ids);
  return jsonResponse({ tokens: ids.map((id, i) => ({ id, piece: piece(bytes[i]) })) });
}

export async function detokenize(context: RequestContext): Promise<Response> {
  const body = validate(DetokenizeBody, await readJson(context));
  const { name } = await modelOf(context, body.model);
  return jsonResponse({ content: await context.engine.detokenize(name, body.tokens) });
}

/** The prompt that chat completions would make of the same body. */
export async function applyTemplate(context: RequestContext): Promise<Response> {
  const { request } = await chatOf(context);
  const { text } = await context.engine.tokenize(request.model, request.prompt);
  return jsonResponse({ prompt: text ?? "" });
}

/** The count that chat completions report for the same body. */
export async function chatInputTokens(context: RequestContext): Promise<Response> {
  const { request } = await chatOf(context);
  const { ids } = await context.engine.tokenize(request.model, request.prompt);
  return jsonResponse({ object: "response.input_tokens", input_tokens: ids.length });
}

async function chatOf(context: RequestContext): ReturnType<typeof parseChat> {
  const body = validate(PromptBody, await readJson(context));
  return parseChat(context, { ...body, model: await modelName(context, body.model) });
}

/** A token's text, or its bytes where they are no whole characters. */
function piece(bytes: Uint8Array): string | number[] {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return [...bytes];
  }
}
