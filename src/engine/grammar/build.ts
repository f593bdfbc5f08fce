/** From what a request asks for to one grammar. */
import type { ToolSpec } from "../../chat/api.ts";
import type { CallGrammar } from "../../chat/formats/grammar.ts";
import { AlloyError } from "../../support/errors.ts";
import type { Constraint } from "../api.ts";
import { callsGrammar } from "./calls.ts";
import { anyObject } from "./json.ts";
import { PatternError, regexGrammar, repeatsTooMuch } from "./regex.ts";
import { lowered } from "./lower.ts";
import { literal, Rules } from "./rules.ts";
import { schemaGrammar } from "./schema.ts";
import { leftRecursive, parseGrammar, SyntaxProblem } from "./syntax.ts";

export interface GrammarRequest {
  constraint?: Constraint;
  /** Calls that the answer may be or (`forced`) must be. */
  calls?: { tools: readonly ToolSpec[]; grammar: CallGrammar; forced: boolean; single: boolean; isEnd(text: string): boolean };
}

/** EBNF whose sentences are the permitted answers. Throws `invalid_json_schema` and `invalid_grammar`. */
export function buildGrammar({ constraint, calls }: GrammarRequest): string {
  // A grammar of the client's own has its own rules, so nothing is mixed into it.
  if (constraint?.kind === "ebnf" && !calls?.forced) return clientGrammar(constraint.text, constraint.param);
  const rules = new Rules();
  const roots: string[] = [];
  if (constraint && !calls?.forced) roots.push(answer(rules, constraint));
  if (calls) roots.push(callsGrammar(rules, calls));
  return lowered(rules.grammar(roots.join(" | ")));
}

/** Longest grammar of a client's own, in characters. */
const MAX_TEXT = 1 << 16;

function clientGrammar(text: string, param: string): string {
  const refuse = (reason: string): never => {
    throw new AlloyError("invalid_grammar", `'${param}' ${reason}`, { param, data: { reason } });
  };
  if (text.length > MAX_TEXT) refuse(`is ${text.length} characters long; at most ${MAX_TEXT} are taken`);
  if (repeatsTooMuch(text)) refuse("repeats too often: give smaller counts");
  try {
    const grammar = parseGrammar(text);
    const rule = leftRecursive(grammar);
    if (rule !== undefined) refuse(`has the rule '${rule}', which begins with itself: move the recursion to its end`);
    return lowered(grammar);
  } catch (e) {
    if (!(e instanceof SyntaxProblem)) throw e;
    return refuse(e.message);
  }
}

function answer(rules: Rules, c: Constraint): string {
  switch (c.kind) {
    case "json":
      return anyObject(rules);
    case "schema":
      return schemaGrammar(rules, c.schema, { strict: c.strict, param: c.param });
    case "choice":
      return rules.define(c.options.map(literal).join(" | "));
    case "regex":
      try {
        return regexGrammar(c.pattern, "answer");
      } catch (e) {
        if (!(e instanceof PatternError)) throw e;
        const reason = `${JSON.stringify(c.pattern)} ${e.message}`;
        throw new AlloyError("invalid_grammar", `'${c.param}' ${reason}`, { param: c.param, data: { reason } });
      }
    case "ebnf":
      throw new AlloyError("internal", "a grammar of the client's own is not built");
  }
}
