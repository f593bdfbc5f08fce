/** From what a request asks for to one grammar. */
import type { ToolSpec } from "../../chat/api.ts";
import type { CallGrammar } from "../../chat/formats/grammar.ts";
import type { ReasoningMarkers } from "../../chat/reasoning.ts";
import { AlloyError } from "../../support/errors.ts";
import type { Constraint } from "../api.ts";
import { callsGrammar, textWithCalls } from "./calls.ts";
import { anyObject } from "./json.ts";
import { lowered } from "./lower.ts";
import { PatternError, regexGrammar } from "./regex.ts";
import { ANY_TEXT, literal, Rules } from "./rules.ts";
import { schemaGrammar } from "./schema.ts";
import { leftRecursive, parseGrammar, SyntaxProblem, writtenOut } from "./syntax.ts";

export interface CallsRequest {
  tools: readonly ToolSpec[];
  grammar: CallGrammar;
  /** Markers at which a call begins in free text. */
  openers: readonly string[];
  /** The answer must be calls; it is free text in which calls are held to the tools' schemas; or it may be calls in place of the constraint. */
  mode: "forced" | "strict" | "allowed";
  /** One call only. */
  single: boolean;
  /** Whether a text is a token that ends the answer: the grammar leaves it to the engine. */
  isEnd(text: string): boolean;
  loose?: boolean;
}

export interface GrammarRequest {
  constraint?: Constraint;
  calls?: CallsRequest;
  /** The answer is made of messages, with reasoning in one of its own. */
  messages?: CallGrammar["messages"];
  reasoning?: ReasoningMarkers;
  /** Do without what takes the most time to compile, where that is not asked for strictly. */
  loose?: boolean;
  /** The prompt has opened reasoning. Only looked at with `messages`; elsewhere the guide knows. */
  startsInReasoning?: boolean;
}

/**
 * EBNF whose sentences are the permitted answers; undefined where calls are to be held to schemas in a format that does not mark them.
 * Throws `invalid_json_schema` and `invalid_grammar`.
 */
export function buildGrammar(request: GrammarRequest): string | undefined {
  const { constraint, messages, loose } = request;
  const calls = request.calls && { ...request.calls, loose };
  // A grammar of the client's own has its own rules, so nothing is mixed into it.
  if (constraint?.kind === "ebnf" && calls?.mode !== "forced") return clientGrammar(constraint.text, constraint.param, request);
  const rules = new Rules();
  const options: string[] = [];
  if (constraint && calls?.mode !== "forced") options.push(inMessage(messages, answer(rules, constraint, loose)));
  if (calls?.mode === "strict" && !messages) {
    const text = textWithCalls(rules, calls);
    return text === undefined ? undefined : lowered(rules.grammar(text));
  }
  if (calls?.mode === "strict") options.push(inMessage(messages, textInMessage(rules, calls)));
  if (calls) options.push(callsGrammar(rules, calls));
  return lowered(rules.grammar(withReasoning(rules, options.join(" | "), request)));
}

const inMessage = (messages: CallGrammar["messages"], text: string): string => (messages ? `${literal(messages.answer)} ${text}` : text);

/** The text of a message; where the mark of the next one is ordinary text, what follows it is a call. */
function textInMessage(rules: Rules, calls: CallsRequest): string {
  const mark = calls.openers.find((o) => o === calls.grammar.messages?.resume);
  return mark === undefined
    ? ANY_TEXT
    : rules.dispatch({ tags: [{ tag: mark, rule: rules.define(callsGrammar(rules, calls)) }], loop: !calls.single });
}

/** Free messages of reasoning in front, in formats whose answers are made of messages. */
function withReasoning(rules: Rules, text: string, { messages, reasoning, startsInReasoning }: GrammarRequest): string {
  if (!messages || !reasoning) return text;
  const rest = `${rules.dispatch({ tags: [], loop: false, stop: reasoning.close })} ${literal(messages.resume)}`;
  return `${startsInReasoning ? `${rest} ` : ""}(${literal(reasoning.open)} ${rest})* (${text})`;
}

/** Longest grammar of a client's own, in characters. */
const MAX_TEXT = 1 << 16;
/** Elements of a grammar once its counts are written out. */
const MAX_ELEMENTS = 1 << 16;

function clientGrammar(text: string, param: string, { messages, reasoning, startsInReasoning }: GrammarRequest): string {
  const refuse = (reason: string): never => {
    throw new AlloyError("invalid_grammar", `'${param}' ${reason}`, { param, data: { reason } });
  };
  if (text.length > MAX_TEXT) refuse(`is ${text.length} characters long; at most ${MAX_TEXT} are taken`);
  try {
    const grammar = parseGrammar(text);
    const elements = writtenOut(grammar);
    if (elements > MAX_ELEMENTS)
      refuse(`repeats too often: ${elements} elements with its counts written out, at most ${MAX_ELEMENTS} are taken`);
    const rule = leftRecursive(grammar);
    if (rule !== undefined) refuse(`has the rule '${rule}', which begins with itself: move the recursion to its end`);
    if (!messages) return lowered(grammar);
    // Their rules, with another root above theirs.
    const rules = new Rules();
    const own = rules.adopt(grammar);
    return lowered(rules.grammar(withReasoning(rules, inMessage(messages, own), { messages, reasoning, startsInReasoning })));
  } catch (e) {
    if (!(e instanceof SyntaxProblem)) throw e;
    return refuse(e.message);
  }
}

function answer(rules: Rules, c: Constraint, loose?: boolean): string {
  switch (c.kind) {
    case "json":
      return anyObject(rules);
    case "schema":
      return schemaGrammar(rules, c.schema, { strict: c.strict, loose, param: c.param });
    case "choice":
      return rules.define(c.options.map(literal).join(" | "));
    case "regex":
      try {
        return rules.define(regexGrammar(c.pattern, "answer"));
      } catch (e) {
        if (!(e instanceof PatternError)) throw e;
        const reason = `${JSON.stringify(c.pattern)} ${e.message}`;
        throw new AlloyError("invalid_grammar", `'${c.param}' ${reason}`, { param: c.param, data: { reason } });
      }
    case "ebnf":
      throw new AlloyError("internal", "a grammar of the client's own is not built");
  }
}
