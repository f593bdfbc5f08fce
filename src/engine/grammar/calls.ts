/** Tool calls as grammar, from a chat format's description of how it writes them. */
import type { ToolSpec } from "../../chat/api.ts";
import type { CallsRequest } from "./build.ts";
import { SPACE } from "./json.ts";
import { argumentsOf, until } from "./arguments.ts";
import { ANY_TEXT, literal, type Rules } from "./rules.ts";
import { schemaGrammar } from "./schema.ts";

/** Most calls in an answer: small models do not always find an end. */
const MAX_CALLS = 16;

/**
 * One call, or several where the format knows how.
 * @param skip characters at the beginning that stand there already
 */
export function callsGrammar(rules: Rules, o: CallsRequest, skip = 0): string {
  const { before, after, between } = o.grammar;
  const call = (index: number, cut = 0): string => rules.define(o.tools.map((t) => oneCall(rules, o, t, index, cut)).join(" | "));
  const parts = [text(before.slice(skip)), call(0, Math.max(0, skip - before.length))];
  if (between !== undefined && !o.single) parts.push(`(${[text(between), call(1)].filter(Boolean).join(" ")}){0,${MAX_CALLS - 1}}`);
  if (!o.isEnd(after)) parts.push(text(after));
  return join(...parts);
}

/**
 * Free text, in which a call is held to its tool's schema from its marker on. A format that writes calls without a marker at the beginning of
 * the answer is held to one there where it begins as one. Undefined: the format's calls cannot be told from text.
 */
export function textWithCalls(rules: Rules, o: CallsRequest): string | undefined {
  const { before, open } = o.grammar;
  const leads = o.tools.map((t) => before + open(t.name, 0));
  const places = o.openers.flatMap((opener) => {
    const at = leads.map((l) => l.indexOf(opener));
    const found = at[0] >= 0 && at.every((i) => i === at[0]);
    return found ? [{ opener, skip: at[0] + opener.length }] : [];
  });
  // One marker that begins with another is found by that.
  const marks = places.filter(({ opener }) => !places.some((p) => p.opener !== opener && opener.startsWith(p.opener)));
  if (marks.length > 0) {
    const tags = marks.map(({ opener, skip }) => ({ tag: opener, rule: rules.define(callsGrammar(rules, o, skip)) }));
    return rules.dispatch({ tags, loop: !o.single });
  }
  const [first] = leads[0].trimStart();
  if (first !== "{" && first !== "[") return undefined;
  const blank = leads[0].length - leads[0].trimStart().length;
  return `${SPACE} (${rules.define(callsGrammar(rules, o, blank))} | "" | [^\\x00 \\n\\t${first === "[" ? "\\[" : first}] [^\\x00]*)`;
}

function oneCall(rules: Rules, { grammar, isEnd, loose }: CallsRequest, tool: ToolSpec, index: number, cut: number): string {
  const { arguments: shape, close } = grammar;
  const open = text(grammar.open(tool.name, index).slice(cut));
  const schema = tool.parameters ?? { type: "object" };
  const options = { strict: tool.strict ?? false, loose, param: `tools.${tool.name}` };
  const end = isEnd(close) ? "" : text(close);
  if (shape.style === "json") return join(open, schemaGrammar(rules, { type: "object", ...schema }, options), end);
  const values = argumentsOf(rules, shape, schema, options);
  if (values !== undefined) return join(open, values, end);
  // What has no properties is held to its end only; the format's parser reads it as leniently as it always does.
  return join(open, end === "" ? ANY_TEXT : until(rules, close));
}

const text = (s: string): string => (s === "" ? "" : literal(s));

const join = (...parts: string[]): string => parts.filter(Boolean).join(" ");
