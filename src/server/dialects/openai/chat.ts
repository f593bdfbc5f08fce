/** POST /v1/chat/completions (spec 2.1-2.3). */
import { Type, type Static } from "@sinclair/typebox";
import type { GenerateRequest, ModelInfo } from "../../../engine/api.ts";
import type { Thinking } from "../../../chat/api.ts";
import { AlloyError } from "../../../support/errors.ts";
import { readJson } from "../../body.ts";
import type { RequestContext } from "../../context.ts";
import { fieldError } from "../../errors.ts";
import { collect, openAll, type Answer } from "../../generation.ts";
import { parseKeepAlive } from "../../keep-alive.ts";
import { resolveModel } from "../../names.ts";
import { randomId } from "../../request-id.ts";
import { jsonResponse } from "../../stream.ts";
import { effort, thinkingFor } from "../../thinking.ts";
import { argumentsObject } from "../../tool-json.ts";
import { opt, validate } from "../../validate.ts";
import { parseOptions } from "../ollama/options.ts";
import { parseThink } from "../ollama/think.ts";
import { streamChat } from "./chat-stream.ts";
import { constraintOf } from "./constraint.ts";
import { envelope, logprobEntry, timingsOf, usageOf } from "./format.ts";
import { chatMessages, Message } from "./messages.ts";
import { openaiSampling, requireCompletion, SharedFields, stopStrings } from "./request.ts";
import { ToolFields, toolSet, type ToolSet } from "./tools.ts";

export const Body = Type.Object({
  ...SharedFields,
  ...ToolFields,
  messages: Type.Array(Message),
  max_tokens: opt(Type.Integer({ minimum: 1 })),
  max_completion_tokens: opt(Type.Integer({ minimum: 1 })),
  logprobs: opt(Type.Boolean()),
  top_logprobs: opt(Type.Integer({ minimum: 0, maximum: 20 })),
  reasoning_effort: opt(Type.String()),
  reasoning: opt(Type.Object({ effort: opt(Type.String()) })),
  chat_template_kwargs: opt(Type.Record(Type.String(), Type.Unknown())),
  options: opt(Type.Record(Type.String(), Type.Unknown())),
  think: Type.Optional(Type.Unknown()),
  modalities: opt(Type.Array(Type.String())),
  audio: opt(Type.Unknown()),
});
type Body = Static<typeof Body>;

/** What the answer's shape depends on. */
export interface ChatReply {
  /** Fields that all chunks repeat, `object` aside. */
  id: string;
  model: string;
  tools: ToolSet;
  logprobs: boolean;
  includeUsage: boolean;
}

interface ParsedChat {
  body: Body;
  tools: ToolSet;
  request: GenerateRequest;
}

/** Checks a body and makes it a request to the engine. */
export async function parseChat(context: RequestContext, value: unknown): Promise<ParsedChat> {
  const body = validate(Body, value);
  if (body.messages.length === 0) throw new AlloyError("invalid_value", "[] is too short - 'messages'", { param: "messages" });
  if (body.modalities?.includes("audio") || (body.audio !== null && body.audio !== undefined)) {
    throw fieldError("unsupported_feature", "audio", "output is not offered", "Leave out 'audio' and the modality 'audio'.");
  }
  if ((body.top_logprobs ?? 0) > 0 && !body.logprobs) throw fieldError("invalid_value", "top_logprobs", "needs 'logprobs' to be true");
  const tools = toolSet(body);
  const info = await resolveModel(context, body.model);
  requireCompletion(info);
  return { body, tools, request: generateRequest(context, info, body, tools) };
}

export async function chatCompletions(context: RequestContext): Promise<Response> {
  const { body, tools, request } = await parseChat(context, await readJson(context));
  const seed = request.sampling.seed;
  const requests = Array.from({ length: body.n ?? 1 }, (_, i) => ({
    ...request,
    id: `${request.id}-${i}`,
    sampling: { ...request.sampling, seed: seed === undefined ? undefined : seed + i },
  }));
  const generations = await openAll(context, requests, { singleCall: single(body, tools) });
  const reply: ChatReply = {
    id: randomId("chatcmpl-"),
    model: body.model,
    tools,
    logprobs: body.logprobs ?? false,
    includeUsage: body.stream_options?.include_usage ?? false,
  };
  if (body.stream) return streamChat(context, generations, reply);
  const answers = await Promise.all(generations.map((g) => collect(g.events)));
  return jsonResponse({
    ...envelope(reply.id, "chat.completion", reply.model, context.settings.version),
    choices: answers.map((answer, index) => choice(answer, index, reply)),
    usage: usageOf(
      answers.map((a) => a.end),
      answers.length,
    ),
    timings: timingsOf(answers[0].end),
  });
}

function generateRequest(context: RequestContext, info: ModelInfo, body: Body, tools: ToolSet): GenerateRequest {
  const options = parseOptions(body.options);
  const messages = chatMessages(body.messages, info.name);
  const last = messages.at(-1)!;
  return {
    id: context.id,
    model: info.name,
    prompt: {
      kind: "chat",
      messages,
      ...(tools.specs.length > 0 ? { tools: tools.specs, toolChoice: tools.choice, singleCall: single(body, tools) } : {}),
      thinking: thinkingFor(info, requestedThinking(body)),
      continueLast: last.role === "assistant" && !last.toolCalls,
      templateExtra: body.chat_template_kwargs ?? undefined,
    },
    sampling: openaiSampling(body, options.sampling),
    maxTokens: body.max_completion_tokens ?? body.max_tokens ?? options.maxTokens,
    stop: stopStrings(body.stop) ?? options.stop,
    constraint: constraintOf(body),
    ignoreEos: body.ignore_eos ?? undefined,
    logprobs: body.logprobs ? (body.top_logprobs ?? 0) : undefined,
    keepAlive: parseKeepAlive(body.keep_alive),
    contextLimit: options.contextLimit,
  };
}

const single = (body: Body, tools: ToolSet): boolean => body.parallel_tool_calls === false || tools.legacy;

function requestedThinking(body: Body): Thinking | undefined {
  const enable = body.chat_template_kwargs?.enable_thinking;
  const wanted =
    effort(body.reasoning_effort, "reasoning_effort") ?? effort(body.reasoning?.effort, "reasoning.effort") ?? parseThink(body.think);
  if (enable === false) return "off";
  if (enable === true) return wanted === undefined || wanted === "off" ? "on" : wanted;
  return wanted;
}

function choice(answer: Answer, index: number, reply: ChatReply): object {
  const message: Record<string, unknown> = { role: "assistant", content: answer.text, refusal: null };
  if (answer.reasoning !== "") Object.assign(message, { reasoning_content: answer.reasoning, reasoning: answer.reasoning });
  if (answer.calls.length > 0) {
    if (answer.text === "") message.content = null;
    const first = answer.calls[0];
    if (reply.tools.legacy) message.function_call = { name: first.name, arguments: first.arguments || "{}" };
    else message.tool_calls = answer.calls.map((c) => toolCall(c, reply.tools));
  }
  return {
    index,
    message,
    logprobs: reply.logprobs ? { content: answer.logprobs.map(logprobEntry), refusal: null } : null,
    finish_reason: finishReason(answer.end.reason, answer.calls.length > 0, reply.tools),
  };
}

/** A finished call as a message holds it. */
export function toolCall(call: { id: string; name: string; arguments: string }, tools: ToolSet): object {
  if (!tools.custom.has(call.name)) {
    return { id: call.id, type: "function", function: { name: call.name, arguments: call.arguments || "{}" } };
  }
  const input = argumentsObject(call.arguments).input;
  return { id: call.id, type: "custom", custom: { name: call.name, input: typeof input === "string" ? input : call.arguments } };
}

/** The token limit wins over tool calls: the last call may be cut. */
export function finishReason(reason: string, called: boolean, tools: ToolSet): string {
  if (reason === "length" || reason === "context") return "length";
  if (called || reason === "tool_calls") return tools.legacy ? "function_call" : "tool_calls";
  return "stop";
}
