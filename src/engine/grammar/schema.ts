/**
 * JSON Schema to grammar: what the grammar accepts, the schema accepts. Properties come in the order in which they are declared. An object
 * whose properties are listed has no others unless `additionalProperties` says so. What no grammar can hold (`not`, `uniqueItems`, ...) is
 * an error in strict mode and else ignored.
 */
import { AlloyError } from "../../support/errors.ts";
import { anyObject, anyValue, boundedString, constant, keyExcept, list, members, SPACE, string } from "./json.ts";
import { merged, type Schema } from "./merge.ts";
import { integerRange, numberRange } from "./numbers.ts";
import { PatternError, regexGrammar } from "./regex.ts";
import type { Rules } from "./rules.ts";

export interface SchemaOptions {
  strict: boolean;
  /** Without strict, lengths of strings are not held: they take the most time to compile. */
  loose?: boolean;
  /** Request field that errors name. */
  param: string;
}

/** Longest schema as JSON text, most rules that come of it, deepest nesting, and largest count that a grammar keeps. */
const MAX_BYTES = 1 << 20;
const MAX_RULES = 20_000;
const MAX_DEPTH = 64;
const MAX_COUNT = 1024;
/** Schemas that are read one inside of the other, references followed, and in all: merging reads what is referred to again and again. */
const MAX_OPEN = 300;
const MAX_READ = 50_000;

const TYPES = ["object", "array", "string", "number", "integer", "boolean", "null"] as const;
type Type = (typeof TYPES)[number];

/** Keywords that are told by what the value must be, for schemas without `type`. */
const HINTS: readonly (readonly [Type, readonly string[]])[] = [
  ["object", ["properties", "required", "additionalProperties"]],
  ["array", ["items", "prefixItems", "minItems", "maxItems"]],
  ["string", ["pattern", "minLength", "maxLength", "format"]],
  ["number", ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"]],
];
const UNSUPPORTED = [
  "not",
  "if",
  "then",
  "else",
  "dependentSchemas",
  "dependentRequired",
  "dependencies",
  "contains",
  "uniqueItems",
  "multipleOf",
  "patternProperties",
  "propertyNames",
  "minProperties",
  "maxProperties",
  "unevaluatedProperties",
  "unevaluatedItems",
  "$dynamicRef",
];

const DATE = String.raw`\d{4}-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])`;
const TIME = String.raw`([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)`;
const BYTE = String.raw`(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)`;
const FORMATS: Record<string, string> = {
  date: `^${DATE}$`,
  time: `^${TIME}$`,
  "date-time": `^${DATE}T${TIME}$`,
  uuid: "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$",
  ipv4: String.raw`^${BYTE}(\.${BYTE}){3}$`,
  email: String.raw`^[a-z0-9_]{1,32}(\.[a-z0-9_]{1,32})?@[a-z0-9]{1,32}(\.[a-z]{2,12}){1,2}$`,
};

/** The grammar of the values that a schema permits, as an expression over `rules`. Throws `invalid_json_schema`. */
export function schemaGrammar(rules: Rules, schema: unknown, o: SchemaOptions): string {
  return new Converter(rules, schema, o).value(schema, "#", 0);
}

class Converter {
  private readonly references = new Map<string, string>();
  /** References followed since the last bracket: one that comes again would be a rule that begins with itself. */
  private following: string[] = [];
  private open = 0;
  private read = 0;

  constructor(
    private readonly rules: Rules,
    private readonly root: unknown,
    private readonly o: SchemaOptions,
  ) {
    const bytes = JSON.stringify(root)?.length ?? 0;
    if (bytes > MAX_BYTES) throw this.bad("#", `is ${bytes} bytes long; at most ${MAX_BYTES} are taken`);
  }

  value(schema: unknown, path: string, depth: number): string {
    if (depth > MAX_DEPTH || this.open > MAX_OPEN)
      throw this.bad(path, `is nested more than ${depth > MAX_DEPTH ? MAX_DEPTH : MAX_OPEN} deep`);
    if (this.rules.size > MAX_RULES || ++this.read > MAX_READ) throw this.bad(path, "makes the grammar too large");
    this.open++;
    try {
      return this.permitted(schema, path, depth);
    } finally {
      this.open--;
    }
  }

  private permitted(schema: unknown, path: string, depth: number): string {
    if (schema === true) return anyValue(this.rules);
    if (schema === false) throw this.bad(path, "is false, which permits nothing");
    if (schema === null || typeof schema !== "object" || Array.isArray(schema)) {
      throw this.bad(path, `must be an object or true, not ${JSON.stringify(schema)}`);
    }
    const s = schema as Schema;
    for (const keyword of UNSUPPORTED) if (keyword in s && s[keyword] !== false) this.unsupported(path, keyword);
    if ("$ref" in s) return this.reference(s, path, depth);
    if ("allOf" in s) return this.value(this.combined(s, path), path, depth + 1);
    for (const keyword of ["anyOf", "oneOf"]) if (keyword in s) return this.alternatives(s, keyword, path, depth);
    if ("const" in s) return constant(s.const);
    if ("enum" in s) return this.enumeration(s, path);
    const { following } = this;
    this.following = [];
    const options = this.types(s, path).map((type) => this.typed(type, s, path, depth));
    this.following = following;
    return this.rules.define(options.join(" | "));
  }

  private typed(type: Type, s: Schema, path: string, depth: number): string {
    switch (type) {
      case "object":
        return this.object(s, path, depth);
      case "array":
        return this.array(s, path, depth);
      case "string":
        return this.string(s, path);
      case "boolean":
        return `("true" | "false")`;
      case "null":
        return `"null"`;
      default:
        return this.number(type, s, path);
    }
  }

  private types(s: Schema, path: string): readonly Type[] {
    if (s.type !== undefined) {
      const given: unknown[] = Array.isArray(s.type) ? s.type : [s.type];
      const wrong = given.find((t) => !TYPES.includes(t as Type));
      if (wrong !== undefined || given.length === 0) {
        throw this.bad(`${path}/type`, `is ${JSON.stringify(s.type)}; it must be among ${TYPES.join(", ")}`);
      }
      return given as Type[];
    }
    const hinted = HINTS.filter(([, keywords]) => keywords.some((k) => k in s)).map(([type]) => type);
    return hinted.length > 0 ? hinted : ["object", "array", "string", "number", "boolean", "null"];
  }

  private object(s: Schema, path: string, depth: number): string {
    const properties = this.record(s, "properties", path);
    const required = this.names(s, path);
    const extra = s.additionalProperties ?? Object.keys(properties).length === 0;
    const all: Record<string, unknown> = { ...properties };
    for (const name of required) {
      if (name in all) continue;
      if (extra === false) throw this.bad(`${path}/required`, `names ${JSON.stringify(name)}, which is not among the properties`);
      all[name] = extra;
    }
    const names = Object.keys(all);
    let first = '""';
    let after = '""';
    if (extra !== false) {
      const value = this.value(extra, `${path}/additionalProperties`, depth + 1);
      if (names.length === 0) return anyObject(this.rules, value);
      const { one, more } = members(this.rules, value, keyExcept(this.rules, names));
      [first, after] = [this.rules.define(`"" | ${one} ${more}`), this.rules.define(more)];
    }
    // From the last property to the first: what may follow when something stands before, and when nothing does.
    for (const name of names.reverse()) {
      const value = this.value(all[name], `${path}/properties/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`, depth + 1);
      const member = this.rules.define(`${constant(name)} ":" ${SPACE} ${value}`);
      const optional = !required.includes(name);
      first = this.rules.define(`${member} ${after}${optional ? ` | ${first}` : ""}`);
      after = this.rules.define(`${SPACE} "," ${SPACE} ${member} ${after}${optional ? ` | ${after}` : ""}`);
    }
    return this.rules.define(`"{" ${SPACE} ${first} ${SPACE} "}"`);
  }

  private array(s: Schema, path: string, depth: number): string {
    const least = this.count(s, "minItems", path) ?? 0;
    const most = this.count(s, "maxItems", path);
    if (most !== undefined && most < least) throw this.bad(`${path}/maxItems`, `is ${most}, less than minItems`);
    const legacy = Array.isArray(s.items);
    const prefix = legacy ? (s.items as unknown[]) : s.prefixItems;
    const rest = legacy ? s.additionalItems : s.items;
    if (prefix === undefined) {
      if (rest === false) return list(this.rules, '""', 0, 0);
      return list(this.rules, this.value(rest ?? true, `${path}/items`, depth + 1), least, most);
    }
    if (!Array.isArray(prefix)) throw this.bad(`${path}/prefixItems`, "must be an array of schemas");
    if (most !== undefined && most < prefix.length) this.unsupported(path, "maxItems");
    const comma = `${SPACE} "," ${SPACE}`;
    const fixed = prefix.map((p, i) => this.value(p, `${path}/prefixItems/${i}`, depth + 1)).join(` ${comma} `);
    const more = Math.max(0, least - prefix.length);
    if (more === 0 && (rest === undefined || rest === false)) return `"[" ${SPACE} ${fixed} ${SPACE} "]"`;
    const item = this.value(rest === undefined || rest === false ? true : rest, `${path}/items`, depth + 1);
    const end = most === undefined ? "" : Math.max(more, most - prefix.length);
    return `"[" ${SPACE} ${fixed} (${comma} ${item}){${more},${end}} ${SPACE} "]"`;
  }

  private string(s: Schema, path: string): string {
    const least = this.count(s, "minLength", path) ?? 0;
    const most = this.count(s, "maxLength", path);
    if (most !== undefined && most < least) throw this.bad(`${path}/maxLength`, `is ${most}, less than minLength`);
    const known = typeof s.format === "string" ? FORMATS[s.format] : undefined;
    const pattern = s.pattern ?? known;
    if (pattern !== undefined) {
      if (typeof pattern !== "string") throw this.bad(`${path}/pattern`, "must be a string");
      if (s.pattern !== undefined && (least > 0 || most !== undefined)) this.unsupported(path, "minLength and maxLength beside a pattern");
      try {
        return this.rules.define(`"\\"" ${regexGrammar(pattern, "json")} "\\""`);
      } catch (e) {
        if (!(e instanceof PatternError)) throw e;
        throw this.bad(`${path}/pattern`, `${JSON.stringify(pattern)} ${e.message}`);
      }
    }
    if (least === 0 && most === undefined) return string(this.rules);
    if (this.o.loose && !this.o.strict) return string(this.rules);
    return boundedString(this.rules, least, most);
  }

  private number(type: "number" | "integer", s: Schema, path: string): string {
    const bound = (keyword: string): number | undefined => {
      const v = s[keyword];
      if (v === undefined) return undefined;
      if (typeof v !== "number" || !Number.isFinite(v)) throw this.bad(`${path}/${keyword}`, `must be a number, not ${JSON.stringify(v)}`);
      return v;
    };
    const bounds = {
      min: bound("minimum"),
      max: bound("maximum"),
      exclusiveMin: bound("exclusiveMinimum"),
      exclusiveMax: bound("exclusiveMaximum"),
    };
    const range = type === "integer" ? integerRange(bounds) : numberRange(bounds);
    if (range === undefined) throw this.bad(path, `permits no ${type}: its bounds leave nothing between them`);
    return this.rules.define(range);
  }

  private enumeration(s: Schema, path: string): string {
    if (!Array.isArray(s.enum) || s.enum.length === 0) throw this.bad(`${path}/enum`, "must be an array with at least one value");
    const types = s.type === undefined ? undefined : this.types(s, path);
    const values = s.enum.filter((v) => !types || types.some((t) => isOf(t, v)));
    if (values.length === 0) throw this.bad(`${path}/enum`, `has no value of type ${JSON.stringify(s.type)}`);
    return this.rules.define(values.map(constant).join(" | "));
  }

  private alternatives(s: Schema, keyword: string, path: string, depth: number): string {
    const { [keyword]: options, ...base } = s;
    if (!Array.isArray(options) || options.length === 0) throw this.bad(`${path}/${keyword}`, "must be an array with at least one schema");
    const permitted = options.map((option, i) => [option, i] as const).filter(([option]) => option !== false);
    if (permitted.length === 0) throw this.bad(`${path}/${keyword}`, "has nothing but false, which permits nothing");
    return this.rules.define(
      permitted.map(([option, i]) => this.value(this.merge(base, option, path), `${path}/${keyword}/${i}`, depth + 1)).join(" | "),
    );
  }

  private combined(s: Schema, path: string): unknown {
    const { allOf, ...base } = s;
    if (!Array.isArray(allOf)) throw this.bad(`${path}/allOf`, "must be an array of schemas");
    return allOf.reduce((all: unknown, part, i) => this.merge(all as Schema, this.part(part, `${path}/allOf/${i}`), path), base);
  }

  /** One of several schemas that hold at once. */
  private part(schema: unknown, path: string): Schema {
    if (schema === true) return {};
    if (schema !== null && typeof schema === "object" && !Array.isArray(schema)) return schema as Schema;
    throw this.bad(path, `must be an object or true, not ${JSON.stringify(schema)}`);
  }

  /** Both at once; references are followed so that what they hold can be merged. */
  private merge(base: Schema, other: unknown, path: string): unknown {
    if (!Object.keys(base).some((k) => !ANNOTATIONS.has(k))) return other;
    if (other === true) return base;
    if (other === null || typeof other !== "object") return other;
    let part = other as Schema;
    for (let hops = 0; typeof part.$ref === "string" && hops < MAX_DEPTH; hops++) {
      const { $ref, ...rest } = part;
      part = { ...this.part(this.resolve($ref, path), $ref), ...rest };
    }
    const { schema, conflict } = merged(base, part);
    if (conflict !== undefined) this.unsupported(path, `${conflict} in schemas that hold at once`);
    return schema;
  }

  private reference(s: Schema, path: string, depth: number): string {
    const { $ref, ...rest } = s;
    if (typeof $ref !== "string") throw this.bad(`${path}/$ref`, `must be a string, not ${JSON.stringify($ref)}`);
    if (Object.keys(rest).some((k) => !ANNOTATIONS.has(k))) return this.value(this.merge(rest, { $ref }, path), path, depth + 1);
    if (this.following.includes($ref))
      throw this.bad(`${path}/$ref`, `is ${JSON.stringify($ref)}, which refers to itself and nothing else`);
    const known = this.references.get($ref);
    if (known !== undefined) return known;
    const target = this.resolve($ref, path);
    const name = this.rules.reserve();
    this.references.set($ref, name);
    this.following.push($ref);
    this.rules.set(name, this.value(target, $ref, 0));
    this.following.pop();
    return name;
  }

  private resolve(reference: string, path: string): unknown {
    if (!/^#(\/|$)/.test(reference)) {
      throw this.bad(`${path}/$ref`, `is ${JSON.stringify(reference)}; only references into the schema itself (#/...) are followed`);
    }
    let at = this.root;
    for (const part of reference.split("/").slice(1)) {
      const key = decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~");
      if (at === null || typeof at !== "object" || !Object.hasOwn(at, key)) {
        throw this.bad(`${path}/$ref`, `is ${JSON.stringify(reference)}, which the schema does not have`);
      }
      at = (at as Schema)[key];
    }
    return at;
  }

  private record(s: Schema, keyword: string, path: string): Schema {
    const v = s[keyword] ?? {};
    if (typeof v !== "object" || Array.isArray(v)) throw this.bad(`${path}/${keyword}`, `must be an object, not ${JSON.stringify(v)}`);
    return v as Schema;
  }

  private names(s: Schema, path: string): string[] {
    const v = s.required ?? [];
    if (!Array.isArray(v) || !v.every((n) => typeof n === "string")) throw this.bad(`${path}/required`, "must be an array of strings");
    return v;
  }

  private count(s: Schema, keyword: string, path: string): number | undefined {
    const v = s[keyword];
    if (v === undefined) return undefined;
    if (!Number.isInteger(v) || (v as number) < 0) {
      throw this.bad(`${path}/${keyword}`, `must be a whole number from 0, not ${JSON.stringify(v)}`);
    }
    if ((v as number) <= MAX_COUNT) return v as number;
    this.unsupported(path, `${keyword} above ${MAX_COUNT}`);
    return undefined;
  }

  private unsupported(path: string, keyword: string): void {
    if (this.o.strict) throw this.bad(path, `has the keyword ${keyword}, which is not supported`, "Leave it out, or ask without strict.");
  }

  private bad(path: string, what: string, hint?: string): AlloyError {
    const { param } = this.o;
    const reason = `cannot be followed: ${path} ${what}`;
    return new AlloyError("invalid_json_schema", `the JSON schema in '${param}' ${reason}`, { param, hint, data: { reason } });
  }
}

const ANNOTATIONS = new Set(
  "$schema $id $comment $defs definitions title description default examples deprecated readOnly writeOnly".split(" "),
);

function isOf(type: Type, v: unknown): boolean {
  if (type === "integer") return Number.isInteger(v);
  if (type === "null") return v === null;
  if (type === "array") return Array.isArray(v);
  if (type === "object") return typeof v === "object" && v !== null && !Array.isArray(v);
  return typeof v === type;
}
