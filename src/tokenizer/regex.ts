/** Regular expressions of tokenizer files (Oniguruma and Rust syntax) as JavaScript ones. */
import { AlloyError } from "../support/errors.ts";

const WORD = "\\p{L}\\p{M}\\p{Nd}\\p{Pc}";
/** What differs in meaning: these classes are Unicode-wide there, and JavaScript's \s has U+FEFF but not U+0085. */
const ESCAPES: Record<string, string> = {
  s: "\\p{White_Space}",
  S: "\\P{White_Space}",
  d: "\\p{Nd}",
  D: "\\P{Nd}",
  A: "^",
  z: "$",
  Z: "$",
};
const KEPT_ESCAPES = "nrtvfux0123456789";
const SYNTAX = "^$\\.*+?()[]{}|/";

/** The expression with flags g and u (v where it uses class intersection). Throws `unsupported_model` for what cannot be expressed. */
export function toRegExp(source: string): RegExp {
  const sets = source.includes("&&");
  try {
    return new RegExp(translate(source, sets), sets ? "gv" : "gu");
  } catch (cause) {
    throw new AlloyError("unsupported_model", `The tokenizer's regular expression ${JSON.stringify(source)} is not supported.`, {
      hint: "Use another file of this model, such as a GGUF conversion.",
      cause,
    });
  }
}

function translate(source: string, sets: boolean): string {
  let out = "";
  let depth = 0;
  let quantified = false;
  for (let i = 0; i < source.length;) {
    const c = source[i];
    if (c === "\\") {
      const [text, next] = escape(source, i + 1, depth > 0, sets);
      out += text;
      i = next;
      quantified = false;
    } else if (depth > 0) {
      if (c === "]") depth--;
      else if (c === "[") depth++;
      out += sets && "(){}/|".includes(c) ? `\\${c}` : c;
      i++;
      quantified = false;
    } else if (c === "[") {
      depth++;
      out += source[i + 1] === "^" ? "[^" : "[";
      i += source[i + 1] === "^" ? 2 : 1;
      // A bracket in first place stands for itself.
      if (source[i] === "]") {
        out += "\\]";
        i++;
      }
    } else if (source.startsWith("(?>", i)) {
      out += "(?:";
      i += 3;
    } else if (c === "+" && quantified) {
      // Possessive: the patterns of tokenizers match the same text greedily.
      i++;
      quantified = false;
    } else {
      quantified = "*+?".includes(c) && !quantified && source[i - 1] !== "(";
      out += c;
      i++;
    }
  }
  return out;
}

function escape(source: string, i: number, inClass: boolean, sets: boolean): [string, number] {
  const c = source[i];
  if (c === undefined) return ["\\\\", i];
  if (c === "p" || c === "P") {
    const m = /^\{\^?([^}]*)\}|^[A-Z]/.exec(source.slice(i + 1));
    if (!m) return [`\\${c}`, i + 1];
    const negated = (c === "P") !== m[0].startsWith("{^");
    return [`\\${negated ? "P" : "p"}{${property(m[1] ?? m[0])}}`, i + 1 + m[0].length];
  }
  if (c === "x" && source[i + 1] === "{") {
    const end = source.indexOf("}", i);
    return [`\\u${source.slice(i + 1, end + 1)}`, end + 1];
  }
  if (c === "w") return [inClass ? WORD : `[${WORD}]`, i + 1];
  if (c === "W") return [`[^${WORD}]`, i + 1];
  if (c === "b" && !inClass) return [`(?:(?<=[${WORD}])(?![${WORD}])|(?<![${WORD}])(?=[${WORD}]))`, i + 1];
  if (ESCAPES[c]) return [ESCAPES[c], i + 1];
  if (KEPT_ESCAPES.includes(c) || SYNTAX.includes(c) || (c === "-" && inClass)) return [`\\${c}`, i + 1];
  if (sets && inClass && "&!#%,:;<=>@`~".includes(c)) return [`\\${c}`, i + 1];
  const ch = String.fromCodePoint(source.codePointAt(i) as number);
  return [ch, i + ch.length];
}

/** "Han" is a script there; JavaScript wants it said. */
function property(name: string): string {
  try {
    new RegExp(`\\p{${name}}`, "u");
    return name;
  } catch {
    return `Script=${name}`;
  }
}
