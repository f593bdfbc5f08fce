/** JSON as model folders hold it: Python writes NaN and Infinity, which JSON has not. */
import { readFileSync, statSync } from "node:fs";
import { AlloyError } from "../support/errors.ts";

/** tokenizer.json of the largest vocabularies is some 35 MB. */
const MAX_JSON_BYTES = 512 * 2 ** 20;

/** A string that no JSON file holds, in place of NaN until it is parsed. */
const NAN_MARK = "\u0000NaN";

/** Parse JSON in which NaN, Infinity and -Infinity may stand for numbers. Throws SyntaxError. */
export function parseLenient(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (e) {
    // Strings are matched first, so that words inside them are left alone. 1e999 overflows to Infinity.
    const plain = text.replace(/"(?:[^"\\]|\\.)*"|-?\bInfinity\b|\bNaN\b/g, (token) => {
      if (token === "NaN") return JSON.stringify(NAN_MARK);
      return token.startsWith('"') ? token : token.replace("Infinity", "1e999");
    });
    if (plain === text) throw e;
    return JSON.parse(plain, (_, value) => (value === NAN_MARK ? NaN : value));
  }
}

/** Read a file that holds one JSON object. Throws `bad_file` naming the file; undefined when there is no such file. */
export function readJsonObject(path: string): Record<string, unknown> | undefined {
  const text = readText(path);
  if (text === undefined) return undefined;
  let value: unknown;
  try {
    value = parseLenient(text);
  } catch (e) {
    throw new AlloyError("bad_file", `${path} is no valid JSON: ${e instanceof Error ? e.message : String(e)}`, {
      hint: "Download the file again.",
      cause: e,
    });
  }
  if (isObject(value)) return value;
  throw new AlloyError("bad_file", `${path} holds no JSON object`, { hint: "Download the file again." });
}

/** Text of a file; undefined when there is no such file. Throws `bad_file` when it cannot be read or is absurdly large. */
export function readText(path: string): string | undefined {
  try {
    const { size } = statSync(path);
    if (size > MAX_JSON_BYTES) throw new AlloyError("bad_file", `${path} is absurdly large for its kind (${size} bytes)`);
    return readFileSync(path, "utf8");
  } catch (e) {
    if (e instanceof AlloyError) throw e;
    const code = (e as { code?: string }).code;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw new AlloyError("bad_file", `cannot read ${path}: ${code ?? String(e)}`, { cause: e });
  }
}

/** A JSON object: neither null nor an array. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
