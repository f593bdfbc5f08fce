/** Body of /v1/messages and its count_tokens to an engine prompt (spec 3.2). */
import { Type, type Static } from "@sinclair/typebox";
import type { Thinking } from "../../../chat/api.ts";
import type { Constraint, ModelInfo, Prompt } from "../../../engine/api.ts";
import { AlloyError } from "../../../support/errors.ts";
import { fieldError } from "../../errors.ts";
import { effort, thinkingFor } from "../../thinking.ts";
import { opt } from "../../validate.ts";
import { chatMessages, Message, System } from "./messages.ts";
import { ToolChoice, Tools, toolSet, type ToolSet } from "./tools.ts";

const OutputFormat = Type.Object({ type: Type.String(), schema: opt(Type.Record(Type.String(), Type.Unknown())) });

/** What both routes take. */
export const PromptFields = {
  model: Type.String({ minLength: 1 }),
  messages: Type.Array(Message, { minItems: 1 }),
  system: System,
  tools: Tools,
  tool_choice: ToolChoice,
  thinking: opt(Type.Object({ type: Type.String(), budget_tokens: opt(Type.Integer({ minimum: 1 })) })),
  output_config: opt(Type.Object({ effort: opt(Type.String()), format: opt(OutputFormat) })),
};
const PromptBody = Type.Object(PromptFields);
type PromptBody = Static<typeof PromptBody>;

export interface ParsedPrompt {
  prompt: Extract<Prompt, { kind: "chat" }>;
  tools: ToolSet;
}

/** Throws for anything in the body that makes no conversation. */
export function parsePrompt(info: ModelInfo, body: PromptBody): ParsedPrompt {
  const tools = toolSet(body.tools, body.tool_choice, referencedTools(body.messages));
  const messages = chatMessages(body.system, body.messages, info.name, tools);
  const thinking = requestedThinking(body);
  const last = messages.at(-1)!;
  const continueLast = last.role === "assistant" && !last.toolCalls;
  if (continueLast && thinking !== "off") {
    throw new AlloyError("invalid_value", "the last message is from the assistant, which cannot be continued while thinking is on", {
      param: "messages",
      data: { reason: "the last message is from the assistant, which cannot be continued while thinking is on" },
    });
  }
  return {
    tools,
    prompt: {
      kind: "chat",
      messages,
      ...(tools.visible.length > 0 ? { tools: tools.visible } : {}),
      ...(tools.found.length > 0 ? { foundTools: tools.found } : {}),
      ...(tools.visible.length + tools.found.length > 0 ? { toolChoice: tools.choice, singleCall: tools.singleCall } : {}),
      thinking: thinkingFor(info, thinking),
      ...(body.thinking?.type === "enabled" && body.thinking.budget_tokens ? { thinkingBudget: body.thinking.budget_tokens } : {}),
      continueLast,
    },
  };
}

/** What the answer must look like. */
export function outputFormat(format: Static<typeof OutputFormat> | null | undefined): Constraint | undefined {
  if (!format || format.type === "text") return undefined;
  const param = "output_config.format";
  if (format.type !== "json_schema")
    throw fieldError("invalid_value", `${param}.type`, `must be "json_schema", not ${JSON.stringify(format.type)}`);
  if (!format.schema) throw fieldError("missing_parameter", `${param}.schema`, "is required");
  return { kind: "schema", schema: format.schema, strict: false, param: `${param}.schema` };
}

/** Absent means off even beside an effort: with thinking switched off Claude Code still sends one. */
function requestedThinking(body: PromptBody): Thinking {
  const { thinking, output_config: output } = body;
  const level = effort(output?.effort, "output_config.effort");
  switch (thinking?.type) {
    case undefined:
    case "disabled":
      return "off";
    case "enabled":
      return "on";
    case "adaptive":
    case "between_tools":
      return level === undefined || level === "off" ? "on" : level;
    default:
      throw fieldError(
        "invalid_value",
        "thinking.type",
        `must be "enabled", "disabled" or "adaptive", not ${JSON.stringify(thinking!.type)}`,
      );
  }
}

/** Names in the `tool_reference` blocks of tool results. */
function referencedTools(messages: PromptBody["messages"]): Set<string> {
  const names = new Set<string>();
  for (const { content } of messages) {
    if (typeof content === "string") continue;
    for (const block of content) {
      if (block.type !== "tool_result" || !Array.isArray(block.content)) continue;
      for (const inner of block.content as ({ type?: unknown; tool_name?: unknown } | null)[]) {
        if (inner?.type === "tool_reference" && typeof inner.tool_name === "string") names.add(inner.tool_name);
      }
    }
  }
  return names;
}
