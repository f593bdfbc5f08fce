/**
 * How a format writes calls, as constant text and small functions. A grammar that is to force calls is built from this: the
 * constant text, the names of the tools, and per tool its arguments in the named shape. Calls are written with it where a
 * template cannot. Parts of the text may be special tokens: the vocabulary tells which.
 */
import type { ToolSpec } from "../api.ts";

/** `before`, calls with `between` in between, `after`; a call is `open(name, index)`, arguments, `close`. */
export interface CallGrammar {
  /** In formats whose answers are made of messages: what stands between the end of reasoning and the next one, and what opens the answer. */
  messages?: { resume: string; answer: string };
  before: string;
  open(name: string, index: number): string;
  arguments: ArgumentShape;
  close: string;
  /** Undefined: the family makes one call per answer. */
  between?: string;
  /** With it the answer is over. */
  after: string;
}

/** What stands between `open` and `close`. */
export type ArgumentShape =
  /** A JSON object after the tool's schema. */
  | { style: "json" }
  /**
   * One element per property: `open(key, isString)`, the value, `close`, with `between` in between. Strings stand as they
   * are, without quotes (so they may be any text without `close`); all else is JSON.
   */
  | { style: "tags"; open(key: string, isString: boolean): string; close: string; between: string }
  /** As "tags", with objects and arrays as elements themselves (array members under `item`). Has no null. */
  | { style: "nested-tags"; open(key: string): string; close(key: string): string; item: string }
  /** Python keyword arguments: `key=value, ...` with Python's literals. */
  | { style: "python" }
  /** An object with bare keys, and strings raw between `quote`s: `{key:<|"|>text<|"|>,n:1}`. */
  | { style: "bare-keys"; quote: string };

export interface WrittenCall {
  name: string;
  /** JSON text. */
  arguments: string;
}

/** The grammar of calls whose arguments are JSON. */
export function jsonGrammar(g: Omit<CallGrammar, "arguments">): CallGrammar {
  return { ...g, arguments: { style: "json" } };
}

/** Calls as the model would write them. */
export function writeCalls(grammar: CallGrammar, calls: readonly WrittenCall[]): string {
  const { before, open, close, between = "\n", after } = grammar;
  return before + calls.map((c, i) => open(c.name, i) + writeArguments(grammar.arguments, c.arguments) + close).join(between) + after;
}

function writeArguments(shape: ArgumentShape, json: string): string {
  if (shape.style === "json") return json;
  const object = argumentsObject(json);
  const entries = Object.entries(object);
  switch (shape.style) {
    case "tags":
      return entries
        .map(([k, v]) => shape.open(k, typeof v === "string") + (typeof v === "string" ? v : JSON.stringify(v)) + shape.close)
        .join(shape.between);
    case "nested-tags":
      return nested(shape, object);
    case "python":
      return entries.map(([k, v]) => `${k}=${python(v)}`).join(", ");
    case "bare-keys":
      return bareKeys(shape.quote, object);
  }
}

/** A value inside of arguments, as a shape other than JSON writes it. */
export function writeValue(shape: Exclude<ArgumentShape, { style: "json" | "tags" }>, v: unknown): string {
  if (shape.style === "python") return python(v);
  return shape.style === "bare-keys" ? bareKeys(shape.quote, v) : nested(shape, v);
}

/** Arguments as an object; text that is none is kept in one field, so that a model's slip does not end the conversation. */
export function argumentsObject(text: string): Record<string, unknown> {
  try {
    const v: unknown = JSON.parse(text);
    if (v !== null && typeof v === "object" && !Array.isArray(v)) return v as Record<string, unknown>;
  } catch {
    // Not JSON: below.
  }
  return { arguments: text };
}

function nested(shape: Extract<ArgumentShape, { style: "nested-tags" }>, v: unknown): string {
  const element = (key: string, value: unknown) => shape.open(key) + nested(shape, value) + shape.close(key);
  if (Array.isArray(v)) return v.map((x) => element(shape.item, x)).join("");
  if (v === null || typeof v !== "object") return String(v);
  return Object.entries(v)
    .filter(([, x]) => x !== null)
    .map(([k, x]) => element(k, x))
    .join("");
}

function python(v: unknown): string {
  if (v === null) return "None";
  if (typeof v === "boolean") return v ? "True" : "False";
  if (Array.isArray(v)) return `[${v.map(python).join(", ")}]`;
  if (typeof v === "object")
    return `{${Object.entries(v)
      .map(([k, x]) => `${JSON.stringify(k)}: ${python(x)}`)
      .join(", ")}}`;
  return JSON.stringify(v);
}

function bareKeys(quote: string, v: unknown): string {
  if (typeof v === "string") return quote + v + quote;
  if (Array.isArray(v)) return `[${v.map((x) => bareKeys(quote, x)).join(",")}]`;
  if (v === null || typeof v !== "object") return String(v);
  return `{${Object.entries(v)
    .map(([k, x]) => `${k}:${bareKeys(quote, x)}`)
    .join(",")}}`;
}

/** A tool's name, description and parameters as lines of text. */
export function toolText(tool: ToolSpec): string {
  return `### ${tool.name}\nDescription: ${tool.description ?? ""}\n\nParameters: ${JSON.stringify(tool.parameters ?? { type: "object", properties: {} })}`;
}
