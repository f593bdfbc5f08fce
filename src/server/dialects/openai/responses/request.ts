/** Bodies of /v1/responses, and what of them the engine is asked (spec 2.7). */
import { Type, type Static } from "@sinclair/typebox";
import type { ChatMessage } from "../../../../chat/api.ts";
import type { GenerateRequest, ModelInfo, Prompt } from "../../../../engine/api.ts";
import { AlloyError } from "../../../../support/errors.ts";
import type { RequestContext } from "../../../context.ts";
import { fieldError } from "../../../errors.ts";
import { parseKeepAlive } from "../../../keep-alive.ts";
import { effort, thinkingFor } from "../../../thinking.ts";
import { opt } from "../../../validate.ts";
import { constraintOf, formatConstraint } from "../constraint.ts";
import { openaiSampling, SharedFields } from "../request.ts";
import { conversation, type InputItem } from "./input.ts";
import { ToolFields, type ToolSet, toolSet } from "./tools.ts";

const JsonObject = Type.Record(Type.String(), Type.Unknown());
const { stop: _stop, n: _n, response_format: _format, stream_options: _options, ...Sampling } = SharedFields;

export const Body = Type.Object({
  ...Sampling,
  ...ToolFields,
  input: opt(Type.Union([Type.String(), Type.Array(JsonObject)], { description: "a string or an array of items" })),
  instructions: opt(Type.String()),
  max_output_tokens: opt(Type.Integer({ minimum: 1 })),
  top_logprobs: opt(Type.Integer({ minimum: 0, maximum: 20 })),
  reasoning: opt(Type.Object({ effort: opt(Type.String()), summary: opt(Type.String()) })),
  text: opt(
    Type.Object({
      format: opt(Type.Object({ type: Type.String(), name: opt(Type.String()), schema: opt(JsonObject), strict: opt(Type.Boolean()) })),
      verbosity: opt(Type.String()),
    }),
  ),
  include: opt(Type.Array(Type.String())),
  store: opt(Type.Boolean()),
  previous_response_id: opt(Type.String()),
  truncation: opt(Type.Union([Type.Literal("auto"), Type.Literal("disabled")], { description: '"auto" or "disabled"' })),
  background: opt(Type.Boolean()),
  conversation: Type.Optional(Type.Unknown()),
  prompt: Type.Optional(Type.Unknown()),
  max_tool_calls: opt(Type.Integer()),
  metadata: opt(JsonObject),
  user: opt(Type.String()),
  prompt_cache_key: opt(Type.String()),
  safety_identifier: opt(Type.String()),
});
export type Body = Static<typeof Body>;

export interface ParsedPrompt {
  prompt: Extract<Prompt, { kind: "chat" }>;
  tools: ToolSet;
  /** The request's own items, and the whole conversation with those of the previous response in front. */
  input: InputItem[];
  history: InputItem[];
}

/** Throws `unsupported_feature` for what needs state beyond a response, `previous_response_not_found`'s error for an unknown one. */
export function parsePrompt(context: RequestContext, info: ModelInfo, body: Body): ParsedPrompt {
  refuseUnsupported(body);
  const input = inputItems(context, body.input);
  const history = [...previous(context, body.previous_response_id), ...input];
  if (history.length === 0 && !body.instructions) throw fieldError("missing_parameter", "input", "is required");
  const { messages, found } = conversation(history, body.instructions, info.name);
  if (messages.length === 0) throw fieldError("invalid_value", "input", "holds no item that this server can show to a model");
  const tools = toolSet(body, found);
  return {
    prompt: {
      kind: "chat",
      messages,
      ...(tools.specs.length > 0 ? { tools: tools.specs } : {}),
      ...(tools.found.length > 0 ? { foundTools: tools.found } : {}),
      ...(tools.specs.length + tools.found.length > 0 ? { toolChoice: tools.choice, singleCall: body.parallel_tool_calls === false } : {}),
      thinking: thinkingFor(info, effort(body.reasoning?.effort, "reasoning.effort")),
    },
    tools,
    input,
    history,
  };
}

export function generateRequest(context: RequestContext, info: ModelInfo, body: Body, prompt: Prompt): GenerateRequest {
  const format = body.text?.format;
  return {
    id: context.id,
    model: info.name,
    prompt,
    sampling: openaiSampling(body),
    maxTokens: body.max_output_tokens ?? undefined,
    constraint: constraintOf(body, format ? formatConstraint(format, "text.format", "text.format.schema") : undefined),
    ignoreEos: body.ignore_eos ?? undefined,
    logprobs: wantsLogprobs(body) ? (body.top_logprobs ?? 0) : undefined,
    keepAlive: parseKeepAlive(body.keep_alive),
  };
}

export function wantsLogprobs(body: Body): boolean {
  return (body.include ?? []).includes("message.output_text.logprobs") || (body.top_logprobs ?? 0) > 0;
}

/** `truncation: "auto"`: everything before the last user turn may go, instructions aside. */
export function beforeLastTurn(messages: ChatMessage[]): ChatMessage[] {
  const last = messages.findLastIndex((m) => m.role === "user");
  return messages.filter((m, i) => i < last && m.role !== "system" && m.role !== "developer");
}

/** References to items of earlier responses become those items; the AI SDK sends no others back. One that is not kept any more is passed over. */
function inputItems(context: RequestContext, input: Body["input"]): InputItem[] {
  if (input === null || input === undefined) return [];
  if (typeof input === "string") return [{ type: "message", role: "user", content: [{ type: "input_text", text: input }] }];
  return input.map((item) => {
    const referenced = item.type === "item_reference" && typeof item.id === "string" ? context.state.responses.item(item.id) : undefined;
    return referenced ?? item;
  });
}

function previous(context: RequestContext, id: string | null | undefined): InputItem[] {
  if (id === null || id === undefined) return [];
  const stored = context.state.responses.get(id);
  if (stored) return [...stored.history, ...stored.output];
  throw new AlloyError("invalid_value", `Previous response with id '${id}' not found.`, {
    hint: "Responses are kept for an hour, unless 'store' is false; send the whole conversation as 'input'.",
    param: "previous_response_id",
    data: { code: "previous_response_not_found" },
  });
}

function refuseUnsupported(body: Body): void {
  const refuse = (field: string, hint: string) => {
    throw fieldError("unsupported_feature", field, "is not supported", hint);
  };
  if (body.background) refuse("background", "Leave it out and stream the response.");
  if (body.conversation !== null && body.conversation !== undefined)
    refuse("conversation", "Use 'previous_response_id' or send all items.");
  if (body.prompt !== null && body.prompt !== undefined) refuse("prompt", "Send 'instructions' and 'input'.");
}
