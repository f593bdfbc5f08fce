/** Input items of /v1/responses to neutral messages (spec 2.7). */
import type { Static } from "@sinclair/typebox";
import type { ChatMessage, ToolCall } from "../../../../chat/api.ts";
import { argumentsText } from "../../../tool-json.ts";
import { nameToolResults } from "../../../tool-results.ts";
import { validate } from "../../../validate.ts";
import { CallItem, type ImageRule, MessageItem, OutputItem, ReasoningItem, reasoningOf, textOf, TypedCallItem } from "./items.ts";
import { foundText, shownName, type ToolList } from "./tools.ts";

export type InputItem = Record<string, unknown>;

/** Calls of tools with a type of their own, and their results. */
const TYPED_CALLS = new Set(["tool_search_call", "local_shell_call", "shell_call", "apply_patch_call"]);
const OUTPUTS = new Set([
  "function_call_output",
  "custom_tool_call_output",
  "tool_search_output",
  "local_shell_call_output",
  "shell_call_output",
  "apply_patch_call_output",
]);

export interface Conversation {
  messages: ChatMessage[];
  /** Tools that searches within the conversation found. */
  found: Static<typeof ToolList>;
}

/** Throws what `validate` does, naming the item (`input[3].content`), and `unsupported_content` for images and audio of this turn. */
export function conversation(items: readonly InputItem[], instructions: string | null | undefined, model: string): Conversation {
  const turns = new Turns();
  const found: Static<typeof ToolList> = [];
  if (instructions) turns.add({ role: "system", content: instructions });
  const lastTurn = items.findLastIndex((item) => item.role === "assistant" || /_call(_output)?$/.test(typeOf(item)));
  items.forEach((item, i) => {
    const at = `input[${i}]`;
    const type = typeOf(item);
    // Images of earlier turns must not end a session that moved to a text-only model.
    const image = { model, history: i < lastTurn };
    if (type === "message") {
      const { role, content } = validate(MessageItem, item, at);
      const text = textOf(content, `${at}.content`, image);
      if (role === "assistant") turns.text(text);
      else turns.add({ role, content: text });
    } else if (type === "reasoning") turns.reasoning(reasoningOf(validate(ReasoningItem, item, at), at));
    else if (type === "function_call" || type === "custom_tool_call") turns.call(namedCall(item, type, at));
    else if (TYPED_CALLS.has(type)) turns.call(typedCall(item, type, at));
    else if (OUTPUTS.has(type)) {
      const result = validate(OutputItem, item, at);
      if (type === "tool_search_output") found.push(...(result.tools ?? []));
      turns.add({ role: "tool", toolCallId: result.call_id ?? result.id ?? undefined, content: outputText(result, at, model) });
    }
  });
  return { messages: nameToolResults(turns.messages), found };
}

function typeOf(item: InputItem): string {
  return typeof item.type === "string" ? item.type : "message";
}

function namedCall(item: InputItem, type: string, at: string): ToolCall {
  const call = validate(CallItem, item, at);
  const text = type === "custom_tool_call" ? JSON.stringify({ input: call.input ?? "" }) : argumentsText(call.arguments);
  return { id: call.call_id, name: shownName(call.name, call.namespace), arguments: text };
}

function typedCall(item: InputItem, type: string, at: string): ToolCall {
  const call = validate(TypedCallItem, item, at);
  const text = argumentsText(call.arguments ?? call.action ?? call.operation);
  return { id: call.call_id ?? call.id ?? at, name: type.replace(/_call$/, ""), arguments: text };
}

/** Results are text, text parts, or, for tools of a type of their own, whatever JSON they hold. */
function outputText(result: Static<typeof OutputItem>, at: string, model: string): string {
  // The definitions are shown where they were found: the list at the head of the prompt does not have them in earlier turns.
  if (result.tools) return foundText(result.tools, `${at}.tools`);
  const { output } = result;
  if (output === undefined || output === null) return "";
  if (typeof output === "string") return output;
  const parts =
    Array.isArray(output) && output.every((p) => typeof p === "object" && p !== null && "type" in p && String(p.type).startsWith("input_"));
  if (!parts) return JSON.stringify(output);
  const rule: ImageRule = { model, history: true };
  return textOf(output as { type: string; text?: string }[], `${at}.output`, rule);
}

/** Joins the items of one assistant turn: reasoning, text and the calls that await their results. */
class Turns {
  readonly messages: ChatMessage[] = [];
  #turn: ChatMessage | undefined;

  add(message: ChatMessage): void {
    this.#turn = undefined;
    this.messages.push(message);
  }

  reasoning(text: string): void {
    const turn = this.#open((t) => t.content === "" || t.toolCalls !== undefined);
    if (text !== "") turn.reasoning = turn.reasoning === undefined ? text : `${turn.reasoning}\n${text}`;
  }

  text(text: string): void {
    const turn = this.#open((t) => t.content === "" || t.toolCalls !== undefined);
    turn.content = turn.content === "" ? text : `${turn.content}\n${text}`;
  }

  call(call: ToolCall): void {
    const turn = this.#open(() => true);
    turn.toolCalls = [...(turn.toolCalls ?? []), call];
  }

  /** The turn at the end if the item still belongs to it, else a new one. */
  #open(belongs: (turn: ChatMessage) => boolean): ChatMessage {
    if (this.#turn && belongs(this.#turn)) return this.#turn;
    this.#turn = { role: "assistant", content: "" };
    this.messages.push(this.#turn);
    return this.#turn;
  }
}
