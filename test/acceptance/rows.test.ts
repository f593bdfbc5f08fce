/** The table of the acceptance matrix says what the tests say. */
import { expect, test } from "bun:test";
import { read } from "../repo/files.ts";
import { page, ROWS, testsOfRows } from "./rows.ts";

test("docs/acceptance.md is what `bun test/acceptance/rows.ts` prints", () => {
  expect(read("docs/acceptance.md")).toBe(page());
});

test("every row has a test, or says where its tests lie; every test's row exists", () => {
  const tests = testsOfRows();
  expect(Object.keys(ROWS).map(Number)).toEqual(Array.from({ length: 100 }, (_, i) => i + 1));
  expect(Object.entries(ROWS).flatMap(([number, r]) => (tests.has(Number(number)) || r.elsewhere ? [] : [number]))).toEqual([]);
  expect([...tests.keys()].filter((number) => !(number in ROWS))).toEqual([]);
});
