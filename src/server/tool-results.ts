/** Tool results and the calls that they answer. */
import type { ChatMessage } from "../chat/api.ts";

/** Names each tool result after the call it answers: some templates write the tool's name, while clients send the call's id only. */
export function nameToolResults(messages: ChatMessage[]): ChatMessage[] {
  const names = new Map<string, string>();
  return messages.map((m) => {
    for (const call of m.toolCalls ?? []) names.set(call.id, call.name);
    if (m.role !== "tool" || m.name !== undefined || m.toolCallId === undefined) return m;
    const name = names.get(m.toolCallId);
    return name === undefined ? m : { ...m, name };
  });
}
