/** Random JSON schemas, and ajv, which knows what satisfies them. */
import { isIPv4 } from "node:net";
import Ajv from "ajv/dist/2020";
import fc from "fast-check";

export const ajv = new Ajv({ strict: false });
const isDate = (text: string): boolean => !Number.isNaN(Date.parse(text));
ajv.addFormat("date", (text: string) => /^\d{4}-\d\d-\d\d$/.test(text) && isDate(text));
ajv.addFormat("date-time", (text: string) => text.includes("T") && isDate(text));
ajv.addFormat("uuid", /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i);
ajv.addFormat("ipv4", (text: string) => isIPv4(text));

/** ajv takes objects with a member `toString` or the like for something else. */
const constants = fc.jsonValue({ maxDepth: 1 }).filter((v) => !/"(toString|valueOf|constructor|__proto__)"/.test(JSON.stringify(v)));
const name = fc.stringMatching(/^[a-z"\\ é{}]{1,6}$/);
const bounds = fc.option(fc.tuple(fc.integer({ min: -2000, max: 2000 }), fc.nat(3000)), { nil: undefined });
const limits = fc.option(fc.tuple(fc.nat(3), fc.nat(6)), { nil: undefined });
const scalar = fc.oneof(
  bounds.map((b) => ({ type: "integer", ...(b && { minimum: b[0], maximum: b[0] + b[1] }) })),
  bounds.map((b) => ({ type: "number", ...(b && { exclusiveMinimum: b[0] / 8, maximum: (b[0] + b[1] + 1) / 8 }) })),
  limits.map((b) => ({ type: "string", ...(b && { minLength: b[0], maxLength: b[0] + b[1] }) })),
  fc.constantFrom("^[a-c]+-\\d{2,3}$", "x|y", "^\\S\\w?[^a-z]$", '^(?:ab|"c")*$', "^.{2}$").map((pattern) => ({ type: "string", pattern })),
  fc.constantFrom("date", "date-time", "uuid", "ipv4").map((format) => ({ type: "string", format })),
  fc.uniqueArray(constants, { minLength: 1, maxLength: 4, selector: (v) => JSON.stringify(v) }).map((e) => ({ enum: e })),
  constants.map((c) => ({ const: c })),
  fc.constantFrom({ type: "boolean" }, { type: "null" }, { type: ["integer", "null"] }),
);
/** Schemas of what is supported. */
export const { tree: schemas } = fc.letrec<{ tree: object }>((tie) => ({
  tree: fc.oneof(
    { maxDepth: 3, depthSize: "small" },
    scalar,
    fc
      .tuple(fc.dictionary(name, tie("tree"), { minKeys: 1, maxKeys: 4 }), fc.infiniteStream(fc.boolean()), fc.option(tie("tree")))
      .map(([properties, needed, extra]) => ({
        type: "object",
        properties,
        required: Object.keys(properties).filter(() => needed.next().value),
        additionalProperties: extra ?? false,
      })),
    fc.tuple(tie("tree"), limits).map(([items, b]) => ({ type: "array", items, ...(b && { minItems: b[0], maxItems: b[0] + b[1] }) })),
    fc.array(tie("tree"), { minLength: 1, maxLength: 3 }).map((anyOf) => ({ anyOf })),
    fc.array(tie("tree"), { minLength: 1, maxLength: 3 }).map((prefixItems) => ({ type: "array", prefixItems, items: false })),
  ),
}));
