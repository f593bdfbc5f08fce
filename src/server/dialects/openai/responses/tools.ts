/** Tools of /v1/responses: what the model is shown, and as what its calls go back (spec 2.8). */
import { Type, type Static } from "@sinclair/typebox";
import type { ToolSpec } from "../../../../chat/api.ts";
import type { Prompt } from "../../../../engine/api.ts";
import { fieldError } from "../../../errors.ts";
import { opt } from "../../../validate.ts";

const MEMBER = {
  type: Type.String(),
  name: opt(Type.String()),
  description: opt(Type.String()),
  parameters: opt(Type.Record(Type.String(), Type.Unknown())),
  strict: opt(Type.Boolean()),
  execution: opt(Type.String()),
  format: opt(Type.Object({ type: Type.String(), syntax: opt(Type.String()), definition: opt(Type.String()) })),
};
const Member = Type.Object(MEMBER);
const Tool = Type.Object({ ...MEMBER, tools: opt(Type.Array(Member, { maxItems: 256 })) });
type Member = Static<typeof Member>;
type Tool = Static<typeof Tool>;

/** Tool definitions, in a request as in the output of a tool search. */
export const ToolList = Type.Array(Tool, { maxItems: 256 });

export const ToolFields = {
  tools: opt(ToolList),
  tool_choice: opt(
    Type.Union([
      Type.String(),
      Type.Object({
        type: Type.String(),
        name: opt(Type.String()),
        namespace: opt(Type.String()),
        mode: opt(Type.String()),
        tools: opt(Type.Array(Type.Object({ type: Type.String(), name: opt(Type.String()), namespace: opt(Type.String()) }))),
      }),
    ]),
  ),
  parallel_tool_calls: opt(Type.Boolean()),
};

const Fields = Type.Object(ToolFields);
type Fields = Static<typeof Fields>;
type Choice = NonNullable<Extract<Prompt, { kind: "chat" }>["toolChoice"]>;

/** How a call goes back to the client. */
export interface Returned {
  kind: "function" | "custom" | "tool_search";
  name: string;
  namespace?: string;
}

export interface ToolSet {
  /** Shown to the model in the prompt's list. */
  specs: ToolSpec[];
  /** Shown by the output of a tool search. */
  found: ToolSpec[];
  choice: Choice;
  /** What a call of a name means. Names that no tool has go back as they are: the client tells the model. */
  returned(name: string): Returned;
}

/** The one function that stands for a member of a namespace. */
export function shownName(name: string, namespace: string | null | undefined): string {
  return namespace ? `${namespace}__${name}` : name;
}

/**
 * @param found definitions that a tool search in the conversation came back with: callable from there on, and not in the list
 * Throws `invalid_value` for a bad name and a choice of an absent tool, `unsupported_feature` for a choice of a hosted one.
 */
export function toolSet(body: Fields, found: readonly Tool[]): ToolSet {
  const tools = new Map<string, Declared & { found: boolean }>();
  for (const tool of declaredTools(body.tools ?? [], "tools")) tools.set(tool.spec.name, { ...tool, found: false });
  for (const tool of declaredTools(found, "input.tools")) {
    // What the list shows already stays as it is there.
    if (!tools.has(tool.spec.name)) tools.set(tool.spec.name, { ...tool, found: true });
  }
  const all = [...tools.values()];
  const find = (name: string | null | undefined, namespace?: string | null) =>
    all.find((t) => t.as.name === name && (namespace ?? t.as.namespace) === t.as.namespace)?.spec.name;
  const { choice, allowed } = choiceOf(body.tool_choice, find);
  const shown = allowed ? all.filter((t) => allowed.has(t.spec.name)) : all;
  if (choice === "required" && shown.length === 0) {
    throw fieldError("invalid_value", "tool_choice", "is 'required', but there are no tools");
  }
  return {
    specs: shown.filter((t) => !t.found).map((t) => t.spec),
    found: shown.filter((t) => t.found).map((t) => t.spec),
    choice,
    returned: (name) => tools.get(name)?.as ?? memberCalled(name, all) ?? { kind: "function", name },
  };
}

/** Models that leave the namespace out, or join it with a dot, mean the same member. */
function memberCalled(name: string, all: readonly { as: Returned }[]): Returned | undefined {
  const members = all.map((t) => t.as).filter((t) => t.namespace && (t.name === name || `${t.namespace}.${t.name}` === name));
  return members.length === 1 ? members[0] : undefined;
}

interface Declared {
  spec: ToolSpec;
  as: Returned;
}

/** Tools and members of namespaces that the model is shown, in order. `at` names the list in errors. */
function declaredTools(list: readonly Tool[], at: string): Declared[] {
  return list
    .flatMap((tool, i) => {
      if (tool.type !== "namespace") return [declared(tool, `${at}[${i}]`)];
      const namespace = checkedName(tool.name, `${at}[${i}].name`);
      return (tool.tools ?? []).map((member, j) => declared(member, `${at}[${i}].tools[${j}]`, namespace));
    })
    .filter((tool) => tool !== undefined);
}

/** The output of a tool search as the model reads it: definitions with the names under which it can call them. */
export function foundText(list: readonly Tool[], at: string): string {
  return JSON.stringify(declaredTools(list, at).map(({ spec: { name, description, parameters } }) => ({ name, description, parameters })));
}

function declared(tool: Member, at: string, namespace?: string): Declared | undefined {
  // Types that run at OpenAI are not shown to the model; refusing them would break clients that always declare them.
  if (tool.type !== "function" && tool.type !== "custom" && tool.type !== "tool_search") return undefined;
  if (tool.type === "tool_search" && tool.execution !== "client") return undefined;
  const name = tool.type === "tool_search" ? "tool_search" : checkedName(tool.name, `${at}.name`);
  const shown = shownName(name, namespace);
  const as: Returned = { kind: tool.type, name, ...(namespace === undefined ? {} : { namespace }) };
  return { spec: tool.type === "custom" ? customSpec(tool, shown) : functionSpec(tool, shown), as };
}

function functionSpec(tool: Member, name: string): ToolSpec {
  return {
    name,
    description: tool.description ?? undefined,
    parameters: tool.parameters ?? undefined,
    strict: tool.strict ?? undefined,
  };
}

/** A custom tool takes free text: shown to the model as a function with the one string argument `input`. */
function customSpec({ description, format }: Member, name: string): ToolSpec {
  const rule = format?.definition ? `The input follows this ${format.syntax ?? ""} grammar:\n${format.definition}` : undefined;
  return {
    name,
    description: [description, rule].filter(Boolean).join("\n\n") || undefined,
    parameters: { type: "object", properties: { input: { type: "string" } }, required: ["input"], additionalProperties: false },
  };
}

type Find = (name: string | null | undefined, namespace?: string | null) => string | undefined;

function choiceOf(choice: Fields["tool_choice"], find: Find): { choice: Choice; allowed?: Set<string> } {
  if (choice === null || choice === undefined) return { choice: "auto" };
  if (typeof choice === "string") {
    if (choice === "auto" || choice === "none" || choice === "required") return { choice };
    throw fieldError("invalid_value", "tool_choice", `must be "none", "auto", "required" or an object, not ${JSON.stringify(choice)}`);
  }
  if (choice.type === "allowed_tools") {
    const names = (choice.tools ?? []).map((t) => find(t.name ?? (t.type === "tool_search" ? t.type : undefined), t.namespace));
    return { choice: choice.mode === "required" ? "required" : "auto", allowed: new Set(names.filter((n) => n !== undefined)) };
  }
  if (choice.type !== "function" && choice.type !== "custom" && choice.type !== "tool_search") {
    throw fieldError(
      "unsupported_feature",
      "tool_choice",
      `forces the hosted tool '${choice.type}', which does not run here`,
      "Name a function, a custom tool or allowed_tools.",
    );
  }
  const wanted = choice.type === "tool_search" ? choice.type : choice.name;
  if (!wanted) throw fieldError("missing_parameter", "tool_choice.name", "is required");
  const name = find(wanted, choice.namespace);
  if (name === undefined) throw fieldError("invalid_value", "tool_choice", `names the tool '${wanted}', which is not among the tools`);
  return { choice: { name } };
}

function checkedName(name: string | null | undefined, param: string): string {
  if (name === null || name === undefined) throw fieldError("missing_parameter", param, "is required");
  if (/^[A-Za-z0-9_.-]{1,128}$/.test(name)) return name;
  throw fieldError("invalid_value", param, `must be 1 to 128 letters, digits, '_', '.' or '-', not ${JSON.stringify(name)}`);
}
