/** Two schemas that hold at once, as one. */

export type Schema = Record<string, unknown>;

/** Which of two values is the stricter. */
const TIGHTER: Record<string, (a: number, b: number) => number> = {
  minimum: Math.max,
  exclusiveMinimum: Math.max,
  minLength: Math.max,
  minItems: Math.max,
  maximum: Math.min,
  exclusiveMaximum: Math.min,
  maxLength: Math.min,
  maxItems: Math.min,
};

/** `conflict` names a keyword that both have and that cannot be merged; then `b`'s stands. */
export function merged(a: Schema, b: Schema): { schema: Schema; conflict?: string } {
  const out: Schema = { ...a };
  let conflict: string | undefined;
  const nested = (x: unknown, y: unknown): unknown => {
    if (x === undefined || x === true) return y;
    if (y === true) return x;
    if (!isSchema(x) || !isSchema(y)) return y;
    const both = merged(x, y);
    conflict ??= both.conflict;
    return both.schema;
  };
  for (const [key, value] of Object.entries(b)) {
    const mine = out[key];
    if (mine === undefined || Bun.deepEquals(mine, value)) out[key] = value;
    else if (key in TIGHTER && typeof mine === "number" && typeof value === "number") out[key] = TIGHTER[key](mine, value);
    else if (key === "required" && Array.isArray(mine) && Array.isArray(value)) out[key] = [...new Set([...mine, ...value])];
    else if (key === "enum" && Array.isArray(mine) && Array.isArray(value))
      out[key] = mine.filter((v) => value.some((w) => Bun.deepEquals(v, w)));
    else if (key === "type") out[key] = commonTypes(mine, value);
    else if (key === "allOf" && Array.isArray(mine) && Array.isArray(value)) out[key] = [...mine, ...value];
    else if (key === "properties" && isSchema(mine) && isSchema(value)) {
      const all: Schema = { ...mine };
      for (const [name, v] of Object.entries(value)) all[name] = nested(all[name], v);
      out[key] = all;
    } else if (key === "items" || key === "additionalProperties") out[key] = mine === false ? false : nested(mine, value);
    else {
      if (!["title", "description", "default", "examples", "$comment", "$defs", "definitions"].includes(key)) conflict ??= key;
      out[key] = value;
    }
  }
  return { schema: out, conflict };
}

const isSchema = (v: unknown): v is Schema => v !== null && typeof v === "object" && !Array.isArray(v);

/** An integer is a number. No type in common leaves an empty list, which the reader of the schema refuses. */
function commonTypes(a: unknown, b: unknown): unknown {
  const [x, y]: unknown[][] = [a, b].map((v) => (Array.isArray(v) ? v : [v]));
  const common = new Set(x.filter((t) => y.includes(t) || (t === "integer" && y.includes("number"))));
  if (x.includes("number") && y.includes("integer")) common.add("integer");
  return [...common];
}
