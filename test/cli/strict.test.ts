import { describe, expect, test } from "bun:test";
import { strictCommand, UsageError, type ArgSpecs } from "../../src/cli/strict.ts";

const ARGS = {
  model: { type: "positional", required: true, description: "A model" },
  words: { type: "positional", rest: true, description: "Words" },
  name: { type: "string", alias: "n", hint: "text", description: "A name" },
  tag: { type: "string", hint: "text", multiple: true, description: "Tags" },
  level: { type: "enum", options: ["low", "high"], default: "low", description: "A level" },
  count: { type: "integer", alias: "c", hint: "count", min: 0, max: 10, default: 3, description: "A count" },
  "top-p": { type: "number", hint: "share", description: "A share" },
  sizes: { type: "integers", alias: "p", hint: "sizes", default: [512], description: "Sizes" },
  think: { type: "boolean", negatable: true, description: "Three-valued" },
  verbose: { type: "boolean", alias: "v", description: "A flag" },
} as const satisfies ArgSpecs;

async function parse(...raw: string[]) {
  let values: Record<string, unknown> = {};
  const command = strictCommand({
    name: "try",
    summary: "",
    args: ARGS,
    examples: [],
    run: async (args) => void (values = args),
  });
  await command.run(raw, undefined);
  return values;
}

async function usageError(...raw: string[]): Promise<UsageError> {
  const error = await parse(...raw).catch((e) => e);
  expect(error).toBeInstanceOf(UsageError);
  return error as UsageError;
}

describe("what is accepted", () => {
  test("defaults, and undefined where there is none", async () => {
    expect(await parse("m")).toEqual({
      model: "m",
      words: [],
      name: undefined,
      tag: [],
      level: "low",
      count: 3,
      "top-p": undefined,
      sizes: [512],
      think: undefined,
      verbose: undefined,
    });
  });

  test.each([
    [["m", "--name", "x"], { name: "x" }],
    [["m", "--name=x"], { name: "x" }],
    [["m", "--name="], { name: "" }],
    [["m", "--name=-x"], { name: "-x" }],
    [["m", "--name", "-"], { name: "-" }],
    [["m", "--name", "-1"], { name: "-1" }],
    [["m", "-n", "x"], { name: "x" }],
    [["m", "-n=x"], { name: "x" }],
    [["m", "-nx"], { name: "x" }],
    [["m", "--name=a=b"], { name: "a=b" }],
    [["-c", "4", "m"], { count: 4 }],
    [["-c4", "m"], { count: 4 }],
    [["m", "--top-p", "-0.5"], { "top-p": -0.5 }],
    [["m", "--top-p", "1e-3"], { "top-p": 0.001 }],
    [["m", "--tag", "a", "--tag=b"], { tag: ["a", "b"] }],
    [["m", "-p", "1,2", "-p", "3"], { sizes: [1, 2, 3] }],
    [["m", "--think"], { think: true }],
    [["m", "--no-think"], { think: false }],
    [["m", "-v"], { verbose: true }],
    [["m", "--verbose=false"], { verbose: false }],
    [["m", "--level", "high"], { level: "high" }],
    [["m", "two", "three"], { words: ["two", "three"] }],
    [["m", "--", "--name", "x"], { words: ["--name", "x"] }],
    [["m", "-1", "-"], { words: ["-1", "-"] }],
    [["m", "", "x"], { words: ["", "x"] }],
    [["constructor", "__proto__"], { model: "constructor", words: ["__proto__"] }],
  ])("%j", async (raw, expected) => {
    expect(await parse(...raw)).toMatchObject(expected);
  });
});

describe("what is refused, and how", () => {
  test.each([
    [["m", "--nmae", "x"], "unknown option --nmae", "did you mean --name?"],
    [["m", "--constructor"], "unknown option --constructor", undefined],
    [["m", "-x"], "unknown option -x", undefined],
    [["m", "--no-verbose"], "unknown option --no-verbose", undefined],
    [["m", "--name"], "option --name needs a value", "write --name <text>"],
    [
      ["m", "--name", "--verbose"],
      'option --name needs a value (the next word is "--verbose")',
      "write --name=--verbose if that is the value",
    ],
    [["m", "--name", "a", "-n", "b"], "option --name is given twice (a and b)", "give it once"],
    [["m", "--think", "--no-think"], "option --think is given twice (true and false)", "give it once"],
    [["m", "--count", "many"], '--count must be a whole number, got "many"', "write for example --count 3"],
    [["m", "--count", "1.5"], '--count must be a whole number, got "1.5"', "write for example --count 3"],
    [["m", "--count="], '--count must be a whole number, got ""', "write for example --count 3"],
    [["m", "--count", "11"], "--count must be between 0 and 10, got 11", undefined],
    [["m", "--top-p", "NaN"], '--top-p must be a number, got "NaN"', undefined],
    [["m", "-p", "1,,2"], '--sizes must be a whole number, got ""', undefined],
    [["m", "--level", "hgih"], '--level cannot be "hgih"', "did you mean high? It is one of low, high"],
    [["m", "--verbose=3"], 'option --verbose takes no value, got "3"', "write just --verbose"],
    [[], "MODEL is missing: A model", "see `alloy try --help`"],
  ])("%j", async (raw, message, hint) => {
    const error = await usageError(...raw);
    expect(error.message).toBe(message);
    if (hint !== undefined) expect(error.hint).toStartWith(hint);
  });

  test("surplus arguments", async () => {
    const command = strictCommand({ name: "try", summary: "", args: {}, examples: [], run: async () => {} });
    const error = await command.run(["a b", "c"], undefined).catch((e) => e);
    expect(error.message).toBe('unexpected argument "a b" "c"');
  });
});

test("a command's number is the exit code, nothing is 0", async () => {
  const make = (code: number | void) => strictCommand({ name: "try", summary: "", args: {}, examples: [], run: async () => code });
  expect(await make(5).run([], undefined)).toBe(5);
  expect(await make(undefined).run([], undefined)).toBe(0);
});
