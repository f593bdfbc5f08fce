/** Chat-completions messages to neutral ones (spec 2.1). */
import { Type, type Static } from "@sinclair/typebox";
import type { ChatMessage, ToolCall } from "../../../chat/api.ts";
import { fieldError } from "../../errors.ts";
import { IMAGE_OMITTED, imageError } from "../../media.ts";
import { nameToolResults } from "../../tool-results.ts";
import { opt } from "../../validate.ts";

const Part = Type.Object({
  type: Type.String(),
  text: opt(Type.String()),
  refusal: opt(Type.String()),
  thinking: opt(Type.String()),
  image_url: opt(Type.Union([Type.String(), Type.Object({ url: Type.String() })], { description: "a URL or an object with url" })),
  file: opt(Type.Object({ file_data: opt(Type.String()), filename: opt(Type.String()) })),
});
const FunctionCall = Type.Object({ name: Type.String(), arguments: opt(Type.String()) });
const Call = Type.Object({
  id: opt(Type.String()),
  type: opt(Type.String()),
  function: opt(FunctionCall),
  custom: opt(Type.Object({ name: Type.String(), input: opt(Type.String()) })),
});

const ROLES = ["system", "developer", "user", "assistant", "tool", "function"] as const;

export const Message = Type.Object({
  role: Type.Union(
    ROLES.map((r) => Type.Literal(r)),
    { description: `one of ${ROLES.join(", ")}` },
  ),
  content: opt(Type.Union([Type.String(), Type.Array(Part)])),
  name: opt(Type.String()),
  tool_calls: opt(Type.Array(Call)),
  function_call: opt(FunctionCall),
  tool_call_id: opt(Type.String()),
  reasoning_content: opt(Type.String()),
  reasoning: opt(Type.String()),
});

type Message = Static<typeof Message>;
type Part = Static<typeof Part>;

/** Throws `unsupported_content` or `missing_parameter` naming the part. */
export function chatMessages(messages: Message[], model: string): ChatMessage[] {
  const lastTurn = messages.findLastIndex((m) => m.role === "assistant");
  const result = messages.map((m, i) => {
    // Images of earlier turns must not end a session that moved to a text-only model.
    const history = i < lastTurn || m.role === "tool";
    const { text, thinking } = content(m.content, `messages[${i}].content`, { model, history });
    const reasoning = m.reasoning_content ?? m.reasoning ?? thinking;
    const calls = toolCalls(m, i);
    const message: ChatMessage = { role: m.role === "function" ? "tool" : m.role, content: text };
    if (m.role === "assistant" && reasoning) message.reasoning = reasoning;
    if (calls.length > 0) message.toolCalls = calls;
    if (message.role === "tool") {
      message.toolCallId = m.tool_call_id ?? undefined;
      message.name = m.name ?? undefined;
    }
    return message;
  });
  return nameToolResults(result);
}

function toolCalls(message: Message, at: number): ToolCall[] {
  const calls = (message.tool_calls ?? []).map((call, j): ToolCall => {
    const id = call.id ?? `call_${at}_${j}`;
    if (call.custom) return { id, name: call.custom.name, arguments: JSON.stringify({ input: call.custom.input ?? "" }) };
    if (!call.function) throw fieldError("missing_parameter", `messages[${at}].tool_calls[${j}].function`, "is required");
    return { id, name: call.function.name, arguments: call.function.arguments || "{}" };
  });
  const legacy = message.function_call;
  if (legacy) calls.push({ id: `call_${at}`, name: legacy.name, arguments: legacy.arguments || "{}" });
  return calls;
}

function content(
  value: Message["content"],
  param: string,
  image: { model: string; history: boolean },
): { text: string; thinking: string | undefined } {
  if (value === null || value === undefined) return { text: "", thinking: undefined };
  if (typeof value === "string") return { text: value, thinking: undefined };
  const texts: string[] = [];
  const thoughts: string[] = [];
  value.forEach((part, i) => {
    const where = `${param}[${i}]`;
    if (part.type === "thinking") thoughts.push(required(part.thinking, `${where}.thinking`));
    else texts.push(partText(part, where, image));
  });
  return { text: texts.join("\n"), thinking: thoughts.length > 0 ? thoughts.join("\n") : undefined };
}

function partText(part: Part, where: string, image: { model: string; history: boolean }): string {
  switch (part.type) {
    case "text":
      return required(part.text, `${where}.text`);
    case "refusal":
      return required(part.refusal, `${where}.refusal`);
    case "image_url":
      required(part.image_url, `${where}.image_url`);
      if (image.history) return IMAGE_OMITTED;
      throw imageError(where, image.model);
    case "file":
      return fileText(required(part.file?.file_data, `${where}.file.file_data`), where);
    case "input_audio":
      throw fieldError("unsupported_content", where, `is audio, which the model '${image.model}' cannot take`);
    default:
      throw fieldError("unsupported_content", `${where}.type`, `is not a known content part: ${JSON.stringify(part.type)}`);
  }
}

/** Text of an attached file given as a data URL or bare base64. */
export function fileText(data: string, where: string): string {
  const base64 = data.replace(/^data:[^,]*;base64,/i, "");
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)));
    // A PDF of nothing but ASCII still is none that a model could read.
    if (!text.includes("\0") && !text.startsWith("%PDF-")) return text;
  } catch {
    // Not base64 or not UTF-8.
  }
  throw fieldError("unsupported_content", where, "is a file that is not text", "Send the file's text instead.");
}

function required<T>(value: T | null | undefined, param: string): T {
  if (value === null || value === undefined) throw fieldError("missing_parameter", param, "is required");
  return value;
}
