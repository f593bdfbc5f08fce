/**
 * Strict commands on citty. citty defines, parses and runs; it is lax about what it accepts, so the raw arguments are checked
 * first and handed to it in one canonical form: unknown flags, missing values, bad numbers, bad enum values, repeated single
 * options and surplus arguments are errors here, each with what was meant instead.
 */
import { defineCommand, runCommand, type ArgsDef } from "citty";
import { AlloyError, suggest } from "../support/errors.ts";

interface Described {
  /** One line for the help; the default and the unit are added by the help itself. */
  description: string;
}

export interface BooleanOption extends Described {
  type: "boolean";
  alias?: string;
  default?: boolean;
  /** Also accept `--no-NAME`. An option without a default is then three-valued: undefined leaves the choice to the model. */
  negatable?: boolean;
}

export interface StringOption extends Described {
  type: "string";
  alias?: string;
  /** What the value is called in the help: `--model <reference>`. */
  hint: string;
  default?: string;
  /** May be given several times; the value is a list. */
  multiple?: boolean;
}

export interface NumberOption extends Described {
  /** "integers" is a comma list, possibly repeated: `-p 128,512 -p 1024`. */
  type: "number" | "integer" | "integers";
  alias?: string;
  hint: string;
  default?: number | readonly number[];
  min?: number;
  max?: number;
}

export interface EnumOption extends Described {
  type: "enum";
  alias?: string;
  options: readonly string[];
  default?: string;
}

export interface Positional extends Described {
  type: "positional";
  required?: boolean;
  /** How the usage line shows it, if not `NAME`. */
  label?: string;
  /** Takes all that is left; the value is a list. Only for the last one. */
  rest?: boolean;
}

export type ArgSpec = BooleanOption | StringOption | NumberOption | EnumOption | Positional;
export type ArgSpecs = Record<string, ArgSpec>;

type OrUndefined<S, T> = S extends { default: unknown } | { required: true } ? T : T | undefined;
type ValueOf<S extends ArgSpec> = S extends { type: "boolean" }
  ? OrUndefined<S, boolean>
  : S extends { rest: true } | { multiple: true }
    ? string[]
    : S extends { type: "integers" }
      ? OrUndefined<S, number[]>
      : S extends { type: "number" | "integer" }
        ? OrUndefined<S, number>
        : S extends { type: "enum"; options: readonly (infer O)[] }
          ? OrUndefined<S, O>
          : OrUndefined<S, string>;
export type Values<A extends ArgSpecs> = { [K in keyof A]: ValueOf<A[K]> };

/** A mistake in how a command was called: exit code 2. */
export class UsageError extends AlloyError {
  constructor(message: string, hint?: string) {
    super("bad_argument", message, { hint });
  }
}

export interface CommandSpec<A extends ArgSpecs, C> {
  name: string;
  /** One line, for the list of commands. */
  summary: string;
  /** More lines for the command's own help. */
  description?: string;
  args: A;
  /** Command lines with what they do. */
  examples: readonly (readonly [command: string, what: string])[];
  /** Returns the exit code; nothing means 0. */
  run(args: Values<A>, context: C): Promise<number | void>;
}

/** A command with its argument types hidden, as the table and the help see it. */
export interface Command<C> {
  readonly spec: Omit<CommandSpec<ArgSpecs, C>, "run">;
  run(raw: readonly string[], context: C): Promise<number>;
}

/** Makes a runnable command of its description. `C` is what the program hands to every command. */
export function strictCommand<const A extends ArgSpecs, C>(spec: CommandSpec<A, C>): Command<C> {
  const args = toCitty(spec.args);
  return {
    spec,
    async run(raw, context) {
      const checked = checkArgs(raw, spec.args, spec.name);
      const command = defineCommand({
        meta: { name: spec.name, description: spec.summary },
        args,
        run: ({ args: parsed, data }) => spec.run(typedValues(parsed, checked, spec.args) as Values<A>, data as C),
      });
      const { result } = await runCommand(command, { rawArgs: checked.canonical, data: context });
      return typeof result === "number" ? result : 0;
    },
  };
}

interface Checked {
  /** `--name=value`, `--flag`, `--no-flag`, then `--` and the positionals: a form that citty cannot misread. */
  canonical: string[];
  /** Every value given, by option name, in order. */
  given: Map<string, string[]>;
  positionals: string[];
}

/** Checks raw arguments against their description. Throws UsageError. */
export function checkArgs(raw: readonly string[], specs: ArgSpecs, command: string): Checked {
  const byFlag = flagTable(specs);
  const given = new Map<string, string[]>();
  const positionals: string[] = [];
  const put = (name: string, value: string) => {
    const spec = specs[name];
    const list = given.get(name) ?? [];
    if (list.length > 0 && !repeatable(spec)) {
      if (spec.type === "boolean" && list[0] === value) return;
      throw new UsageError(`option --${name} is given twice (${list[0]} and ${value})`, "give it once");
    }
    checkValue(name, spec, value);
    given.set(name, [...list, value]);
  };

  for (let i = 0; i < raw.length; i++) {
    const word = raw[i];
    if (word === "--") {
      positionals.push(...raw.slice(i + 1));
      break;
    }
    if (!word.startsWith("-") || word === "-" || /^-\.?\d/.test(word)) {
      positionals.push(word);
      continue;
    }
    const [flag, inline] = splitFlag(word, byFlag);
    const entry = byFlag.get(flag);
    if (entry === undefined) throw unknownFlag(flag, byFlag, command);
    const { name, negated } = entry;
    const spec = specs[name];
    if (spec.type === "boolean") {
      if (inline === undefined) put(name, negated ? "false" : "true");
      else if (!negated && (inline === "true" || inline === "false")) put(name, inline);
      else throw new UsageError(`option ${flag} takes no value, got "${inline}"`, `write just ${flag}`);
      continue;
    }
    if (inline !== undefined) {
      put(name, inline);
      continue;
    }
    const next = raw[i + 1];
    if (next === undefined || (next.startsWith("-") && next !== "-" && !/^-\.?\d/.test(next))) {
      const problem = next === undefined ? "" : ` (the next word is "${next}")`;
      const how = next === undefined ? `${flag} ${valueName(spec)}` : `--${name}=${next} if that is the value`;
      throw new UsageError(`option ${flag} needs a value${problem}`, `write ${how}`);
    }
    put(name, next);
    i++;
  }
  checkPositionals(positionals, specs, command);

  const canonical: string[] = [];
  for (const [name, values] of given) {
    const value = values.at(-1)!;
    if (specs[name].type === "boolean") canonical.push(value === "true" ? `--${name}` : `--no-${name}`);
    else canonical.push(`--${name}=${value}`);
  }
  canonical.push("--", ...positionals);
  return { canonical, given, positionals };
}

function repeatable(spec: ArgSpec): boolean {
  return spec.type === "integers" || (spec.type === "string" && spec.multiple === true);
}

type FlagTable = Map<string, { name: string; negated: boolean }>;

function flagTable(specs: ArgSpecs): FlagTable {
  const table: FlagTable = new Map();
  for (const [name, spec] of Object.entries(specs)) {
    if (spec.type === "positional") continue;
    table.set(`--${name}`, { name, negated: false });
    if (spec.alias !== undefined) table.set(`-${spec.alias}`, { name, negated: false });
    if (spec.type === "boolean" && spec.negatable) table.set(`--no-${name}`, { name, negated: true });
  }
  return table;
}

/** `--a=b` and `-a=b` into flag and value; `-n24` too when `-n` takes one. */
function splitFlag(word: string, table: FlagTable): [flag: string, value: string | undefined] {
  const equals = word.indexOf("=");
  if (equals > 0) return [word.slice(0, equals), word.slice(equals + 1)];
  if (!word.startsWith("--") && word.length > 2 && !table.has(word) && table.has(word.slice(0, 2)))
    return [word.slice(0, 2), word.slice(2)];
  return [word, undefined];
}

function unknownFlag(flag: string, table: FlagTable, command: string): UsageError {
  const near = suggest(
    flag.replace(/^-+/, ""),
    [...table.keys()].filter((k) => k.startsWith("--")).map((k) => k.slice(2)),
  );
  const help = `\`alloy ${command} --help\` lists the options`;
  return new UsageError(`unknown option ${flag}`, near === undefined ? help : `did you mean --${near}? ${help}`);
}

function checkPositionals(given: readonly string[], specs: ArgSpecs, command: string): void {
  const slots = Object.entries(specs).filter((e): e is [string, Positional] => e[1].type === "positional");
  const missing = slots.slice(given.length).find(([, s]) => s.required);
  if (missing !== undefined) {
    throw new UsageError(`${missing[0].toUpperCase()} is missing: ${missing[1].description}`, `see \`alloy ${command} --help\``);
  }
  const rest = slots.at(-1)?.[1].rest === true;
  if (!rest && given.length > slots.length) {
    const quoted = given.slice(slots.length).map((w) => JSON.stringify(w));
    throw new UsageError(`unexpected argument ${quoted.join(" ")}`, `put quotes around text with spaces; see \`alloy ${command} --help\``);
  }
}

function checkValue(name: string, spec: ArgSpec, value: string): void {
  if (spec.type === "enum" && !spec.options.includes(value)) {
    const near = suggest(value, spec.options);
    const list = spec.options.join(", ");
    throw new UsageError(
      `--${name} cannot be "${value}"`,
      near === undefined ? `use one of ${list}` : `did you mean ${near}? It is one of ${list}`,
    );
  }
  if (spec.type === "number" || spec.type === "integer") parseNumber(name, spec, value);
  if (spec.type === "integers") for (const part of value.split(",")) parseNumber(name, spec, part);
}

function parseNumber(name: string, spec: NumberOption, text: string): number {
  const whole = spec.type !== "number";
  const kind = whole ? "a whole number" : "a number";
  const value = text.trim() === "" ? NaN : Number(text);
  if (!Number.isFinite(value) || (whole && !Number.isSafeInteger(value))) {
    throw new UsageError(`--${name} must be ${kind}, got "${text}"`, `write for example --${name} ${example(spec)}`);
  }
  const { min = -Infinity, max = Infinity } = spec;
  if (value < min || value > max) {
    const range = max === Infinity ? `at least ${min}` : min === -Infinity ? `at most ${max}` : `between ${min} and ${max}`;
    throw new UsageError(`--${name} must be ${range}, got ${text}`);
  }
  return value;
}

function example(spec: NumberOption): string {
  if (spec.default !== undefined) return String(spec.default);
  return String(spec.min ?? 1);
}

/** How an option's value is written in help and hints: `<tokens>`, `exact|fast`. */
export function valueName(spec: Exclude<ArgSpec, BooleanOption>): string {
  if (spec.type === "enum") return spec.options.join("|");
  return spec.type === "positional" ? "" : `<${spec.hint}>`;
}

function toCitty(specs: ArgSpecs): ArgsDef {
  const args: ArgsDef = {};
  for (const [name, spec] of Object.entries(specs)) {
    const { description } = spec;
    if (spec.type === "positional") args[name] = { type: "positional", description, required: spec.required === true };
    else if (spec.type === "boolean") args[name] = { type: "boolean", description, default: spec.default };
    else if (spec.type === "enum") args[name] = { type: "enum", description, options: [...spec.options], default: spec.default };
    else args[name] = { type: "string", description, default: spec.type === "string" ? spec.default : undefined };
  }
  return args;
}

/** citty's values with numbers as numbers and lists as lists. */
function typedValues(parsed: Record<string, unknown>, checked: Checked, specs: ArgSpecs): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  let position = 0;
  for (const [name, spec] of Object.entries(specs)) {
    const given = checked.given.get(name);
    if (spec.type === "positional") values[name] = spec.rest ? checked.positionals.slice(position) : parsed[name];
    else if (spec.type === "string" && spec.multiple) values[name] = given ?? [];
    else if (spec.type === "number" || spec.type === "integer") values[name] = given === undefined ? spec.default : Number(given[0]);
    else if (spec.type === "integers") values[name] = given?.flatMap((list) => list.split(",").map(Number)) ?? spec.default;
    else values[name] = parsed[name];
    if (spec.type === "positional") position++;
  }
  return values;
}
