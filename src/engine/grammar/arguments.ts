/**
 * Arguments that are no JSON, as grammar: one element per property, in order. Names of properties, whether they are required, choices, numbers
 * and booleans are held to the schema; lists and objects to how the format writes them.
 */
import { type ArgumentShape, writeValue } from "../../chat/formats/grammar.ts";
import { NUMBER } from "./numbers.ts";
import { either, literal, type Rules } from "./rules.ts";
import { schemaGrammar, type SchemaOptions } from "./schema.ts";

type Schema = Record<string, unknown>;
type Shape<S extends ArgumentShape["style"]> = Extract<ArgumentShape, { style: S }>;

/** Undefined: the schema lists no properties, and the shape does not say how others look. */
export function argumentsOf(
  rules: Rules,
  shape: Exclude<ArgumentShape, { style: "json" }>,
  schema: Schema,
  options: SchemaOptions,
): string | undefined {
  const none = Object.keys((schema.properties ?? {}) as Schema).length === 0;
  switch (shape.style) {
    case "tags":
      return inOrder(rules, schema, shape.between, (name, property) => tag(rules, shape, name, property, schema, options));
    case "nested-tags":
      if (none) return undefined;
      return inOrder(rules, schema, "", (name, property) => {
        const close = shape.close(name);
        const value = simple(rules, shape, property, options);
        return `${literal(shape.open(name))} ${value === undefined ? until(rules, close) : `${value} ${literal(close)}`}`;
      });
    case "python":
      if (none) return undefined;
      return inOrder(rules, schema, ", ", (name, property) => `${literal(`${name}=`)} ${value(rules, shape, property, options)}`);
    case "bare-keys":
      if (none) return bareObject(rules, anyValue(rules, shape));
      return `"{" ${inOrder(rules, schema, ",", (name, property) => `${literal(`${name}:`)} ${value(rules, shape, property, options)}`)} "}"`;
  }
}

/** The properties' elements, those that are not required left out or not. */
function inOrder(rules: Rules, schema: Schema, separator: string, element: (name: string, property: unknown) => string): string {
  const required = new Set(Array.isArray(schema.required) ? (schema.required as unknown[]) : []);
  const between = separator === "" ? "" : literal(separator);
  let first = '""';
  let after = '""';
  for (const [name, property] of Object.entries((schema.properties ?? {}) as Schema).reverse()) {
    const one = rules.define(element(name, property));
    const optional = !required.has(name);
    first = rules.define(`${one} ${after}${optional ? ` | ${first}` : ""}`);
    after = rules.define(`${between} ${one} ${after}${optional ? ` | ${after}` : ""}`.trim());
  }
  return first;
}

/** Strings stand as they are, all else is JSON. */
function tag(rules: Rules, shape: Shape<"tags">, name: string, property: unknown, schema: Schema, options: SchemaOptions): string {
  const { type, enum: values } = (property ?? {}) as Schema;
  const isString = type === "string";
  const strings = Array.isArray(values) ? values.filter((v) => typeof v === "string") : [];
  const close = literal(shape.close);
  const open = literal(shape.open(name, isString));
  if (!isString) return `${open} ${schemaGrammar(rules, inContext(property, schema), options)} ${close}`;
  return `${open} ${strings.length > 0 ? `${either(strings.map(literal))} ${close}` : until(rules, shape.close)}`;
}

/** A property's schema with the definitions that it may refer to. */
function inContext(property: unknown, schema: Schema): unknown {
  if (property === null || typeof property !== "object") return property ?? true;
  const { $defs, definitions } = schema;
  return { ...($defs ? { $defs } : {}), ...(definitions ? { definitions } : {}), ...property };
}

type Literal = Shape<"python"> | Shape<"bare-keys">;

function value(rules: Rules, shape: Literal, property: unknown, options: SchemaOptions): string {
  const known = simple(rules, shape, property, options);
  if (known !== undefined) return known;
  return (property as Schema | null)?.type === "string" ? string(rules, shape) : anyValue(rules, shape);
}

/** Choices, numbers and booleans. */
function simple(rules: Rules, shape: Literal | Shape<"nested-tags">, property: unknown, options: SchemaOptions): string | undefined {
  const { type, enum: values, const: only } = (property ?? {}) as Schema;
  if (only !== undefined) return literal(writeValue(shape, only));
  if (Array.isArray(values) && values.length > 0) return either(values.map((v) => literal(writeValue(shape, v))));
  if (type === "boolean") return either([true, false].map((v) => literal(writeValue(shape, v))));
  return type === "integer" || type === "number" ? schemaGrammar(rules, property, options) : undefined;
}

const string = (rules: Rules, shape: Literal): string =>
  shape.style === "python"
    ? rules.define(String.raw`"\"" ([^"\\\u0000-\u001f] | "\\" ["\\/bfnrt])* "\""`)
    : `${literal(shape.quote)} ${until(rules, shape.quote)}`;

function anyValue(rules: Rules, shape: Literal): string {
  const text = string(rules, shape);
  const words = [true, false, null].map((v) => literal(writeValue(shape, v)));
  return rules.recursive(`any ${shape.style}`, (self) => {
    const comma = shape.style === "python" ? '", "' : '","';
    const members = shape.style === "python" ? several(`${text} ": " ${self}`, comma) : undefined;
    const object = members === undefined ? bareObject(rules, self) : `"{" ${members} "}"`;
    return [text, NUMBER, ...words, object, `"[" ${several(self, comma)} "]"`].join(" | ");
  });
}

const bareObject = (rules: Rules, self: string): string => rules.define(`"{" ${several(`[A-Za-z0-9_$-]+ ":" ${self}`, '","')} "}"`);

const several = (one: string, comma: string): string => `(${one} (${comma} ${one})*)?`;

/** Any text up to `end`, and that. */
export const until = (rules: Rules, end: string): string => rules.dispatch({ tags: [], loop: false, stop: end });
