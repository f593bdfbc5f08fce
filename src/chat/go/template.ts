/**
 * Chat templates in Go's template language, as Ollama has them, behind the same interface as those in Jinja: rendered with the variables that
 * Jinja templates get, which become the data that Ollama gives to its templates (.System, .Messages, .Tools, .Think ...).
 */
import { isObject } from "../../formats/json.ts";
import { AlloyError } from "../../support/errors.ts";
import { type CompiledTemplate, PROBE_LIMITS, RENDER_LIMITS, type RenderLimits } from "../jinja.ts";
import { executeGoTemplate, PRINTED } from "./execute.ts";
import { type GoNode, parseGoTemplate, type GoTemplate, type Operand, type Pipe } from "./parse.ts";

/** Throws `template_error` for a template that does not parse. */
export function compileGoTemplate(source: string, limits: RenderLimits = RENDER_LIMITS): CompiledTemplate {
  if (source.length > limits.source)
    throw new AlloyError("template_error", `The chat template has ${source.length} characters; at most ${limits.source} are allowed.`);
  let template: GoTemplate;
  try {
    template = parseGoTemplate(source);
  } catch (cause) {
    throw failure("The chat template cannot be parsed", cause);
  }
  const uses = (name: string) => usesField([...template.root, ...[...template.named.values()].flat()], name);
  const turns = !uses("Messages");
  // Ollama adds the answer to templates that do not say where it comes.
  if (turns && !uses("Response")) template.root.push(action({ kind: "field", of: { kind: "dot" }, names: ["Response"] }));
  return {
    render(variables, bounds = limits) {
      try {
        return turns ? renderTurns(template, variables, bounds) : executeGoTemplate(template, dataOf(variables), { limits: bounds });
      } catch (cause) {
        throw failure("The chat template failed", cause);
      }
    },
  };
}

function failure(what: string, cause: unknown): AlloyError {
  if (cause instanceof AlloyError) return cause;
  const message = cause instanceof RangeError ? "it nests too deeply" : (cause as Error).message;
  return new AlloyError("template_error", `${what}: ${message}`, {
    hint: "Check it against Go's text/template, or write it in Jinja.",
    cause,
  });
}

/** Whether a template in Go's language can be used: it parses, and shows a simple conversation. */
export function rendersGoTemplate(source: string): boolean {
  try {
    return compileGoTemplate(source)
      .render({ messages: [{ role: "user", content: "probe" }] }, PROBE_LIMITS)
      .includes("probe");
  } catch {
    return false;
  }
}

/** The variables by which a template in Go's language is told whether and how much to think. */
export function goThinkingSwitches(source: string): string[] {
  const level = /\.ThinkLevel\b/.test(source);
  return [...(/\.(?:Think|IsThinkSet)\b/.test(source) ? ["enable_thinking"] : []), ...(level ? ["reasoning_effort"] : [])];
}

interface Message {
  role: string;
  content: string;
}

/** A template of one turn (.System, .Prompt, .Response), once for each; the last one ends where the answer begins. */
function renderTurns(template: GoTemplate, variables: Record<string, unknown>, limits: RenderLimits): string {
  let out = "";
  let turn = { System: "", Prompt: "", Response: "" };
  const flush = () => {
    out += executeGoTemplate(template, turn, { limits });
    turn = { System: "", Prompt: "", Response: "" };
  };
  for (const { role, content } of messagesOf(variables)) {
    if (role === "system") {
      if (turn.Prompt !== "" || turn.Response !== "") flush();
      turn.System = content;
    } else if (role === "assistant") turn.Response = content;
    else {
      if (turn.Response !== "") flush();
      turn.Prompt = content;
    }
  }
  // What comes behind the answer is the model's to write.
  return out + executeGoTemplate(template, turn, { limits, stopAfter: "Response" });
}

function messagesOf({ messages }: Record<string, unknown>): (Message & Record<string, unknown>)[] {
  return (Array.isArray(messages) ? messages : [])
    .filter(isObject)
    .map((m) => ({ ...m, role: String(m.role), content: contentText(m.content) }));
}

function contentText(content: unknown): string {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return "";
  return content.map((part) => (isObject(part) && typeof part.text === "string" ? part.text : "")).join("");
}

/** What Ollama hands to a template that shows messages. */
function dataOf(variables: Record<string, unknown>): Record<string, unknown> {
  const messages = collate(messagesOf(variables));
  const system = messages.flatMap((m) => (m.role === "system" ? [m.content] : []));
  const { enable_thinking: think, reasoning_effort: effort } = variables;
  return {
    System: system.join("\n\n"),
    Messages: messages.map(goMessage),
    Tools: printedList((Array.isArray(variables.tools) ? variables.tools : []).map(goTool)),
    Response: "",
    Think: think === true || (think === undefined && typeof effort === "string"),
    ThinkLevel: typeof effort === "string" ? effort : "",
    IsThinkSet: typeof think === "boolean" || typeof effort === "string",
  };
}

/** Messages of one role in a row become one, as Ollama does it; tool results stay apart. */
function collate(messages: (Message & Record<string, unknown>)[]): (Message & Record<string, unknown>)[] {
  const joined: (Message & Record<string, unknown>)[] = [];
  for (const message of messages) {
    const last = joined.at(-1);
    if (last && last.role === message.role && message.role !== "tool" && !message.tool_calls && !last.tool_calls)
      joined[joined.length - 1] = { ...last, content: [last.content, message.content].filter((t) => t !== "").join("\n\n") };
    else joined.push(message);
  }
  return joined;
}

function goMessage(m: Message & Record<string, unknown>): Record<string | symbol, unknown> {
  const calls = Array.isArray(m.tool_calls) ? m.tool_calls.filter(isObject) : [];
  const reasoning = m.thinking ?? m.reasoning_content ?? m.reasoning;
  return {
    Role: m.role,
    Content: m.content,
    Thinking: typeof reasoning === "string" ? reasoning : "",
    ToolCalls: calls.map((call, i) => {
      const f = isObject(call.function) ? call.function : call;
      const given: unknown = f.arguments;
      const text = typeof given === "string" ? given : JSON.stringify(given ?? {});
      const fields = isObject(given) ? given : parsed(text);
      return { ID: call.id ?? "", Function: { Index: i, Name: f.name, Arguments: { ...fields, [PRINTED]: text } } };
    }),
    ToolName: typeof m.name === "string" ? m.name : "",
    ToolCallID: typeof m.tool_call_id === "string" ? m.tool_call_id : "",
    [PRINTED]: JSON.stringify({ role: m.role, content: m.content }),
  };
}

function parsed(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : {};
  } catch {
    return {};
  }
}

function goTool(tool: unknown): Record<string | symbol, unknown> {
  const { type = "function", function: f } = isObject(tool) ? tool : {};
  const { name, description, parameters } = isObject(f) ? f : {};
  return {
    Type: type,
    Function: { Name: name, Description: description ?? "", Parameters: schema(parameters), [PRINTED]: JSON.stringify(f) },
    [PRINTED]: JSON.stringify(tool),
  };
}

/** A JSON schema under the names of Go's fields; property names stay. */
function schema(value: unknown): unknown {
  if (!isObject(value)) return {};
  const properties = isObject(value.properties) ? Object.fromEntries(Object.entries(value.properties).map(([k, v]) => [k, schema(v)])) : {};
  return {
    Type: value.type ?? "",
    Description: value.description ?? "",
    Enum: value.enum ?? [],
    Required: value.required ?? [],
    Properties: properties,
    [PRINTED]: JSON.stringify(value),
  };
}

function printedList(list: Record<string | symbol, unknown>[]): unknown[] {
  return Object.assign(list, { [PRINTED]: `[${list.map((t) => String(t[PRINTED])).join(",")}]` });
}

const action = (operand: Operand): GoNode => ({ kind: "action", pipe: { variables: [], declares: false, commands: [[operand]] } });

function usesField(nodes: readonly GoNode[], name: string): boolean {
  const inPipe = (pipe: Pipe | undefined): boolean => pipe?.commands.some((c) => c.some(inOperand)) ?? false;
  const inOperand = (o: Operand): boolean =>
    o.kind === "field" ? o.names.includes(name) || inOperand(o.of) : o.kind === "pipe" && inPipe(o.pipe);
  return nodes.some((node) => {
    if (node.kind === "action" || node.kind === "template") return inPipe(node.pipe);
    if (node.kind === "if" || node.kind === "with" || node.kind === "range")
      return inPipe(node.pipe) || usesField(node.body, name) || usesField(node.otherwise, name);
    return false;
  });
}
