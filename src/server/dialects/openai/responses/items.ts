/** Input items of /v1/responses, by type (spec 2.7). Unknown types are no error: clients add new ones every month. */
import { Type, type Static } from "@sinclair/typebox";
import { fieldError } from "../../../errors.ts";
import { IMAGE_OMITTED, imageError } from "../../../media.ts";
import { opt } from "../../../validate.ts";
import { fileText } from "../messages.ts";
import { ToolList } from "./tools.ts";

const Part = Type.Object({
  type: Type.String(),
  text: opt(Type.String()),
  refusal: opt(Type.String()),
  file_data: opt(Type.String()),
});
const Text = Type.Union([Type.String(), Type.Array(Part)], { description: "a string or an array of parts" });
type Text = Static<typeof Text>;

export const MessageItem = Type.Object({
  role: Type.Union(
    (["user", "assistant", "system", "developer"] as const).map((r) => Type.Literal(r)),
    { description: "one of user, assistant, system, developer" },
  ),
  content: opt(Text),
});
export const CallItem = Type.Object({
  call_id: Type.String(),
  name: Type.String(),
  namespace: opt(Type.String()),
  arguments: opt(Type.String()),
  input: opt(Type.String()),
});
/** Calls of tools that have a type of their own instead of a name. */
export const TypedCallItem = Type.Object({
  call_id: opt(Type.String()),
  id: opt(Type.String()),
  arguments: Type.Optional(Type.Unknown()),
  action: Type.Optional(Type.Unknown()),
  operation: Type.Optional(Type.Unknown()),
});
export const OutputItem = Type.Object({
  call_id: opt(Type.String()),
  id: opt(Type.String()),
  output: Type.Optional(Type.Unknown()),
  tools: opt(ToolList),
});
export const ReasoningItem = Type.Object({
  summary: opt(Type.Array(Part)),
  content: opt(Type.Array(Part)),
  encrypted_content: opt(Type.String()),
});

/** Whether an image may be left out with a note instead of being refused, and for which model. */
export interface ImageRule {
  model: string;
  history: boolean;
}

/** Parts of a content as one text. Throws `unsupported_content` or `missing_parameter` naming the part. */
export function textOf(content: Text | null | undefined, at: string, image: ImageRule): string {
  if (content === null || content === undefined) return "";
  if (typeof content === "string") return content;
  return content.map((part, i) => partText(part, `${at}[${i}]`, image)).join("\n");
}

function partText(part: Static<typeof Part>, at: string, image: ImageRule): string {
  const need = (value: string | null | undefined, field: string): string => {
    if (value === null || value === undefined) throw fieldError("missing_parameter", `${at}.${field}`, "is required");
    return value;
  };
  switch (part.type) {
    case "input_text":
    case "output_text":
    case "text":
    case "summary_text":
    case "reasoning_text":
      return need(part.text, "text");
    case "refusal":
      return need(part.refusal, "refusal");
    case "input_image":
      if (image.history) return IMAGE_OMITTED;
      throw imageError(at, image.model);
    case "input_file":
      return fileText(need(part.file_data, "file_data"), at);
    case "input_audio":
      throw fieldError("unsupported_content", at, `is audio, which the model '${image.model}' cannot take`, "Send text only.");
    default:
      throw fieldError("unsupported_content", `${at}.type`, `is not a known content part: ${JSON.stringify(part.type)}`);
  }
}

const SEAL = "alloy1.";

/** Reasoning as the opaque text that clients keep and send back. It hides nothing; no state of a conversation stays in the server. */
export function seal(reasoning: string): string {
  return SEAL + Buffer.from(reasoning).toString("base64");
}

/** Reasoning that a client sent back: what was sealed here, else the item's own text. */
export function reasoningOf(item: Static<typeof ReasoningItem>, at: string): string {
  if (item.encrypted_content?.startsWith(SEAL)) return Buffer.from(item.encrypted_content.slice(SEAL.length), "base64").toString("utf8");
  const rule = { model: "", history: true };
  return item.content?.length ? textOf(item.content, `${at}.content`, rule) : textOf(item.summary, `${at}.summary`, rule);
}
