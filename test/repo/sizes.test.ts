/** Files stay small enough to read in one sitting. */
import { expect, test } from "bun:test";
import { statSync } from "node:fs";
import { join } from "node:path";
import { read, repositoryFiles, ROOT } from "./files.ts";

const MAX_LINES = 500;

/** Files that may be longer, and why. */
const LONGER: Record<string, string> = {
  "install.sh": "one file, because it is piped from curl",
};

/** Everything under version control together, in bytes: a clone stays quick. */
const MAX_TOTAL = 32e6;
/** The largest single file, the demo model aside. */
const MAX_FILE = 2e6;

test("source files have at most 500 lines", () => {
  const long = repositoryFiles(".ts", ".tsx", ".js", ".c", ".h", ".m", ".sh")
    .filter((file) => !(file in LONGER) && !file.startsWith("test/fixtures/"))
    .map((file) => [file, read(file).split("\n").length - 1] as const)
    .filter(([, lines]) => lines > MAX_LINES)
    .map(([file, lines]) => `${file}: ${lines}`);
  expect(long).toEqual([]);
});

test("the list of longer files names files that are there", () => {
  const files = new Set(repositoryFiles());
  expect(Object.keys(LONGER).filter((f) => !files.has(f))).toEqual([]);
});

test("the repository stays small", () => {
  const sizes = repositoryFiles().map((f) => [f, statSync(join(ROOT, f)).size] as const);
  expect(sizes.filter(([f, size]) => size > MAX_FILE && f !== "assets/alloy-demo-q8_0.gguf")).toEqual([]);
  expect(sizes.reduce((sum, [, size]) => sum + size, 0)).toBeLessThan(MAX_TOTAL);
});
