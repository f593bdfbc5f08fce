/** Imports run one way. The order stands in src/README.md and here, and nowhere else. */
import { expect, test } from "bun:test";
import { dirname, join, normalize } from "node:path";
import { read, repositoryFiles } from "./files.ts";

/** Top to bottom: a layer imports from those below it only. Layers in one group do not import each other, unless ALLOWED says so. */
const ORDER = [
  ["cli"],
  ["server"],
  ["engine"],
  ["chat"],
  ["models", "train", "roofline"],
  ["graph"],
  ["lazy"],
  ["kernels"],
  ["compiler"],
  ["runtime"],
  ["hub", "formats", "tokenizer"],
  ["support"],
] as const;

/** Between layers of one group. */
const ALLOWED = ["hub > formats", "tokenizer > formats", "train > models", "roofline > models"];

const rank = new Map(ORDER.flatMap((group, i) => group.map((layer) => [layer as string, i] as const)));

/** `src/engine/api.ts` -> "engine", `kernels/norm.ts` -> "kernels"; undefined for what is no layer (package.json, assets). */
function layerOf(path: string): string | undefined {
  const [first, second] = path.split("/");
  return first === "kernels" ? "kernels" : first === "src" ? second : undefined;
}

interface Edge {
  from: string;
  to: string;
}

/** Value imports between files; type-only ones cost nothing at run time and are left out by the scanner. */
function edges(): Edge[] {
  const transpiler = new Bun.Transpiler({ loader: "ts" });
  return repositoryFiles(".ts")
    .filter((file) => layerOf(file) !== undefined && !file.endsWith(".d.ts"))
    .flatMap((file) =>
      transpiler
        .scanImports(read(file).replace(/^#!.*/, ""))
        .filter(({ path }) => path.startsWith("."))
        .map(({ path }) => ({ from: file, to: normalize(join(dirname(file), path)) })),
    );
}

test("every folder of src/ has a place in the order", () => {
  const layers = new Set(
    repositoryFiles(".ts")
      .filter((f) => f.startsWith("src/") && f.split("/").length > 2)
      .map((f) => layerOf(f)!),
  );
  expect([...layers].filter((l) => !rank.has(l))).toEqual([]);
});

test("imports run downwards", () => {
  const wrong = edges().filter(({ from, to }) => {
    const [a, b] = [layerOf(from)!, layerOf(to)];
    if (b === undefined || a === b || ALLOWED.includes(`${a} > ${b}`)) return false;
    return rank.get(a)! >= rank.get(b)!;
  });
  expect(wrong.map(({ from, to }) => `${from} imports ${to}`)).toEqual([]);
});

test("nothing imports what is not there, or tests, or benchmarks", () => {
  const files = new Set(repositoryFiles());
  const wrong = edges().filter(({ to }) => !files.has(to) || /^(test|bench)\//.test(to));
  expect(wrong.map(({ from, to }) => `${from} imports ${to}`)).toEqual([]);
});

test("no computed import(): it would be missing from the executable", () => {
  const computed = repositoryFiles(".ts")
    .filter((f) => layerOf(f) !== undefined)
    .flatMap((f) =>
      read(f)
        .split("\n")
        .filter((line) => /\bimport\((?!["'])/.test(line) && !/^\s*(\*|\/\/|\/\*)/.test(line))
        .map((line) => `${f}: ${line.trim()}`),
    );
  expect(computed).toEqual([]);
});
