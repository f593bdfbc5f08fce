/** Conversations in the shape that a template takes, with what it cannot show written another way. */
import type { ChatMessage, ToolCall, ToolSpec } from "./api.ts";
import type { ToolFormat } from "./formats/format.ts";
import { argumentsObject, type CallGrammar, writeCalls } from "./formats/grammar.ts";
import { hermes } from "./formats/hermes.ts";
import type { TemplateProfile } from "./profile.ts";

type CallStyle = Pick<ToolFormat, "grammar" | "instructions" | "callId">;

export type TemplateMessage = Record<string, unknown>;

/** Tools as templates expect them (the OpenAI shape). */
export function templateTools(tools: readonly ToolSpec[]): Record<string, unknown>[] {
  return tools.map(({ name, description, parameters, strict }) => ({
    type: "function",
    function: {
      name,
      description: description ?? "",
      parameters: parameters ?? { type: "object", properties: {} },
      ...(strict === undefined ? {} : { strict }),
    },
  }));
}

/** Messages for a template of this profile. `tools` are those that the template itself cannot show. */
export function templateMessages(
  messages: readonly ChatMessage[],
  profile: TemplateProfile,
  format: CallStyle,
  tools: readonly ToolSpec[] = [],
): TemplateMessage[] {
  let list = messages.map((m): ChatMessage => (m.role === "developer" ? { ...m, role: "system" } : m));
  list = resultsInOrder(list);
  if (format.callId) list = withCallIds(list, format.callId);
  if (tools.length > 0) list = withToolInstructions(list, format.instructions?.(tools) ?? defaultInstructions(tools, format.grammar));
  if (!profile.callHistory) list = list.map((m) => callsAsText(m, format));
  if (!profile.toolRole) list = list.map(resultAsUser);
  if (!profile.parallelCalls) list = oneCallAtATime(list);
  if (profile.textApart) list = list.flatMap(textApart);
  list = placeSystem(list, profile);
  if (profile.alternate) list = merged(list);
  const shown = list.map((m) => templateMessage(m, profile));
  return profile.resultsInCalls ? withResults(list, shown) : shown;
}

/** Results in the order of their calls: many templates show no ids. */
function resultsInOrder(list: readonly ChatMessage[]): ChatMessage[] {
  const out: ChatMessage[] = [];
  let order: string[] = [];
  for (let i = 0; i < list.length; i++) {
    if (list[i].role !== "tool") {
      order = list[i].toolCalls?.map((c) => c.id) ?? [];
      out.push(list[i]);
      continue;
    }
    const results: ChatMessage[] = [list[i]];
    while (list[i + 1]?.role === "tool") results.push(list[++i]);
    const known = results.every((r) => r.toolCallId !== undefined && order.includes(r.toolCallId));
    out.push(...(known ? results.toSorted((a, b) => order.indexOf(a.toolCallId ?? "") - order.indexOf(b.toolCallId ?? "")) : results));
  }
  return out;
}

/** Calls and their results with the ids that a family expects. */
function withCallIds(list: readonly ChatMessage[], callId: (name: string, index: number) => string): ChatMessage[] {
  let index = 0;
  const ids = new Map<string, string>();
  return list.map((m) => {
    if (m.role === "tool") return { ...m, toolCallId: ids.get(m.toolCallId ?? "") ?? m.toolCallId };
    const toolCalls = m.toolCalls?.map((c) => {
      const id = callId(c.name, index++);
      ids.set(c.id, id);
      return { ...c, id };
    });
    return toolCalls ? { ...m, toolCalls } : m;
  });
}

/** Results as a field of the message whose calls they answer. */
function withResults(list: readonly ChatMessage[], shown: readonly TemplateMessage[]): TemplateMessage[] {
  const out: TemplateMessage[] = [];
  let caller: ChatMessage | undefined;
  list.forEach((m, i) => {
    if (m.role !== "tool" || !caller) {
      caller = m.toolCalls?.length ? m : undefined;
      out.push(shown[i]);
      return;
    }
    const name = m.name ?? caller.toolCalls?.find((c) => c.id === m.toolCallId)?.name;
    const last = out[out.length - 1];
    const before = (last.tool_responses as unknown[] | undefined) ?? [];
    out[out.length - 1] = { ...last, tool_responses: [...before, { name, response: m.content }] };
  });
  return out;
}

function templateMessage(m: ChatMessage, profile: TemplateProfile): TemplateMessage {
  const hasCalls = m.toolCalls !== undefined && m.toolCalls.length > 0;
  const text: unknown = profile.typedContent ? [{ type: "text", text: m.content }] : m.content;
  const out: TemplateMessage = { role: m.role, content: m.content === "" && hasCalls ? profile.emptyContent : text };
  if (m.role === "assistant" && m.reasoning && profile.reasoningField && !(profile.reasoningAlone && hasCalls && m.content !== ""))
    out[profile.reasoningField] = m.reasoning;
  if (hasCalls) out.tool_calls = m.toolCalls?.map((c) => templateCall(c, profile));
  if (m.role === "tool") {
    out.tool_call_id = profile.shortIds ? shortId(m.toolCallId ?? "") : (m.toolCallId ?? "");
    if (m.name !== undefined) out.name = m.name;
  }
  return out;
}

function templateCall(call: ToolCall, profile: TemplateProfile): Record<string, unknown> {
  const text = call.arguments.trim() === "" ? "{}" : call.arguments;
  return {
    id: profile.shortIds ? shortId(call.id) : call.id,
    type: "function",
    function: { name: call.name, arguments: profile.objectArguments ? argumentsObject(text) : text },
  };
}

/** Nine letters and digits, as Mistral's templates demand; the same for the same id. */
export function shortId(id: string): string {
  return /^[A-Za-z0-9]{9}$/.test(id) ? id : Bun.hash(id).toString(36).padStart(9, "0").slice(-9);
}

function callsAsText(m: ChatMessage, format: CallStyle): ChatMessage {
  if (m.role !== "assistant" || !m.toolCalls?.length) return m;
  const calls = writeCalls(
    format.grammar,
    m.toolCalls.map((c) => ({ name: c.name, arguments: c.arguments.trim() === "" ? "{}" : c.arguments })),
  );
  return { role: m.role, reasoning: m.reasoning, content: m.content === "" ? calls : `${m.content}\n${calls}` };
}

const resultAsUser = (m: ChatMessage): ChatMessage =>
  m.role === "tool" ? { role: "user", content: `<tool_response>\n${m.content}\n</tool_response>` } : m;

/** An assistant message with several calls becomes several, each followed by its result. */
function oneCallAtATime(list: readonly ChatMessage[]): ChatMessage[] {
  const out: ChatMessage[] = [];
  for (let i = 0; i < list.length; i++) {
    const m = list[i];
    if (!m.toolCalls || m.toolCalls.length < 2) {
      out.push(m);
      continue;
    }
    const results: ChatMessage[] = [];
    while (list[i + 1]?.role === "tool") results.push(list[++i]);
    m.toolCalls.forEach((call, n) => {
      out.push({ ...m, content: n === 0 ? m.content : "", reasoning: n === 0 ? m.reasoning : undefined, toolCalls: [call] });
      const at = results.findIndex((r) => r.toolCallId === call.id);
      if (at >= 0) out.push(...results.splice(at, 1));
    });
    out.push(...results);
  }
  return out;
}

/** Text before calls as a message of its own, for templates that show calls only in messages without text. */
function textApart(m: ChatMessage): ChatMessage[] {
  if (!m.toolCalls?.length || m.content === "") return [m];
  return [
    { role: "assistant", content: m.content, reasoning: m.reasoning },
    { role: "assistant", content: "", toolCalls: m.toolCalls },
  ];
}

const reminder = (text: string) => `<system-reminder>\n${text}\n</system-reminder>`;
const joined = (a: string, b: string) => (a === "" ? b : b === "" ? a : `${a}\n\n${b}`);

/**
 * Where the template has no place for a system message: one at the head goes into the first user turn, a later one into
 * the user turn before it (never to the head: that would change the beginning of every prompt of the conversation).
 */
function placeSystem(list: readonly ChatMessage[], profile: TemplateProfile): ChatMessage[] {
  const start = list.findIndex((m) => m.role !== "system");
  const head = start < 0 ? list : list.slice(0, start);
  const body = start < 0 ? [] : list.slice(start);
  const out: ChatMessage[] = [];
  const text = head.map((m) => m.content).reduce(joined, "");
  let first = text;
  if (profile.system && head.length > 0) {
    out.push(...(profile.lateSystem ? head : [{ ...head[0], content: text }]));
    first = "";
  }
  for (const m of body) {
    const last = out.at(-1);
    if (m.role === "user" && first !== "") {
      out.push({ ...m, content: joined(first, m.content) });
      first = "";
    } else if (m.role !== "system" || profile.lateSystem) out.push(m);
    else if (last?.role === "user") out[out.length - 1] = { ...last, content: joined(last.content, reminder(m.content)) };
    else out.push({ role: "user", content: reminder(m.content) });
  }
  return first === "" ? out : [{ role: "user", content: first }, ...out];
}

/** Neighbours of the same role as one message, for templates that insist on turns. */
function merged(list: readonly ChatMessage[]): ChatMessage[] {
  const out: ChatMessage[] = [];
  for (const m of list) {
    const last = out.at(-1);
    const mergeable = last && last.role === m.role && m.role !== "tool" && !last.toolCalls?.length && !m.toolCalls?.length;
    if (mergeable) out[out.length - 1] = { ...last, content: joined(last.content, m.content) };
    else out.push(m);
  }
  return out;
}

/** For templates without tools: the tools and the way to call them, in the system message. */
function withToolInstructions(list: readonly ChatMessage[], text: string): ChatMessage[] {
  const [head, ...rest] = list;
  if (head?.role === "system") return [{ ...head, content: joined(head.content, text) }, ...rest];
  return [{ role: "system", content: text }, ...list];
}

/** The form in which Hermes models, and many others with them, were taught; calls in the words of the model's own format. */
function defaultInstructions(tools: readonly ToolSpec[], grammar: CallGrammar): string {
  const example = {
    name: "<function-name>",
    arguments: grammar.arguments.style === "json" ? "<arguments-object>" : '{"<argument>": "<value>"}',
  };
  return [
    "# Tools",
    "",
    "You may call one or more functions to help with the user's request. Their signatures are within <tools></tools>:",
    "<tools>",
    ...templateTools(tools).map((t) => JSON.stringify(t)),
    "</tools>",
    "",
    grammar === hermes.grammar
      ? "For each call, return a JSON object with the function's name and arguments within <tool_call></tool_call>:"
      : "Write calls in this form:",
    writeCalls(grammar, [example]),
  ].join("\n");
}
