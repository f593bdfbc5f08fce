/** Anthropic tools, their choice, deferred loading, and tool-use ids (spec 3.6). */
import { Type, type Static } from "@sinclair/typebox";
import type { ToolSpec } from "../../../chat/api.ts";
import type { Prompt } from "../../../engine/api.ts";
import { fieldError } from "../../errors.ts";
import { opt } from "../../validate.ts";

export const Tools = opt(
  Type.Array(
    Type.Object({
      name: Type.String(),
      type: opt(Type.String()),
      description: opt(Type.String()),
      input_schema: opt(Type.Record(Type.String(), Type.Unknown())),
      strict: opt(Type.Boolean()),
      defer_loading: opt(Type.Boolean()),
    }),
    { maxItems: 1024 },
  ),
);
export const ToolChoice = opt(
  Type.Object({ type: Type.String(), name: opt(Type.String()), disable_parallel_tool_use: opt(Type.Boolean()) }),
);

type Tool = NonNullable<Static<typeof Tools>>[number];
type Choice = NonNullable<Extract<Prompt, { kind: "chat" }>["toolChoice"]>;

export interface ToolSet {
  /** Shown to the model in the prompt's list. */
  visible: ToolSpec[];
  /** Deferred ones that a tool result has shown. */
  found: ToolSpec[];
  /** All client tools by name, deferred ones too. */
  known: Map<string, ToolSpec>;
  choice: Choice;
  singleCall: boolean;
}

/** Throws `invalid_value` for a bad name and for a choice of an undeclared tool, `missing_parameter` for a client tool without schema. */
export function toolSet(
  tools: Static<typeof Tools> | undefined,
  choice: Static<typeof ToolChoice> | undefined,
  referenced: ReadonlySet<string>,
): ToolSet {
  const known = new Map<string, ToolSpec>();
  const deferred = new Set<string>();
  (tools ?? []).forEach((tool, i) => {
    // Server tools run at Anthropic: they are not shown to the model and are no error.
    if (tool.type && tool.type !== "custom") return;
    if (!/^[A-Za-z0-9_-]{1,128}$/.test(tool.name)) {
      throw fieldError(
        "invalid_value",
        `tools[${i}].name`,
        `must be 1 to 128 letters, digits, '_' or '-', not ${JSON.stringify(tool.name)}`,
      );
    }
    if (!tool.input_schema) throw fieldError("missing_parameter", `tools[${i}].input_schema`, "is required");
    known.set(tool.name, spec(tool));
    if (tool.defer_loading) deferred.add(tool.name);
  });
  // Deferred tools are found through a client tool such as ToolSearch. Where nothing could ever refer to them, they are all shown.
  const searchable = referenced.size > 0 || [...known.keys()].some((name) => !deferred.has(name) && /search/i.test(name));
  const all = [...known.values()];
  const visible = all.filter((t) => !deferred.has(t.name) || (!searchable && t.name !== "DeferredToolPlaceholder"));
  const found = searchable ? all.filter((t) => deferred.has(t.name) && referenced.has(t.name)) : [];
  return { visible, found, known, choice: toolChoice(choice, known), singleCall: choice?.disable_parallel_tool_use ?? false };
}

function toolChoice(choice: Static<typeof ToolChoice> | undefined, known: Map<string, ToolSpec>): Choice {
  if (!choice) return "auto";
  switch (choice.type) {
    case "auto":
    case "none":
      return choice.type;
    case "any":
      if (known.size === 0) throw fieldError("invalid_value", "tool_choice", "is 'any', but there are no tools");
      return "required";
    case "tool":
      if (!choice.name) throw fieldError("missing_parameter", "tool_choice.name", "is required");
      if (!known.has(choice.name))
        throw fieldError("invalid_value", "tool_choice.name", `names the tool '${choice.name}', which is not among the tools`);
      return { name: choice.name };
    default:
      throw fieldError("invalid_value", "tool_choice.type", `must be "auto", "any", "tool" or "none", not ${JSON.stringify(choice.type)}`);
  }
}

function spec(tool: Tool): ToolSpec {
  return {
    name: tool.name,
    description: tool.description ?? undefined,
    parameters: tool.input_schema ?? undefined,
    strict: tool.strict ?? undefined,
  };
}

/** A deferred tool's definition in a tool result, in the form that Claude Code's ToolSearch promises to the model. */
export function renderReference(tools: ToolSet, name: string): string {
  const tool = tools.known.get(name);
  if (!tool) return `tool not found: ${name}`;
  const { description, parameters } = tool;
  return `<functions><function>${JSON.stringify({ description: description ?? "", name, parameters: parameters ?? {} })}</function></functions>`;
}

/** The engine's `call_x` is `toolu_x` for Anthropic clients, and back, so that the engine knows its own calls again. */
export function anthropicToolId(id: string): string {
  return `toolu_${id.replace(/^call_/, "").replace(/[^A-Za-z0-9_-]/g, "_")}`;
}

export function engineToolId(id: string): string {
  return id.replace(/^toolu_/, "call_");
}
