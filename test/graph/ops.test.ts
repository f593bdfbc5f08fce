import { expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { OPS } from "../../src/graph/ops/index.ts";

test("the table of ops holds every op of the folder, under its own name", async () => {
  const folder = join(import.meta.dir, "../../src/graph/ops");
  const defined: unknown[] = [];
  for (const file of readdirSync(folder).filter((f) => f !== "index.ts"))
    for (const value of Object.values(await import(join(folder, file))))
      if (value !== null && typeof value === "object" && "lower" in value) defined.push(value);
  expect(new Set<unknown>(Object.values(OPS))).toEqual(new Set(defined));
  expect(defined.length).toBeGreaterThan(5);
  for (const [name, op] of Object.entries(OPS)) expect(op.name).toBe(name);
});
