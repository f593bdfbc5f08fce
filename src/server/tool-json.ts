/** Tool-call arguments as an object, for the dialects that want one instead of JSON text. */

/**
 * Parses a call's arguments. Empty text is `{}`; text that lacks only its closing quotes and brackets is repaired; anything else comes
 * back as `{ __raw: text }`, so that nothing the model wrote is lost.
 */
export function argumentsObject(text: string): Record<string, unknown> {
  if (text.trim() === "") return {};
  for (const candidate of [text, closed(text)]) {
    try {
      const value: unknown = JSON.parse(candidate);
      if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
    } catch {
      // Not JSON: the next candidate, or the raw text.
    }
  }
  return { __raw: text };
}

/** The JSON text of an arguments object as a client sent it back; undoes `__raw`. */
export function argumentsText(value: unknown): string {
  if (value === undefined || value === null) return "{}";
  if (typeof value === "string") return value === "" ? "{}" : value;
  if (typeof value === "object" && "__raw" in value && typeof value.__raw === "string") return value.__raw;
  return JSON.stringify(value);
}

function closed(text: string): string {
  const closers: string[] = [];
  let inString = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (inString) {
      if (c === "\\") i++;
      else if (c === '"') inString = false;
    } else if (c === '"') inString = true;
    else if (c === "{" || c === "[") closers.push(c === "{" ? "}" : "]");
    else if (c === "}" || c === "]") closers.pop();
  }
  const body = inString ? `${text}"` : text.replace(/[\s,]+$/, "");
  return body + closers.reverse().join("");
}
