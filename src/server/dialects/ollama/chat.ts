/** POST /api/chat (spec 4.3). */
import { Type, type Static } from "@sinclair/typebox";
import type { ChatDelta, ChatMessage, ToolSpec } from "../../../chat/api.ts";
import type { GenerateRequest } from "../../../engine/api.ts";
import { AlloyError } from "../../../support/errors.ts";
import { readJson } from "../../body.ts";
import type { RequestContext } from "../../context.ts";
import { errorBody, fieldError } from "../../errors.ts";
import { collect, type Generation, type ToolBlock } from "../../generation.ts";
import { parseKeepAlive } from "../../keep-alive.ts";
import { IMAGE_OMITTED, imageError } from "../../media.ts";
import { resolveModel } from "../../names.ts";
import { jsonResponse, ndjson, streamResponse } from "../../stream.ts";
import { argumentsObject, argumentsText } from "../../tool-json.ts";
import { OLLAMA_SAMPLING } from "../../sampling.ts";
import { openTruncating } from "../../truncate.ts";
import { opt, validate } from "../../validate.ts";
import * as common from "./common.ts";
import { parseOptions } from "./options.ts";

const JsonObject = Type.Record(Type.String(), Type.Unknown());
const Message = Type.Object({
  role: Type.String(),
  content: opt(Type.String()),
  thinking: opt(Type.String()),
  images: opt(Type.Array(Type.String())),
  tool_calls: opt(
    Type.Array(
      Type.Object({
        id: opt(Type.String()),
        function: Type.Object({ name: Type.String(), arguments: opt(Type.Union([JsonObject, Type.String()])) }),
      }),
    ),
  ),
  tool_name: opt(Type.String()),
  tool_call_id: opt(Type.String()),
});
export const Body = Type.Object({
  ...common.SharedFields,
  model: opt(Type.String()),
  messages: opt(Type.Array(Message)),
  tools: opt(
    Type.Array(
      Type.Object({
        type: opt(Type.String()),
        function: Type.Object({ name: Type.String(), description: opt(Type.String()), parameters: opt(JsonObject) }),
      }),
    ),
  ),
});
type Body = Static<typeof Body>;

export async function chat(context: RequestContext): Promise<Response> {
  const body = validate(Body, await readJson(context));
  if (!body.model) throw fieldError("missing_parameter", "model", "is required");
  common.checkShared(body);
  const keepAlive = parseKeepAlive(body.keep_alive);
  const info = await resolveModel(context, body.model);
  common.requireCapability(info, body.model, "chat");
  const head = () => ({ model: body.model, created_at: new Date().toISOString() });
  if (!body.messages?.length) {
    const reason = await common.loadOrUnload(context, info, keepAlive);
    return jsonResponse({ ...head(), message: { role: "assistant", content: "" }, done: true, done_reason: reason });
  }
  const tools = (body.tools ?? []).map(toolSpec);
  if (tools.length > 0) common.requireCapability(info, body.model, "tools");
  const options = parseOptions(body.options);
  const messages = chatMessages(body.messages, info.name);
  const last = messages.at(-1)!;
  const prompt = {
    kind: "chat" as const,
    messages,
    ...(tools.length > 0 ? { tools } : {}),
    thinking: common.ollamaThinking(info, body.model, body.think),
    continueLast: last.role === "assistant" && !last.toolCalls,
  };
  if (body._debug_render_only) {
    const { text } = await context.engine.tokenize(info.name, prompt);
    return jsonResponse({ ...head(), _debug_info: { rendered_template: text ?? "" } });
  }
  const request: GenerateRequest = {
    id: context.id,
    model: info.name,
    prompt,
    sampling: options.sampling,
    samplingDefaults: OLLAMA_SAMPLING,
    maxTokens: options.maxTokens,
    stop: options.stop,
    constraint: common.constraintOf(body),
    logprobs: common.logprobCount(body),
    keepAlive,
    contextLimit: options.contextLimit,
  };
  const generation = await openTruncating(context, request, { truncate: body.truncate ?? true, cut: true });
  if (body.stream ?? true) {
    return streamResponse(context, lines(generation, head), {
      kind: "ndjson",
      heartbeat: () => ndjson({ ...head(), message: { role: "assistant", content: "" }, done: false }),
      onError: (error) => ndjson(errorBody("ollama", error, context.id)),
    });
  }
  const answer = await collect(generation.events);
  const message: Record<string, unknown> = { role: "assistant", content: answer.text };
  if (answer.reasoning !== "") message.thinking = answer.reasoning;
  if (answer.calls.length > 0) message.tool_calls = answer.calls.map(toolCall);
  return jsonResponse({
    ...head(),
    message,
    ...(body.logprobs ? { logprobs: answer.logprobs.map(common.logprobEntry) } : {}),
    done: true,
    done_reason: common.doneReason(answer.end),
    ...common.metrics(answer.end),
  });
}

async function* lines(generation: Generation, head: () => object): AsyncGenerator<string> {
  const calls = new Map<number, ToolBlock>();
  let sent = 0;
  for await (const event of generation.events) {
    if (event.type === "end") {
      const message = { role: "assistant", content: "" };
      yield ndjson({ ...head(), message, done: true, done_reason: common.doneReason(event), ...common.metrics(event) });
      return;
    }
    const message = chunkMessage(event.delta, calls, () => sent++);
    const logprobs = event.delta.type === "text" ? event.logprobs : undefined;
    if (message) {
      yield ndjson({ ...head(), message, done: false, ...(logprobs ? { logprobs: logprobs.map(common.logprobEntry) } : {}) });
    }
  }
}

/** A tool call is only sent when whole; what comes before that yields no chunk. */
function chunkMessage(delta: ChatDelta, calls: Map<number, ToolBlock>, nextIndex: () => number): object | undefined {
  switch (delta.type) {
    case "text":
      return { role: "assistant", content: delta.text };
    case "reasoning":
      return { role: "assistant", content: "", thinking: delta.text };
    case "tool_call_start":
      calls.set(delta.index, { type: "tool", id: delta.id, name: delta.name, arguments: "", complete: false });
      return undefined;
    case "tool_call_arguments":
      calls.get(delta.index)!.arguments += delta.text;
      return undefined;
    case "tool_call_end":
      return { role: "assistant", content: "", tool_calls: [toolCall(calls.get(delta.index)!, nextIndex())] };
  }
}

function toolCall(call: ToolBlock, index: number): object {
  return { id: call.id, function: { index, name: call.name, arguments: argumentsObject(call.arguments) } };
}

function toolSpec(tool: NonNullable<Body["tools"]>[number]): ToolSpec {
  const { name, description, parameters } = tool.function;
  return { name, description: description ?? undefined, parameters: parameters ?? undefined };
}

const ROLES = ["system", "user", "assistant", "tool"] as const;

function chatMessages(messages: NonNullable<Body["messages"]>, model: string): ChatMessage[] {
  const lastTurn = messages.findLastIndex((m) => m.role.toLowerCase() === "assistant");
  return messages.map((m, i) => {
    const role = ROLES.find((r) => r === m.role.toLowerCase());
    if (!role) {
      throw new AlloyError("invalid_value", `invalid role: ${JSON.stringify(m.role)} (must be one of ${ROLES.join(", ")})`, {
        param: `messages[${i}].role`,
      });
    }
    const message: ChatMessage = { role, content: m.content ?? "" };
    if (m.images?.length) {
      if (i > lastTurn && role !== "tool") throw imageError(`messages[${i}].images`, model);
      message.content = [message.content, ...m.images.map(() => IMAGE_OMITTED)].filter((t) => t !== "").join("\n");
    }
    if (role === "assistant" && m.thinking) message.reasoning = m.thinking;
    if (m.tool_calls?.length) {
      message.toolCalls = m.tool_calls.map((c, j) => ({
        id: c.id ?? `call_${i}_${j}`,
        name: c.function.name,
        arguments: argumentsText(c.function.arguments),
      }));
    }
    if (role === "tool") {
      message.name = m.tool_name ?? undefined;
      message.toolCallId = m.tool_call_id ?? undefined;
    }
    return message;
  });
}
