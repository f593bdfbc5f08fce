/** What an answer must look like: OpenAI's `response_format`, and the extensions of llama-server and vLLM. */
import { Type, type Static } from "@sinclair/typebox";
import type { Constraint } from "../../../engine/api.ts";
import { fieldError } from "../../errors.ts";
import { opt } from "../../validate.ts";

const Schema = Type.Record(Type.String(), Type.Unknown());
/** vLLM's fields, as it names them inside of `structured_outputs`; `guided_...` are their older names. */
const Structured = Type.Object({
  json: opt(Type.Union([Type.String(), Schema])),
  json_object: opt(Type.Boolean()),
  regex: opt(Type.String()),
  choice: opt(Type.Array(Type.String(), { minItems: 1 })),
  grammar: opt(Type.String()),
});

export const ConstraintFields = {
  response_format: opt(
    Type.Object({
      type: Type.String(),
      schema: opt(Schema),
      json_schema: opt(Type.Object({ schema: opt(Schema), strict: opt(Type.Boolean()) })),
    }),
  ),
  grammar: opt(Type.String()),
  json_schema: opt(Schema),
  structured_outputs: opt(Structured),
  guided_json: opt(Type.Union([Type.String(), Schema])),
  guided_regex: opt(Type.String()),
  guided_choice: opt(Type.Array(Type.String(), { minItems: 1 })),
  guided_grammar: opt(Type.String()),
};

const Fields = Type.Object(ConstraintFields);
type Fields = Static<typeof Fields>;

/** Throws `invalid_value` for more than one, `other` among them: none may be ignored. */
export function constraintOf(body: Fields, other?: Constraint): Constraint | undefined {
  const structured = body.structured_outputs ?? {};
  const found = [
    other,
    responseFormat(body.response_format),
    ebnf("grammar", body.grammar),
    schema("json_schema", body.json_schema),
    schema("structured_outputs.json", structured.json),
    structured.json_object ? ({ kind: "json", param: "structured_outputs.json_object" } as const) : undefined,
    regex("structured_outputs.regex", structured.regex),
    choice("structured_outputs.choice", structured.choice),
    ebnf("structured_outputs.grammar", structured.grammar),
    schema("guided_json", body.guided_json),
    regex("guided_regex", body.guided_regex),
    choice("guided_choice", body.guided_choice),
    ebnf("guided_grammar", body.guided_grammar),
  ].filter((c) => c !== undefined);
  if (found.length > 1) {
    throw fieldError("invalid_value", found[1].param, `cannot be combined with '${found[0].param}'`, "Give one of them.");
  }
  return found[0];
}

function responseFormat(format: Fields["response_format"]): Constraint | undefined {
  if (!format) return undefined;
  const { type, schema: beside, json_schema: named } = format;
  const inside = type === "json_schema" && !beside;
  const given = { type, schema: inside ? named?.schema : beside, strict: named?.strict };
  return formatConstraint(given, "response_format", `response_format${inside ? ".json_schema" : ""}.schema`);
}

/** A format by its type. `at` is the field that it came in, `schemaAt` the one of its schema. */
export function formatConstraint(format: Format, at: string, schemaAt: string): Constraint | undefined {
  if (format.type === "text") return undefined;
  if (format.type === "json_object") return format.schema ? schema(schemaAt, format.schema) : { kind: "json", param: at };
  if (format.type !== "json_schema") {
    throw fieldError("invalid_value", `${at}.type`, `must be "text", "json_object" or "json_schema", not ${JSON.stringify(format.type)}`);
  }
  if (!format.schema) throw fieldError("missing_parameter", schemaAt, "is required");
  return schema(schemaAt, format.schema, format.strict ?? false);
}

interface Format {
  type: string;
  schema?: Record<string, unknown> | null;
  strict?: boolean | null;
}

function schema(param: string, given: string | Record<string, unknown> | null | undefined, strict = false): Constraint | undefined {
  if (given === null || given === undefined) return undefined;
  if (typeof given !== "string") return { kind: "schema", schema: given, strict, param };
  try {
    return { kind: "schema", schema: JSON.parse(given) as unknown, strict, param };
  } catch (e) {
    throw fieldError("invalid_value", param, `is no JSON: ${(e as Error).message}`);
  }
}

const regex = (param: string, pattern: string | null | undefined): Constraint | undefined =>
  pattern ? { kind: "regex", pattern, param } : undefined;
const choice = (param: string, options: string[] | null | undefined): Constraint | undefined =>
  options ? { kind: "choice", options, param } : undefined;
const ebnf = (param: string, text: string | null | undefined): Constraint | undefined => (text ? { kind: "ebnf", text, param } : undefined);
