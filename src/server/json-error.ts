/** What is wrong with a JSON text, and how deep it is: `JSON.parse` of this runtime names no position and takes any depth. */

type Expect = "value" | "first value" | "key" | "first key" | "colon" | "comma";

const TOKEN =
  // oxlint-disable-next-line no-control-regex -- JSON strings must not hold control characters
  /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null|[{}[\],:]/y;

/** "unexpected ',' at position 12 (line 1, column 13)". For text that `JSON.parse` refused. */
export function jsonErrorMessage(text: string): string {
  const at = errorPosition(text);
  const before = text.slice(0, at);
  const line = before.split("\n").length;
  const column = at - before.lastIndexOf("\n");
  const found =
    at >= text.length
      ? "unexpected end of JSON input"
      : `unexpected ${JSON.stringify(String.fromCodePoint(text.codePointAt(at)!))} in JSON`;
  return `${found} at position ${at} (line ${line}, column ${column})`;
}

/** Iterative, so that a hostile depth of nesting cannot overflow the stack. */
function errorPosition(text: string): number {
  const stack: ("{" | "[")[] = [];
  let expect: Expect = "value";
  let done = false;
  let at = 0;
  for (;;) {
    while (at < text.length && " \t\r\n".includes(text[at])) at++;
    if (at >= text.length || done) return at;
    TOKEN.lastIndex = at;
    const token = TOKEN.exec(text)?.[0];
    if (token === undefined) return at;
    const kind = token[0];
    const top = stack.at(-1);
    if (kind === "}" || kind === "]") {
      const open = kind === "}" ? "{" : "[";
      const allowed: boolean = expect === "comma" || expect === (open === "{" ? "first key" : "first value");
      if (top !== open || !allowed) return at;
      stack.pop();
      expect = "comma";
      done = stack.length === 0;
    } else if (kind === ",") {
      if (expect !== "comma" || top === undefined) return at;
      expect = top === "{" ? "key" : "value";
    } else if (kind === ":") {
      if (expect !== "colon") return at;
      expect = "value";
    } else if (expect === "key" || expect === "first key") {
      if (kind !== '"') return at;
      expect = "colon";
    } else if (expect === "value" || expect === "first value") {
      if (kind === "{" || kind === "[") {
        stack.push(kind);
        expect = kind === "{" ? "first key" : "first value";
      } else {
        expect = "comma";
        done = stack.length === 0;
      }
    } else return at;
    at += token.length;
  }
}

/** Whether arrays and objects of a valid JSON text lie in each other more than `limit` deep. */
export function nestsDeeper(text: string, limit: number): boolean {
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (c === '"') {
      for (i++; i < text.length && text[i] !== '"'; i++) if (text[i] === "\\") i++;
    } else if (c === "{" || c === "[") {
      if (++depth > limit) return true;
    } else if (c === "}" || c === "]") depth--;
  }
  return false;
}
