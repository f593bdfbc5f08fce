/** Anthropic messages, content blocks and system prompts to neutral messages (spec 3.2). */
import { Type, type Static } from "@sinclair/typebox";
import type { ChatMessage, ToolCall } from "../../../chat/api.ts";
import { AlloyError } from "../../../support/errors.ts";
import { fieldError } from "../../errors.ts";
import { IMAGE_OMITTED, imageError } from "../../media.ts";
import { argumentsText } from "../../tool-json.ts";
import { nameToolResults } from "../../tool-results.ts";
import { opt } from "../../validate.ts";
import { engineToolId, renderReference, type ToolSet } from "./tools.ts";

/** Fields of all block types; which of them a type needs is checked where it is read. */
const Block = Type.Object({
  type: Type.String(),
  text: opt(Type.String()),
  title: opt(Type.String()),
  thinking: opt(Type.String()),
  id: opt(Type.String()),
  name: opt(Type.String()),
  input: Type.Optional(Type.Unknown()),
  tool_use_id: opt(Type.String()),
  tool_name: opt(Type.String()),
  is_error: opt(Type.Boolean()),
  source: Type.Optional(Type.Unknown()),
  content: Type.Optional(Type.Unknown()),
});
type Block = Static<typeof Block>;

const ROLES = ["user", "assistant", "system"] as const;
export const Message = Type.Object({
  role: Type.Union(
    ROLES.map((r) => Type.Literal(r)),
    { description: `one of ${ROLES.join(", ")}` },
  ),
  content: Type.Union([Type.String(), Type.Array(Block, { minItems: 1 })]),
});
type Message = Static<typeof Message>;

export const System = opt(Type.Union([Type.String(), Type.Array(Type.Object({ type: Type.String(), text: opt(Type.String()) }))]));
type System = Static<typeof System> | undefined;

/** Claude Code's billing block changes with each conversation and would spoil the cached prefix, being the very first. */
const BILLING = "x-anthropic-billing-header:";

export function systemText(system: System): string | undefined {
  if (system === null || system === undefined) return undefined;
  const texts = typeof system === "string" ? [system] : system.map((b) => b.text ?? "");
  const kept = texts.filter((t) => t !== "" && !t.startsWith(BILLING));
  return kept.length > 0 ? kept.join("\n\n") : undefined;
}

/** The conversation with `system` in front. System messages in the middle stay where they are. */
export function chatMessages(system: System, messages: Message[], model: string, tools: ToolSet): ChatMessage[] {
  const head = systemText(system);
  const lastTurn = messages.findLastIndex((m) => m.role === "assistant");
  const result: ChatMessage[] = head === undefined ? [] : [{ role: "system", content: head }];
  messages.forEach((message, i) => {
    const where = `messages[${i}].content`;
    const blocks: Block[] = typeof message.content === "string" ? [{ type: "text", text: message.content }] : message.content;
    const reader = new BlockReader(model, i < lastTurn, tools);
    if (message.role === "assistant") append(result, reader.assistant(blocks, where));
    else for (const m of reader.user(blocks, where, message.role)) append(result, m);
  });
  return nameToolResults(result);
}

/** Consecutive turns of one role are one turn. */
function append(messages: ChatMessage[], next: ChatMessage): void {
  const last = messages.at(-1);
  if (last?.role !== next.role || next.role === "tool") {
    messages.push(next);
    return;
  }
  last.content = join(last.content, next.content);
  if (next.reasoning) last.reasoning = join(last.reasoning ?? "", next.reasoning);
  if (next.toolCalls) last.toolCalls = [...(last.toolCalls ?? []), ...next.toolCalls];
}

class BlockReader {
  constructor(
    private readonly model: string,
    private readonly history: boolean,
    private readonly tools: ToolSet,
  ) {}

  assistant(blocks: Block[], where: string): ChatMessage {
    const texts: string[] = [];
    const thoughts: string[] = [];
    const calls: ToolCall[] = [];
    blocks.forEach((block, i) => {
      if (block.type === "thinking") thoughts.push(block.thinking ?? "");
      else if (block.type === "tool_use") {
        const id = needed(block.id, `${where}[${i}].id`);
        calls.push({ id: engineToolId(id), name: needed(block.name, `${where}[${i}].name`), arguments: argumentsText(block.input) });
      } else if (block.type !== "redacted_thinking") texts.push(this.#text(block, `${where}[${i}]`));
    });
    const message: ChatMessage = { role: "assistant", content: texts.filter(Boolean).join("\n") };
    if (thoughts.some(Boolean)) message.reasoning = thoughts.join("\n");
    if (calls.length > 0) message.toolCalls = calls;
    return message;
  }

  /** Tool results become turns of their own, before the text of the message that brought them. */
  user(blocks: Block[], where: string, role: "user" | "system"): ChatMessage[] {
    const texts: string[] = [];
    const results: ChatMessage[] = [];
    blocks.forEach((block, i) => {
      if (block.type !== "tool_result") texts.push(this.#text(block, `${where}[${i}]`));
      else {
        const id = needed(block.tool_use_id, `${where}[${i}].tool_use_id`);
        const text = this.#inner(block.content, `${where}[${i}].content`, true);
        results.push({ role: "tool", toolCallId: engineToolId(id), content: block.is_error ? `error: ${text}` : text });
      }
    });
    const text = texts.filter(Boolean).join("\n");
    return text === "" && results.length > 0 ? results : [...results, { role, content: text }];
  }

  /** Text of one block; unknown kinds are dropped, since clients add some every month. */
  #text(block: Block, where: string, inResult = false): string {
    switch (block.type) {
      case "text":
        return needed(block.text, `${where}.text`);
      case "image":
        if (this.history || inResult) return IMAGE_OMITTED;
        throw imageError(where, this.model);
      case "document":
        return join(block.title ?? "", this.#document(block.source, where));
      case "search_result":
        return join(block.title ?? "", this.#inner(block.content, `${where}.content`, inResult));
      case "tool_reference":
        return renderReference(this.tools, block.tool_name ?? "");
      case "server_tool_use":
        return `[${block.name ?? "tool"} ${argumentsText(block.input)}]`;
      default:
        return block.type.endsWith("_tool_result") ? serverResult(block.content) : "";
    }
  }

  #inner(content: unknown, where: string, inResult: boolean): string {
    if (content === undefined || content === null) return "";
    if (typeof content === "string") return content;
    if (!Array.isArray(content)) throw fieldError("invalid_type", where, "must be a string or an array of content blocks");
    return content
      .map((block: unknown, i) => {
        if (typeof block !== "object" || block === null || typeof (block as Block).type !== "string") {
          throw fieldError("invalid_type", `${where}[${i}]`, "must be a content block");
        }
        return this.#text(block as Block, `${where}[${i}]`, inResult);
      })
      .filter((t) => t !== "")
      .join("\n");
  }

  #document(source: unknown, where: string): string {
    const s = (typeof source === "object" && source !== null ? source : {}) as { type?: unknown; data?: unknown; content?: unknown };
    if (s.type === "text" && typeof s.data === "string") return s.data;
    if (s.type === "content") return this.#inner(s.content, `${where}.source.content`, false);
    if (s.type === "base64") return "[document omitted: only text documents can be read]";
    throw new AlloyError("unsupported_content", `'${where}.source' must be a text, content or base64 source`, {
      param: `${where}.source`,
      data: { reason: "must be a text, content or base64 source" },
    });
  }
}

function serverResult(content: unknown): string {
  return content === undefined || content === null ? "" : typeof content === "string" ? content : JSON.stringify(content);
}

function join(a: string, b: string): string {
  return a === "" || b === "" ? a + b : `${a}\n${b}`;
}

function needed(value: string | null | undefined, param: string): string {
  if (value === null || value === undefined) throw fieldError("missing_parameter", param, "is required");
  return value;
}
