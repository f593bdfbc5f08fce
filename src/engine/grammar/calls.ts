/** Tool calls as grammar, from a chat format's description of how it writes them. */
import type { ToolSpec } from "../../chat/api.ts";
import type { ArgumentShape, CallGrammar } from "../../chat/formats/grammar.ts";
import { either, literal, oneOf, type Rules } from "./rules.ts";
import { complement } from "./sets.ts";
import { schemaGrammar } from "./schema.ts";

export interface CallsOptions {
  tools: readonly ToolSpec[];
  grammar: CallGrammar;
  /** One call only. */
  single: boolean;
  /** Whether a text is a token that ends the answer: the grammar leaves it to the engine. */
  isEnd(text: string): boolean;
}

/** Most calls in an answer: small models do not always find an end. */
const MAX_CALLS = 16;

/** One call, or several where the format knows how. */
export function callsGrammar(rules: Rules, o: CallsOptions): string {
  const { before, after, between } = o.grammar;
  const call = (index: number): string => rules.define(o.tools.map((t) => oneCall(rules, o, t, index)).join(" | "));
  const parts = [text(before), call(0)];
  if (between !== undefined && !o.single) parts.push(`(${[text(between), call(1)].filter(Boolean).join(" ")}){0,${MAX_CALLS - 1}}`);
  if (!o.isEnd(after)) parts.push(text(after));
  return parts.filter(Boolean).join(" ");
}

function oneCall(rules: Rules, { grammar, isEnd }: CallsOptions, tool: ToolSpec, index: number): string {
  const { close } = grammar;
  const body = argumentsOf(rules, grammar.arguments, tool, close);
  return [text(grammar.open(tool.name, index)), body, isEnd(close) ? "" : text(close)].filter(Boolean).join(" ");
}

const text = (s: string): string => (s === "" ? "" : literal(s));

/** Arguments that are no JSON are held to their beginning only; the format's parser reads them as leniently as it always does. */
function argumentsOf(rules: Rules, shape: ArgumentShape, tool: ToolSpec, close: string): string {
  const schema = tool.parameters ?? { type: "object" };
  const options = { strict: tool.strict ?? false, param: `tools.${tool.name}` };
  if (shape.style === "json") return schemaGrammar(rules, { type: "object", ...schema }, options);
  if (shape.style === "tags") return tagged(rules, shape, schema, options);
  return free(rules, close);
}

/** One element per property, in order. */
function tagged(
  rules: Rules,
  shape: Extract<ArgumentShape, { style: "tags" }>,
  schema: Record<string, unknown>,
  options: { strict: boolean; param: string },
): string {
  const properties = Object.entries((schema.properties ?? {}) as Record<string, unknown>);
  const required = new Set(Array.isArray(schema.required) ? (schema.required as unknown[]) : []);
  const between = text(shape.between);
  let first = '""';
  let after = '""';
  for (const [name, property] of properties.reverse()) {
    const { type, enum: values } = (property ?? {}) as Record<string, unknown>;
    const isString = type === "string";
    const strings = Array.isArray(values) ? values.filter((v) => typeof v === "string") : [];
    const value = isString
      ? strings.length > 0
        ? either(strings.map(literal))
        : until(rules, shape.close)
      : schemaGrammar(rules, inContext(property, schema), options);
    const element = rules.define(`${literal(shape.open(name, isString))} ${value} ${literal(shape.close)}`);
    const optional = !required.has(name);
    first = rules.define(`${element} ${after}${optional ? ` | ${first}` : ""}`);
    after = rules.define(`${between} ${element} ${after}${optional ? ` | ${after}` : ""}`.trim());
  }
  return first;
}

/** A property's schema with the definitions that it may refer to. */
function inContext(property: unknown, schema: Record<string, unknown>): unknown {
  if (property === null || typeof property !== "object") return property ?? true;
  const { $defs, definitions } = schema;
  return { ...($defs ? { $defs } : {}), ...(definitions ? { definitions } : {}), ...property };
}

/** Text without the first character of what ends it. */
const until = (rules: Rules, end: string): string => rules.define(`${notFirst(end)}*`);

/** Arguments in other shapes: any text up to the end of the call. */
const free = (rules: Rules, close: string): string => (close === "" ? rules.define(`${oneOf(complement([]))}*`) : until(rules, close));

function notFirst(end: string): string {
  const c = end.trimStart().codePointAt(0)!;
  return oneOf(complement([[c, c]]));
}
