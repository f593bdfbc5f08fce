/** opencode on a scripted model: as `alloy launch opencode` sets it up, and with its Anthropic provider. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { TOOLS } from "../../src/cli/tools.ts";
import { type Harness, start } from "../server/harness.ts";
import { call, endpoint, messages, MINUTES, Person, program, results, say, tools, turnByTurn } from "./harness.ts";

const opencode = program("opencode");
let person: Person;
beforeEach(() => void (person = new Person()));
afterEach(() => person[Symbol.dispose]());

const run = (h: Harness, context: number, prompt: string) => {
  const to = endpoint(h, context);
  return person.run([opencode!, "run", prompt], { ...TOOLS.opencode.env(to), ...TOOLS.opencode.defaults!(to) });
};

describe.skipIf(opencode === null)("opencode", () => {
  test(
    "row 78: runs a command, and sends reasoning and results back",
    async () => {
      const command = call("bash", { command: "echo written > made.txt; cat made.txt", description: "Make a file" });
      await using h = await start(turnByTurn([[{ type: "reasoning", text: "a file is wanted" }, command], [say("The file is there.")]]));
      const { code, out } = await run(h, 65_536, "Make a file");
      expect(code).toBe(0);
      expect(out).toContain("The file is there.");
      expect(readFileSync(join(person.project, "made.txt"), "utf8")).toBe("written\n");
      const last = h.engine.requests.findLast((r) => tools(r).length > 0)!;
      expect(messages(last).find((m) => m.toolCalls !== undefined)).toMatchObject({ reasoning: "a file is wanted" });
      expect(results(last)).toEqual(["written\n"]);
    },
    MINUTES,
  );

  /** Prints numbers, again and again, until the conversation has been summarised. */
  const counting = (window: number) => {
    let turns = 0;
    return start({
      contextLength: window,
      script: (request) => {
        if (tools(request).length === 0) return [say("NUMBERS WERE PRINTED")];
        if (messages(request).some((m) => m.content.includes("NUMBERS WERE PRINTED"))) return [say("Went on to the end.")];
        return [call("bash", { command: `seq ${++turns}0000 ${turns}2000`, description: "Count" })];
      },
    });
  };

  test(
    "row 79: summarises before the window that it was told is full",
    async () => {
      await using h = await counting(16_384);
      const { code, out } = await run(h, 16_384, "Count");
      expect({ code, out }).toEqual({ code: 0, out: expect.stringContaining("Went on to the end.") });
      expect(h.engine.finished).toHaveLength(h.engine.requests.length);
    },
    MINUTES,
  );

  test(
    "row 79: summarises when the server says that the prompt is too long, and goes on",
    async () => {
      await using h = await counting(12_000);
      const { out } = await run(h, 200_000, "Count");
      // It shows the refusal, and ends with code 1 although all went well.
      expect(out).toContain("Went on to the end.");
      expect(h.engine.requests.length - h.engine.finished.length).toBe(1);
    },
    MINUTES,
  );

  test(
    "row 80: the Anthropic provider",
    async () => {
      await using h = await start({ script: () => [say("Over the Anthropic API.")] });
      const options = { baseURL: `${h.url}/v1`, apiKey: "x" };
      const config = { provider: { anthropic: { options, models: { demo: { name: "demo", limit: { context: 65_536, output: 8192 } } } } } };
      const env = { OPENCODE_CONFIG_CONTENT: JSON.stringify({ ...config, model: "anthropic/demo" }), OPENCODE_DISABLE_MODELS_FETCH: "1" };
      const { code, out } = await person.run([opencode!, "run", "hi"], env);
      expect({ code, out }).toEqual({ code: 0, out: expect.stringContaining("Over the Anthropic API.") });
      expect(h.engine.requests.map((r) => r.model)).toContain("demo");
    },
    MINUTES,
  );
});
