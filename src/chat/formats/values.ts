/** Values that stand in a model's text without quotes, as JSON. */
import { LiteralReader, PYTHON } from "./literal.ts";
import { type JsonType, typeOf } from "./schema.ts";

/**
 * JSON text for `text` where a schema allows `types` (empty: unknown). What is valid JSON, or a Python literal, of such
 * a type stays what it is; anything else is a string.
 */
export function jsonValue(text: string, types: ReadonlySet<JsonType>): string {
  if (types.size === 1 && types.has("string")) return JSON.stringify(text);
  const json = asJson(text.trim());
  if (json !== undefined) {
    const type = typeOf(JSON.parse(json));
    if (type !== "string" && (types.size === 0 || types.has(type) || (type === "number" && types.has("integer")))) return json;
  }
  return JSON.stringify(text);
}

function asJson(text: string): string | undefined {
  try {
    JSON.parse(text);
    return text;
  } catch {
    let json = "";
    const reader = new LiteralReader(PYTHON, (piece) => (json += piece));
    // A word ends with what follows it.
    return reader.push(`${text} `).rest?.trim() === "" ? json : undefined;
  }
}

/** The inside of a JSON string. */
export const escaped = (text: string): string => JSON.stringify(text).slice(1, -1);

/** Length of `text` without half of a surrogate pair at its end, which would be escaped by itself. */
export function wholeLength(text: string): number {
  const last = text.charCodeAt(text.length - 1);
  return last >= 0xd800 && last <= 0xdbff ? text.length - 1 : text.length;
}
