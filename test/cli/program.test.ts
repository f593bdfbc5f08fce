import { describe, expect, test } from "bun:test";
import { COMMANDS } from "../../src/cli/commands.ts";
import { AlloyError } from "../../src/support/errors.ts";
import { VERSION } from "../../src/support/version.ts";
import { alloy } from "./fakes.ts";

describe("the table of commands", () => {
  test.each(Object.keys(COMMANDS))("%s has the same summary in table and command, examples that name it, and a help page", async (name) => {
    const { spec } = await COMMANDS[name].load();
    expect(spec.name).toBe(name);
    expect(spec.summary).toBe(COMMANDS[name].summary);
    expect(spec.examples.length).toBeGreaterThan(0);
    for (const [command] of spec.examples) expect(command).toContain("alloy ");
    const { code, stdout } = await alloy([name, "--help"]);
    expect(code).toBe(0);
    expect(stdout).toStartWith(`alloy ${name}: ${spec.summary}\n`);
    for (const line of stdout.split("\n")) expect(line.length).toBeLessThanOrEqual(120);
    for (const option of Object.entries(spec.args)) if (option[1].type !== "positional") expect(stdout).toContain(`--${option[0]}`);
  });

  test("options' short names do not collide", async () => {
    for (const name of Object.keys(COMMANDS)) {
      const { spec } = await COMMANDS[name].load();
      const short = Object.values(spec.args).flatMap((a) => ("alias" in a && a.alias !== undefined ? [a.alias] : []));
      expect(new Set([...short, "h"]).size).toBe(short.length + 1);
    }
  });
});

describe("global behaviour", () => {
  test("no words: help, exit 0", async () => {
    const { code, stdout } = await alloy([]);
    expect(code).toBe(0);
    for (const name of Object.keys(COMMANDS)) expect(stdout).toContain(`\n  ${name} `);
  });

  test("help COMMAND is COMMAND --help", async () => {
    expect((await alloy(["help", "run"])).stdout).toBe((await alloy(["run", "-h"])).stdout);
  });

  test("--version, -V and --json", async () => {
    expect((await alloy(["--version"])).stdout).toBe(`${VERSION}\n`);
    expect((await alloy(["-V"])).stdout).toBe(`${VERSION}\n`);
    expect(JSON.parse((await alloy(["--version", "--json"])).stdout)).toEqual({ version: VERSION });
  });

  test.each([
    ["srve", "did you mean `alloy serve`?"],
    ["constructor", "`alloy --help` lists the commands"],
    ["toString", "`alloy --help` lists the commands"],
    ["__proto__", "`alloy --help` lists the commands"],
  ])("unknown command %s: exit 2 and a hint", async (word, hint) => {
    const { code, stdout, stderr } = await alloy([word]);
    expect(code).toBe(2);
    expect(stdout).toBe("");
    expect(stderr).toStartWith(`alloy: unknown command "${word}"\nhint: ${hint}`);
  });

  test("unknown option before the command", async () => {
    const { code, stderr } = await alloy(["--jsn", "list"]);
    expect(code).toBe(2);
    expect(stderr).toBe("alloy: unknown option --jsn\nhint: did you mean --json?\n");
  });

  test("an error that is no usage error: exit 1, message and hint on standard error", async () => {
    const deps = {
      listModels: async () => {
        throw new AlloyError("io_error", "cannot read /x", { hint: "check its permissions" });
      },
    };
    expect(await alloy(["list"], deps)).toEqual({ code: 1, stdout: "", stderr: "alloy: cannot read /x\nhint: check its permissions\n" });
    const json = await alloy(["list", "--json"], deps);
    expect(json.code).toBe(1);
    expect(json.stderr).toBe("");
    expect(JSON.parse(json.stdout)).toEqual({ error: { code: "io_error", message: "cannot read /x", hint: "check its permissions" } });
  });

  test("global options are taken before and after the command, not after --", async () => {
    expect((await alloy(["--json", "list"])).stdout).toStartWith('{"models"');
    expect((await alloy(["list", "--json"])).stdout).toStartWith('{"models"');
    expect((await alloy(["list", "--", "--json"])).stderr).toContain('unexpected argument "--json"');
  });

  test("colour: on a terminal, unless told otherwise", async () => {
    const colored = async (argv: string[], env: Record<string, string> = {}, tty = true) =>
      (await alloy(argv, {}, { tty, env })).stdout.includes("\x1b[");
    expect(await colored([])).toBe(true);
    expect(await colored([], {}, false)).toBe(false);
    expect(await colored(["--color"], {}, false)).toBe(true);
    expect(await colored(["--no-color"])).toBe(false);
    expect(await colored([], { NO_COLOR: "1" })).toBe(false);
    expect(await colored([], { NO_COLOR: "" })).toBe(true);
    expect(await colored([], { TERM: "dumb" })).toBe(false);
  });
});
