/** What a chat prompt asks of its answer. */
import type { ChatFormat, ChatMessage, ToolSpec } from "../chat/api.ts";
import type { Prompt } from "./api.ts";

export type ChatPrompt = Extract<Prompt, { kind: "chat" }>;

/** The tools that the answer may call: none, the named one, or all. */
export function offeredTools(prompt: ChatPrompt): ToolSpec[] {
  const { tools = [], foundTools = [], toolChoice } = prompt;
  if (toolChoice === "none") return [];
  const all = [...tools, ...foundTools];
  return typeof toolChoice === "object" ? all.filter((t) => t.name === toolChoice.name) : all;
}

/** Whether the answer must be calls. */
export const forcesCalls = (prompt: ChatPrompt): boolean =>
  (prompt.toolChoice === "required" || typeof prompt.toolChoice === "object") && offeredTools(prompt).length > 0;

/** Whether there may be no more than one call. */
export const isSingleCall = (prompt: ChatPrompt): boolean => prompt.singleCall === true || typeof prompt.toolChoice === "object";

export const endsWithAssistant = (messages: readonly ChatMessage[]): boolean => messages.at(-1)?.role === "assistant";

/** Whether the model may open reasoning by itself: when asked to, or when that is what its template asks for unless told otherwise. */
export function mayReason(prompt: ChatPrompt, chat: ChatFormat): boolean {
  if (prompt.continueLast && endsWithAssistant(prompt.messages)) return false;
  if (prompt.thinking !== undefined) return prompt.thinking !== "off";
  const [unasked, on, off] = [undefined, "on" as const, "off" as const].map((thinking) => chat.render(prompt.messages, { thinking }).text);
  return unasked === on && unasked !== off;
}
