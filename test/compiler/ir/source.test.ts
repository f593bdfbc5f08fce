/** Which part of a line a comment or message shows. */
import { expect, test } from "bun:test";
import { sourceText } from "../../../src/compiler/ir/source.ts";

const LINE = '  const a = al.load(p + i, { mask: i < n, other: 0 }), b = a * 2, name = "x, y", c = f(a, [b, b]);';
const at = (part: string): string => sourceText(`(al, p) => {\n${LINE}\n}`, { line: 2, column: LINE.indexOf(part) });

test("of joined declarations the one that is meant", () => {
  expect(at("al.load")).toBe("const a = al.load(p + i, { mask: i < n, other: 0 })");
  expect(at("other: 0")).toBe("const a = al.load(p + i, { mask: i < n, other: 0 })");
  expect(at("a * 2")).toBe("const b = a * 2");
  expect(at('y"')).toBe('const name = "x, y"');
  expect(at("b, b")).toBe("const c = f(a, [b, b]);");
});

test("other lines are whole, long ones cut, and no source gives nothing", () => {
  expect(sourceText("a\n  for (let i = 0, j = 1; i < n; i++) {", { line: 2, column: 20 })).toBe("for (let i = 0, j = 1; i < n; i++) {");
  expect(sourceText(`x = ${"y + ".repeat(80)}1`, { line: 1, column: 4 })).toHaveLength(140);
  expect(sourceText(undefined, { line: 1, column: 0 })).toBe("");
  expect(sourceText("a", { line: 9, column: 0 })).toBe("");
});
