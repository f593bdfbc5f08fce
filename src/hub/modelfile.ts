/** Modelfiles, as Ollama defines them: FROM, PARAMETER, TEMPLATE, SYSTEM, MESSAGE, LICENSE and more, one instruction after the other. */
import { AlloyError, suggest } from "../support/errors.ts";

export interface Modelfile {
  from: string;
  template?: string;
  system?: string;
  license: string[];
  parameters: Record<string, unknown>;
  messages: { role: string; content: string }[];
  adapters: string[];
  /** RENDERER, PARSER, REQUIRES: of use to Ollama. */
  config: Record<string, string>;
}

const INSTRUCTIONS = ["FROM", "PARAMETER", "TEMPLATE", "SYSTEM", "MESSAGE", "LICENSE", "ADAPTER", "RENDERER", "PARSER", "REQUIRES"];
const ROLES = ["system", "user", "assistant"];

const FLOATS = ["temperature", "top_p", "min_p", "typical_p", "repeat_penalty", "presence_penalty", "frequency_penalty"];
const INTEGERS = [
  "num_ctx",
  "num_predict",
  "num_keep",
  "top_k",
  "seed",
  "repeat_last_n",
  "num_batch",
  "num_gpu",
  "main_gpu",
  "num_thread",
  "draft_num_predict",
];
const BOOLEANS = ["use_mmap"];
const PARAMETERS = [...FLOATS, ...INTEGERS, ...BOOLEANS, "stop"];

/** Throws `bad_file` with the line at fault. */
export function parseModelfile(text: string): Modelfile {
  const file: Modelfile = { from: "", license: [], parameters: {}, messages: [], adapters: [], config: {} };
  for (const { line, word, rest } of instructions(text)) {
    switch (word) {
      case "FROM":
        file.from = unquote(rest);
        break;
      case "TEMPLATE":
        file.template = unquote(rest);
        break;
      case "SYSTEM":
        file.system = unquote(rest);
        break;
      case "LICENSE":
        file.license.push(unquote(rest));
        break;
      case "ADAPTER":
        file.adapters.push(unquote(rest));
        break;
      case "PARAMETER":
        addParameter(file.parameters, rest, line);
        break;
      case "MESSAGE": {
        const [, role = "", content = ""] = /^(\S+)\s+([\s\S]*)$/.exec(rest) ?? [];
        if (!ROLES.includes(role.toLowerCase())) throw wrong(line, `MESSAGE needs a role (${ROLES.join(", ")}) and a text, not "${rest}"`);
        file.messages.push({ role: role.toLowerCase(), content: unquote(content) });
        break;
      }
      default:
        file.config[word.toLowerCase()] = unquote(rest);
    }
  }
  if (file.from === "") throw new AlloyError("bad_file", "the Modelfile has no FROM line", { hint: "Begin it with `FROM` and a model." });
  return file;
}

/** Instructions with their arguments; `"""` goes on over lines. */
function* instructions(text: string): Generator<{ line: number; word: string; rest: string }> {
  const lines = text.replace(/^\ufeff/, "").split(/\r?\n/);
  for (let i = 0; i < lines.length; i++) {
    if (/^\s*(?:#|$)/.test(lines[i])) continue;
    const line = i + 1;
    const [, written, first] = /^\s*(\S+)\s*(.*)$/.exec(lines[i])!;
    const word = written.toUpperCase();
    if (!INSTRUCTIONS.includes(word)) {
      const near = suggest(word, INSTRUCTIONS);
      throw wrong(
        line,
        `${JSON.stringify(written)} is no instruction`,
        near ? `Did you mean ${near}?` : `They are ${INSTRUCTIONS.join(", ")}.`,
      );
    }
    let rest = first.trim();
    // Opened, and not closed on the same line.
    if (/^(?:\w+\s+)?"""/.test(rest) && rest.split('"""').length === 2) {
      while (i + 1 < lines.length && !lines[i + 1].includes('"""')) rest += `\n${lines[++i]}`;
      if (i + 1 >= lines.length) throw wrong(line, '""" is not closed');
      rest += `\n${lines[++i]}`;
    }
    yield { line, word, rest };
  }
}

function unquote(text: string): string {
  const trimmed = text.trim();
  const long = /^"""([\s\S]*)"""$/.exec(trimmed);
  if (long) return long[1].replace(/^\n/, "");
  return trimmed.length >= 2 && trimmed.startsWith('"') && trimmed.endsWith('"') ? trimmed.slice(1, -1).replaceAll('\\"', '"') : trimmed;
}

function addParameter(parameters: Record<string, unknown>, rest: string, line: number): void {
  const [, name = "", text = ""] = /^(\S+)\s+([\s\S]+)$/.exec(rest) ?? [];
  const key = name.toLowerCase();
  if (!PARAMETERS.includes(key)) {
    const near = suggest(key, PARAMETERS);
    throw wrong(
      line,
      `there is no parameter ${JSON.stringify(name || rest)}`,
      near ? `Did you mean ${near}?` : `They are ${PARAMETERS.join(", ")}.`,
    );
  }
  const value = unquote(text);
  if (key === "stop") {
    parameters.stop = [...((parameters.stop as string[] | undefined) ?? []), value];
    return;
  }
  if (BOOLEANS.includes(key)) parameters[key] = value.toLowerCase() === "true" || value === "1";
  else {
    const number = Number(value);
    if (!Number.isFinite(number) || (INTEGERS.includes(key) && !Number.isInteger(number)))
      throw wrong(line, `${key} must be ${INTEGERS.includes(key) ? "a whole number" : "a number"}, not "${value}"`);
    parameters[key] = number;
  }
}

function wrong(line: number, what: string, hint?: string): AlloyError {
  return new AlloyError("bad_file", `Modelfile line ${line}: ${what}`, { hint });
}
