/** What schemas say about types, whatever a request calls a schema; and texts as values. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { type JsonType, SchemaView } from "../../src/chat/formats/schema.ts";
import { jsonValue } from "../../src/chat/formats/values.ts";
import { seed } from "./helpers.ts";

const view = (parameters: unknown) => SchemaView.of({ name: "f", parameters: parameters as Record<string, unknown> });
const types = (property: unknown, rest: object = {}) => [...view({ properties: { p: property }, ...rest }).property("p").types].toSorted();

test("types", () => {
  expect(types({ type: "string" })).toEqual(["string"]);
  expect(types({ type: ["string", "null"] })).toEqual(["null", "string"]);
  expect(types({ enum: ["a", 1, null] })).toEqual(["null", "number", "string"]);
  expect(types({ const: true })).toEqual(["boolean"]);
  expect(types({ anyOf: [{ type: "integer" }, { $ref: "#/$defs/x" }] }, { $defs: { x: { type: "array" } } })).toEqual(["array", "integer"]);
  expect(types({ properties: {} })).toEqual(["object"]);
  expect(types({})).toEqual([]);
  expect(types({ anyOf: [{ type: "integer" }, {}] })).toEqual([]);
  expect(types(undefined)).toEqual([]);
  expect(types({ $ref: "#/properties/p" })).toEqual([]);
  expect([...view({ additionalProperties: { type: "number" } }).property("any").types]).toEqual(["number"]);
  expect([...view({ properties: { p: { items: { type: "string" } } } }).property("p").items.types]).toEqual(["string"]);
});

test("schemas that refer to themselves many times over are bounded", () => {
  const again = Array.from({ length: 30 }, () => ({ $ref: "#" }));
  const v = view({ type: "object", anyOf: again, properties: Object.fromEntries(again.map((r, i) => [`p${i}`, r])) });
  expect(JSON.stringify(v.plain()).length).toBeLessThan(1e6);
  expect([...v.property("p3").property("p4").types]).toEqual(["object"]);
});

test("any value at all will do as a schema", () => {
  fc.assert(
    fc.property(fc.anything({ withNullPrototype: true }), fc.string(), (schema, key) => {
      const v = view({ type: "object", properties: { p: schema }, items: schema, anyOf: [schema] });
      expect(v.property("p").items.types).toBeInstanceOf(Set);
      expect(v.property(key).isText).toBeBoolean();
      expect(JSON.parse(JSON.stringify(v.plain())).type).toBeString();
    }),
    { seed: seed("schemas") },
  );
});

test("values", () => {
  const value = (text: string, ...of: JsonType[]) => jsonValue(text, new Set(of));
  expect(value("12", "string")).toBe('"12"');
  expect(value("12", "integer")).toBe("12");
  expect(value(" 1.0 ", "number")).toBe("1.0");
  expect(value("1", "boolean")).toBe('"1"');
  expect(value("False", "boolean")).toBe("false");
  expect(value("None", "string", "null")).toBe("null");
  expect(value("Nobody", "string", "null")).toBe('"Nobody"');
  expect(value("{'a': [True, \"it's\", None, 1e-07]}", "object")).toBe('{"a": [true, "it\'s", null, 1e-07]}');
  expect(value("[1, 2", "array")).toBe('"[1, 2"');
  expect(value("{}{}", "object")).toBe('"{}{}"');
  expect(value("hello there")).toBe('"hello there"');
  expect(value("[1]")).toBe("[1]");
  expect(value("'quoted'")).toBe("\"'quoted'\"");
});

test("any text becomes JSON", () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(..."[]{}'\",: \\nuTrueNo1-.\n") }), (text) => {
      JSON.parse(jsonValue(text, new Set()));
    }),
    { seed: seed("values"), numRuns: 2000 },
  );
});
