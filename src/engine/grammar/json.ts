/** The grammar of JSON's own parts. */
import { NUMBER } from "./numbers.ts";
import { complement, either, literal, oneOf, type Rules } from "./rules.ts";

/** White space between tokens: none, a space, or a line break with its indentation. Endless space is what small models get lost in. */
export const space = (rules: Rules): string => rules.define(String.raw`"" | " " | "\n" [ \t]{0,20}`);

/** A character of a string. No half of a surrogate pair is written as an escape, so that every string has the length it seems to have. */
export const character = (rules: Rules): string => rules.define(String.raw`[^"\\\u0000-\u001f] | "\\" (["\\/bfnrt] | "u" (${HEX4}))`);

const HEX4 = "[0-9A-CEFa-cef] [0-9A-Fa-f]{3} | [Dd] [0-7] [0-9A-Fa-f]{2}";

export const string = (rules: Rules): string => rules.define(`"\\"" ${character(rules)}* "\\""`);

/** Items with commas in between, at least and at most so many, between brackets. */
export function list(rules: Rules, item: string, least = 0, most?: number): string {
  const ws = space(rules);
  if (most === 0) return `"[" ${ws} "]"`;
  const more = `(${ws} "," ${ws} ${item}){${Math.max(0, least - 1)},${most === undefined ? "" : most - 1}}`;
  const items = `${item} ${more} ${ws}`;
  return `"[" ${ws} ${least > 0 ? items : `(${items})?`} "]"`;
}

/** Members of any name, which `key` may narrow, with values of one kind. */
export function members(rules: Rules, value: string, key = string(rules)): { one: string; more: string } {
  const ws = space(rules);
  const one = `${key} ":" ${ws} ${value}`;
  return { one, more: `(${ws} "," ${ws} ${one})*` };
}

export function anyObject(rules: Rules, value = anyValue(rules)): string {
  const ws = space(rules);
  const { one, more } = members(rules, value);
  return rules.define(`"{" ${ws} (${one} ${more} ${ws})? "}"`);
}

const anyNames = new WeakMap<Rules, string>();

export function anyValue(rules: Rules): string {
  const known = anyNames.get(rules);
  if (known !== undefined) return known;
  const name = rules.reserve();
  anyNames.set(rules, name);
  const parts = [string(rules), NUMBER, `"true"`, `"false"`, `"null"`, anyObject(rules, name), list(rules, name)];
  rules.set(name, parts.join(" | "));
  return name;
}

/** A value as it stands in the schema, with free space inside left out. */
export const constant = (value: unknown): string => literal(JSON.stringify(value));

/** The string of a name that is none of `names`, quotes included. */
export function keyExcept(rules: Rules, names: readonly string[]): string {
  const rest = `${character(rules)}* "\\""`;
  const from = (ends: readonly string[]): string => {
    const firsts = [...new Set(ends.filter((n) => n !== "").map((n) => [...n][0]))];
    const taken = [...firsts.map((c) => c.codePointAt(0)!), 0x22, 0x5c];
    const others = complement([[0, 0x1f], ...taken.map((c): [number, number] => [c, c])]);
    const options = [`${oneOf(others)} ${rest}`];
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
