/** A conversation as the body of a request. */
import type { AssistantTurn, Conversation } from "./types.ts";

type Message = Record<string, unknown>;

/** Everything up to, and without, the turn that is to be written. Throws when the tools are not a JSON array. */
export function requestBody({ settings, turns }: Conversation): object {
  const messages: Message[] = settings.system.trim() === "" ? [] : [{ role: "system", content: settings.system }];
  for (const turn of turns) {
    if (turn.role === "user") messages.push({ role: "user", content: turn.text });
    else if (turn.state !== "streaming") messages.push(...answered(turn));
  }
  const set = Object.entries(settings.sampling).filter(([, value]) => value !== null);
  const tools = parseTools(settings.tools);
  return {
    model: settings.model,
    messages,
    stream: true,
    stream_options: { include_usage: true },
    ...Object.fromEntries(set),
    ...(settings.effort === "" ? {} : { reasoning_effort: settings.effort }),
    ...(tools.length === 0 ? {} : { tools }),
  };
}

/** A past answer; calls without a result are left out, because chat templates want one for each. */
function answered(turn: AssistantTurn): Message[] {
  const calls = turn.calls.filter((c) => c.result !== undefined);
  if (turn.text === "" && calls.length === 0) return [];
  const message: Message = { role: "assistant", content: turn.text };
  if (turn.reasoning !== "") message.reasoning_content = turn.reasoning;
  if (calls.length === 0) return [message];
  message.tool_calls = calls.map((c) => ({ id: c.id, type: "function", function: { name: c.name, arguments: c.arguments } }));
  return [message, ...calls.map((c) => ({ role: "tool", tool_call_id: c.id, content: c.result }))];
}

/** Tool definitions from their text: whole (`{"type": "function", "function": …}`) or the function alone. */
export function parseTools(text: string): unknown[] {
  if (text.trim() === "") return [];
  let list: unknown;
  try {
    list = JSON.parse(text);
  } catch (error) {
    throw new Error(`The tools in the settings are not valid JSON: ${(error as Error).message}`);
  }
  if (!Array.isArray(list)) throw new Error('The tools in the settings must be a JSON array: [{"name": …}]');
  return list.map((tool: unknown) => {
    const named = typeof tool === "object" && tool !== null && "name" in tool && !("function" in tool);
    return named ? { type: "function", function: tool } : tool;
  });
}
