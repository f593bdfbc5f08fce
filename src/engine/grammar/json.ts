/** The grammar of JSON's own parts. */
import { NUMBER } from "./numbers.ts";
import { either, literal, oneOf, type Rules } from "./rules.ts";
import { complement } from "./sets.ts";

/*
 * xgrammar knows before a request which tokens fit a place in a rule, except for those that reach beyond the rule's end: they are tried
 * one by one, each time. So rules are long rather than small, what repeats is a class of characters, and a rule that ends in the middle of
 * things says what may follow.
 */

/** White space between tokens. A bound here would multiply the time that a grammar takes to compile; the guide sees to it that it ends. */
export const SPACE = String.raw`[ \n\t]*`;
/** A character of a string that is not escaped. */
const PLAIN = String.raw`[^"\\\u0000-\u001f]`;
/** No half of a surrogate pair is written as an escape, so that every string has the length it seems to have. */
const HEX4 = "[0-9A-CEFa-cef] [0-9A-Fa-f] [0-9A-Fa-f] [0-9A-Fa-f] | [Dd] [0-7] [0-9A-Fa-f] [0-9A-Fa-f]";
const FOLLOWS = String.raw`[ \n\t]{0,20} [,}\]:]`;

/** The rest of a string, its closing quote included. */
function rest(rules: Rules): string {
  const escape = rules.define(String.raw`["\\/bfnrt] | "u" (${HEX4})`);
  const name = rules.recursive("string", (self) => `"\\"" | ${PLAIN} ${self} | "\\\\" ${escape} ${self}`);
  rules.follows(name, FOLLOWS);
  return name;
}

export const string = (rules: Rules): string => rules.define(`"\\"" ${rest(rules)}`);

/** Longest bound that is counted down rule by rule; longer ones are left to xgrammar's own way of counting. */
const COUNTED = 128;

/**
 * A string of at least and at most so many characters, none of them escaped. Every position costs time to compile, so that there is one rule
 * for what is left of a count in all strings.
 */
export function boundedString(rules: Rules, least: number, most?: number): string {
  if ((most ?? least) > COUNTED) return rules.define(`"\\"" ${PLAIN}{${least},${most ?? ""}} "\\""`);
  let low = 0;
  let high = most === undefined ? undefined : 0;
  let left = rules.recursive(`left ${low} ${high}`, (self) => `"\\""${high === undefined ? ` | ${PLAIN} ${self}` : ""}`);
  while (low < least || high !== most) {
    const mayEnd = high !== undefined && high < most! - least;
    if (!mayEnd) low++;
    if (high !== undefined) high++;
    const next = left;
    left = rules.recursive(`left ${low} ${high}`, () => `${mayEnd ? '"\\"" | ' : ""}${PLAIN} ${next}`);
  }
  return rules.define(`"\\"" ${left}`);
}

/** Items with commas in between, at least and at most so many, between brackets. */
export function list(rules: Rules, item: string, least = 0, most?: number): string {
  if (most === 0) return `"[" ${SPACE} "]"`;
  const more = `(${SPACE} "," ${SPACE} ${item}){${Math.max(0, least - 1)},${most === undefined ? "" : most - 1}}`;
  const items = `${item} ${more} ${SPACE}`;
  return `"[" ${SPACE} ${least > 0 ? items : `(${items})?`} "]"`;
}

/** Members of any name, which `key` may narrow, with values of one kind. */
export function members(rules: Rules, value: string, key = string(rules)): { one: string; more: string } {
  const one = `${key} ":" ${SPACE} ${value}`;
  return { one, more: `(${SPACE} "," ${SPACE} ${one})*` };
}

export function anyObject(rules: Rules, value = anyValue(rules)): string {
  const { one, more } = members(rules, value);
  return rules.define(`"{" ${SPACE} (${one} ${more} ${SPACE})? "}"`);
}

export function anyValue(rules: Rules): string {
  return rules.recursive("any", (self) => {
    const parts = [string(rules), NUMBER, `"true"`, `"false"`, `"null"`, anyObject(rules, self), list(rules, self)];
    return parts.join(" | ");
  });
}

/** A value as it stands in the schema, with free space inside left out. */
export const constant = (value: unknown): string => literal(JSON.stringify(value));

/** The string of a name that is none of `names`, quotes included. */
export function keyExcept(rules: Rules, names: readonly string[]): string {
  const tail = rest(rules);
  const from = (ends: readonly string[]): string => {
    const firsts = [...new Set(ends.filter((n) => n !== "").map((n) => [...n][0]))];
    const taken = [...firsts.map((c) => c.codePointAt(0)!), 0x22, 0x5c];
    const others = complement([[0, 0x1f], ...taken.map((c): [number, number] => [c, c])]);
    const options = [`${oneOf(others)} ${tail}`];
    if (!ends.includes("")) options.push('"\\""');
    for (const c of firsts) {
      // Names that begin with a character that JSON escapes: no such key at all, rather than a way round the exception.
      if (c === '"' || c === "\\" || c < " ") continue;
      options.push(`${literal(c)} ${from(ends.filter((n) => [...n][0] === c).map((n) => n.slice(c.length)))}`);
    }
    return rules.define(options.join(" | "));
  };
  return `"\\"" ${either([from(names)])}`;
}
