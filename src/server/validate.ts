/** Request bodies against their schema, with errors that name the field. */
import { Type, type Static, type TSchema } from "@sinclair/typebox";
import { TypeCompiler, type TypeCheck } from "@sinclair/typebox/compiler";
import { ValueErrorType, type ValueError } from "@sinclair/typebox/errors";
import { AlloyError } from "../support/errors.ts";
import { fieldError } from "./errors.ts";

/** An optional field; `null` means absent, as clients send it. */
export const opt = <T extends TSchema>(schema: T) => Type.Optional(Type.Union([schema, Type.Null()]));

const compiled = new WeakMap<TSchema, TypeCheck<TSchema>>();

/**
 * `value` as the schema's type. Unknown fields pass. Throws `missing_parameter`, `invalid_type` or `invalid_value` with `param`.
 * @param at where in the body the value lies (`input[3]`), "" for the whole
 */
export function validate<T extends TSchema>(schema: T, value: unknown, at = ""): Static<T> {
  let check = compiled.get(schema);
  if (!check) compiled.set(schema, (check = TypeCompiler.Compile(schema as TSchema)));
  if (check.Check(value)) return value as Static<T>;
  throw toAlloyError(deepest(check.Errors(value).First()!), at);
}

/** Errors of a value that has the right type: a branch that fails like this is the one that was meant. */
const RANGE_ERRORS = new Set([
  ValueErrorType.NumberMinimum,
  ValueErrorType.NumberMaximum,
  ValueErrorType.NumberExclusiveMinimum,
  ValueErrorType.IntegerMinimum,
  ValueErrorType.IntegerMaximum,
  ValueErrorType.ArrayMinItems,
  ValueErrorType.ArrayMaxItems,
  ValueErrorType.StringMinLength,
]);

/** Of a union's branches the error that got furthest into the value. */
function deepest(error: ValueError): ValueError {
  if (error.type !== ValueErrorType.Union) return error;
  const rank = (e: ValueError) => e.path.length * 2 + (RANGE_ERRORS.has(e.type) ? 1 : 0);
  let best = error;
  for (const branch of error.errors) {
    const first = branch.First();
    if (!first) continue;
    const candidate = deepest(first);
    if (rank(candidate) > rank(best)) best = candidate;
  }
  return best;
}

function toAlloyError(error: ValueError, at: string): AlloyError {
  const param = fieldPath(error.path, at);
  if (param === "") return new AlloyError("invalid_type", `the request body must be a JSON object, not ${describeValue(error.value)}`);
  switch (error.type) {
    case ValueErrorType.ObjectRequiredProperty:
      return fieldError("missing_parameter", param, "is required");
    case ValueErrorType.NumberMinimum:
    case ValueErrorType.IntegerMinimum:
      return fieldError("invalid_value", param, `must be at least ${error.schema.minimum}, not ${describeValue(error.value)}`);
    case ValueErrorType.NumberExclusiveMinimum:
      return fieldError("invalid_value", param, `must be more than ${error.schema.exclusiveMinimum}, not ${describeValue(error.value)}`);
    case ValueErrorType.NumberMaximum:
    case ValueErrorType.IntegerMaximum:
      return fieldError("invalid_value", param, `must be at most ${error.schema.maximum}, not ${describeValue(error.value)}`);
    case ValueErrorType.ArrayMinItems:
      return fieldError("invalid_value", param, `must hold at least ${error.schema.minItems} item(s)`);
    case ValueErrorType.ArrayMaxItems:
      return fieldError("invalid_value", param, `must hold at most ${error.schema.maxItems} items`);
    case ValueErrorType.StringMinLength:
      return fieldError("invalid_value", param, "must not be empty");
    default: {
      const wrongValue = alternatives(error.schema).some((s) => s.const !== undefined && typeof s.const === typeof error.value);
      const code = wrongValue ? "invalid_value" : "invalid_type";
      return fieldError(code, param, `must be ${expected(error.schema)}, not ${describeValue(error.value)}`);
    }
  }
}

/** What a schema allows, unions within unions opened up. */
function alternatives(schema: TSchema): TSchema[] {
  return schema.anyOf ? (schema.anyOf as TSchema[]).flatMap(alternatives) : [schema];
}

function expected(schema: TSchema): string {
  if (schema.description) return schema.description;
  if (schema.anyOf) {
    const parts = [...new Set((schema.anyOf as TSchema[]).filter((s) => s.type !== "null").map(expected))];
    return parts.length < 2 ? (parts[0] ?? "null") : `${parts.slice(0, -1).join(", ")} or ${parts.at(-1)}`;
  }
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  const names: Record<string, string> = { array: "an array", object: "an object", integer: "an integer", null: "null" };
  return names[schema.type] ?? `a ${schema.type}`;
}

/** A value named for an error message; long text is cut. */
export function describeValue(value: unknown): string {
  if (value === null || value === undefined) return "null";
  if (Array.isArray(value)) return "an array";
  if (typeof value === "object") return "an object";
  const text = JSON.stringify(value);
  return `the ${typeof value} ${text.length > 60 ? `${text.slice(0, 57)}...` : text}`;
}

/** JSON pointer to the notation of error messages: `/messages/0/content` -> `messages[0].content`. */
function fieldPath(pointer: string, at: string): string {
  return pointer
    .split("/")
    .slice(1)
    .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"))
    .reduce((path, part) => (/^\d+$/.test(part) ? `${path}[${part}]` : path === "" ? part : `${path}.${part}`), at);
}
