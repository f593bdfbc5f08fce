/** Tool declarations and choices of chat completions, with their legacy and custom forms (spec 2.1). */
import { Type, type Static } from "@sinclair/typebox";
import type { Prompt } from "../../../engine/api.ts";
import type { ToolSpec } from "../../../chat/api.ts";
import { fieldError } from "../../errors.ts";
import { opt } from "../../validate.ts";

const JsonObject = Type.Record(Type.String(), Type.Unknown());
const FunctionSpec = Type.Object({
  name: Type.String(),
  description: opt(Type.String()),
  parameters: opt(JsonObject),
  strict: opt(Type.Boolean()),
});
const CustomSpec = Type.Object({
  name: Type.String(),
  description: opt(Type.String()),
  format: opt(
    Type.Object({
      type: Type.String(),
      grammar: opt(Type.Object({ syntax: opt(Type.String()), definition: opt(Type.String()) })),
    }),
  ),
});
const Named = Type.Object({ name: Type.String() });

/** The fields of a request body that concern tools. */
export const ToolFields = {
  tools: opt(Type.Array(Type.Object({ type: Type.String(), function: opt(FunctionSpec), custom: opt(CustomSpec) }), { maxItems: 256 })),
  tool_choice: opt(
    Type.Union([
      Type.String(),
      Type.Object({
        type: Type.String(),
        function: opt(Named),
        custom: opt(Named),
        allowed_tools: opt(Type.Object({ mode: opt(Type.String()), tools: Type.Array(Type.Unknown()) })),
      }),
    ]),
  ),
  parallel_tool_calls: opt(Type.Boolean()),
  functions: opt(Type.Array(FunctionSpec, { maxItems: 256 })),
  function_call: opt(Type.Union([Type.String(), Named])),
};

const Fields = Type.Object(ToolFields);
type Fields = Static<typeof Fields>;
type Choice = NonNullable<Extract<Prompt, { kind: "chat" }>["toolChoice"]>;

export interface ToolSet {
  specs: ToolSpec[];
  choice: Choice;
  /** Names declared as `custom`: their one argument goes back as raw `input`. */
  custom: Set<string>;
  /** Declared through `functions`: the reply uses `function_call`. */
  legacy: boolean;
}

/** Throws `invalid_value` for bad names, unknown choices, and a choice that names an absent tool. */
export function toolSet(body: Fields): ToolSet {
  const custom = new Set<string>();
  const specs = new Map<string, ToolSpec>();
  const add = (spec: ToolSpec, param: string) => {
    if (!/^[A-Za-z0-9_.-]{1,128}$/.test(spec.name)) {
      throw fieldError(
        "invalid_value",
        `${param}.name`,
        `must be 1 to 128 letters, digits, '_', '.' or '-', not ${JSON.stringify(spec.name)}`,
      );
    }
    custom.delete(spec.name);
    specs.set(spec.name, spec);
  };
  (body.tools ?? []).forEach((tool, i) => {
    if (tool.type === "function") add(functionSpec(needed(tool.function, `tools[${i}].function`)), `tools[${i}].function`);
    // Hosted tool types are not shown to the model; refusing them would break clients that always declare them.
    if (tool.type !== "custom") return;
    const spec = needed(tool.custom, `tools[${i}].custom`);
    add(customSpec(spec), `tools[${i}].custom`);
    custom.add(spec.name);
  });
  const legacy = specs.size === 0 && (body.functions?.length ?? 0) > 0;
  if (legacy) body.functions!.forEach((f, i) => add(functionSpec(f), `functions[${i}]`));
  const [choice, allowed] = legacy ? legacyChoice(body.function_call) : toolChoice(body.tool_choice);
  const set: ToolSet = { specs: [...specs.values()], choice, custom, legacy };
  if (allowed) set.specs = set.specs.filter((s) => allowed.has(s.name));
  if (typeof choice === "object" && !specs.has(choice.name)) {
    throw fieldError(
      "invalid_value",
      legacy ? "function_call" : "tool_choice",
      `names the tool '${choice.name}', which is not among the tools`,
    );
  }
  if (choice === "required" && set.specs.length === 0)
    throw fieldError("invalid_value", "tool_choice", "is 'required', but there are no tools");
  return set;
}

function toolChoice(choice: Fields["tool_choice"]): [Choice, Set<string>?] {
  if (choice === null || choice === undefined) return ["auto"];
  if (typeof choice === "string") {
    if (choice === "auto" || choice === "none" || choice === "required") return [choice];
    throw fieldError("invalid_value", "tool_choice", `must be "none", "auto", "required" or an object, not ${JSON.stringify(choice)}`);
  }
  if (choice.type === "function") return [{ name: needed(choice.function, "tool_choice.function").name }];
  if (choice.type === "custom") return [{ name: needed(choice.custom, "tool_choice.custom").name }];
  if (choice.type !== "allowed_tools") {
    throw fieldError(
      "invalid_value",
      "tool_choice.type",
      `must be "function", "custom" or "allowed_tools", not ${JSON.stringify(choice.type)}`,
    );
  }
  const allowed = needed(choice.allowed_tools, "tool_choice.allowed_tools");
  const names = new Set(allowed.tools.map(allowedName).filter((n) => n !== undefined));
  return [allowed.mode === "required" ? "required" : "auto", names];
}

function allowedName(tool: unknown): string | undefined {
  const t = tool as { name?: unknown; function?: { name?: unknown }; custom?: { name?: unknown } } | null;
  const name = t?.function?.name ?? t?.custom?.name ?? t?.name;
  return typeof name === "string" ? name : undefined;
}

function legacyChoice(choice: Fields["function_call"]): [Choice, undefined?] {
  if (choice === null || choice === undefined || choice === "auto") return ["auto"];
  if (choice === "none") return ["none"];
  if (typeof choice === "object") return [{ name: choice.name }];
  throw fieldError("invalid_value", "function_call", `must be "none", "auto" or an object with name, not ${JSON.stringify(choice)}`);
}

function functionSpec(spec: Static<typeof FunctionSpec>): ToolSpec {
  return {
    name: spec.name,
    description: spec.description ?? undefined,
    parameters: spec.parameters ?? undefined,
    strict: spec.strict ?? undefined,
  };
}

/** A custom tool takes free text: shown to the model as a function with the one string argument `input`. */
function customSpec(spec: Static<typeof CustomSpec>): ToolSpec {
  const grammar = spec.format?.grammar;
  const rule = grammar?.definition ? `The input follows this ${grammar.syntax ?? ""} grammar:\n${grammar.definition}` : undefined;
  return {
    name: spec.name,
    description: [spec.description, rule].filter(Boolean).join("\n\n") || undefined,
    parameters: { type: "object", properties: { input: { type: "string" } }, required: ["input"], additionalProperties: false },
  };
}

function needed<T>(value: T | null | undefined, param: string): T {
  if (value === null || value === undefined) throw fieldError("missing_parameter", param, "is required");
  return value;
}
