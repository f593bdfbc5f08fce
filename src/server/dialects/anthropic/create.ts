/** POST /v1/messages (spec 3.1-3.5). */
import { Type } from "@sinclair/typebox";
import { createHash } from "node:crypto";
import type { GenerateRequest, ModelInfo } from "../../../engine/api.ts";
import { AlloyError } from "../../../support/errors.ts";
import { readJson } from "../../body.ts";
import type { RequestContext } from "../../context.ts";
import { collect, openGeneration, type Answer, type Block, type EndEvent } from "../../generation.ts";
import { parseKeepAlive } from "../../keep-alive.ts";
import { resolveModel } from "../../names.ts";
import { randomId } from "../../request-id.ts";
import { setSampling } from "../../sampling.ts";
import { jsonResponse } from "../../stream.ts";
import { argumentsObject } from "../../tool-json.ts";
import { opt, validate } from "../../validate.ts";
import { outputFormat, parsePrompt, PromptFields } from "./request.ts";
import { streamMessage } from "./stream.ts";
import { anthropicToolId } from "./tools.ts";
import { noWebSearch, wantsOnlyTheWeb } from "./web-search.ts";

export const Body = Type.Object({
  ...PromptFields,
  max_tokens: Type.Integer({ minimum: 0 }),
  stream: opt(Type.Boolean()),
  temperature: opt(Type.Number({ minimum: 0, maximum: 2 })),
  top_p: opt(Type.Number({ minimum: 0, maximum: 1 })),
  top_k: opt(Type.Integer({ minimum: 0 })),
  stop_sequences: opt(Type.Array(Type.String(), { maxItems: 16 })),
  keep_alive: Type.Optional(Type.Unknown()),
});

/** What the answer's shape depends on. */
export interface MessageReply {
  id: string;
  model: string;
  /** Whether the client knows `model_context_window_exceeded`. */
  windowReason: boolean;
}

export async function createMessage(context: RequestContext): Promise<Response> {
  const body = validate(Body, await readJson(context));
  const info = await resolveModel(context, body.model);
  requireMessages(info);
  const { prompt, tools } = parsePrompt(info, body);
  const stop = (body.stop_sequences ?? []).filter((s) => s !== "");
  const request: GenerateRequest = {
    id: context.id,
    model: info.name,
    prompt,
    sampling: setSampling({ temperature: body.temperature, topP: body.top_p, topK: body.top_k }),
    maxTokens: body.max_tokens,
    stop: stop.length > 0 ? stop : undefined,
    constraint: outputFormat(body.output_config?.format),
    keepAlive: parseKeepAlive(body.keep_alive),
  };
  const generation = wantsOnlyTheWeb(body.tools) ? noWebSearch() : await openGeneration(context, request, { singleCall: tools.singleCall });
  const reply: MessageReply = { id: randomId("msg_"), model: body.model, windowReason: knowsWindowReason(context.request.headers) };
  if (body.stream) return streamMessage(context, generation, reply);
  const answer = await collect(generation.events);
  const called = answer.calls.length > 0 && !answer.cutCall;
  return jsonResponse({
    ...messageHead(reply),
    content: content(answer),
    ...ending(answer.end, called, reply),
    usage: {
      ...usage(answer.end),
      cache_creation: { ephemeral_5m_input_tokens: 0, ephemeral_1h_input_tokens: 0 },
      server_tool_use: null,
      service_tier: "standard",
    },
  });
}

/** Throws `unsupported_capability` for models that generate no text. */
export function requireMessages(info: ModelInfo): void {
  if (!info.capabilities.includes("completion")) {
    throw new AlloyError("unsupported_capability", `the model '${info.name}' does not generate text`, { param: "model" });
  }
}

export function messageHead(reply: MessageReply): object {
  return { id: reply.id, type: "message", role: "assistant", model: reply.model };
}

/** Fields that say how a message ended, of a response and of `message_delta`. */
export function ending(end: EndEvent, called: boolean, reply: MessageReply): object {
  return { stop_reason: stopReason(end, called, reply), stop_sequence: end.stop ?? null, stop_details: null, container: null };
}

function stopReason(end: EndEvent, called: boolean, reply: MessageReply): string {
  if (called) return "tool_use";
  if (end.reason === "length") return "max_tokens";
  if (end.reason === "context") return reply.windowReason ? "model_context_window_exceeded" : "max_tokens";
  return end.stop === undefined ? "end_turn" : "stop_sequence";
}

/** `input_tokens` is what was not read from the cache: clients add the three up. */
export function usage({ usage: u }: EndEvent): object {
  return {
    input_tokens: u.promptTokens - u.cachedTokens,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: u.cachedTokens,
    output_tokens: u.completionTokens,
    output_tokens_details: { thinking_tokens: u.reasoningTokens },
  };
}

/** Opaque, but not empty: some clients drop thinking blocks without a signature from the history they send back. */
export function signature(thinking: string): string {
  return `alloy1:${createHash("sha256").update(thinking).digest("base64")}`;
}

function content(answer: Answer): object[] {
  const blocks = answer.blocks.map(contentBlock);
  return blocks.length > 0 ? blocks : [{ type: "text", text: "" }];
}

function contentBlock(block: Block): object {
  if (block.type === "text") return { type: "text", text: block.text };
  if (block.type === "reasoning") return { type: "thinking", thinking: block.text, signature: signature(block.text) };
  return { type: "tool_use", id: anthropicToolId(block.id), name: block.name, input: argumentsObject(block.arguments) };
}

function knowsWindowReason(headers: Headers): boolean {
  const version = headers.get("anthropic-version") ?? "";
  return version >= "2026-10-21" || (headers.get("anthropic-beta") ?? "").includes("model-context-window-exceeded-2025-08-26");
}
