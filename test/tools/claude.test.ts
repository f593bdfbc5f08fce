/** Claude Code on a scripted model, as `alloy launch claude` sets it up. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TOOLS } from "../../src/cli/tools.ts";
import { type Harness, start } from "../server/harness.ts";
import { call, countRequests, endpoint, lastUser, messages, MINUTES, Person, program, results, say, tools, turnByTurn } from "./harness.ts";

const claude = program("claude");
let person: Person;
beforeEach(() => void (person = new Person()));
afterEach(() => person[Symbol.dispose]());

/** `claude -p` with a prompt. The sandbox variable lets it run tools unasked as root, too. */
const ask = (h: Harness, context: number, ...args: string[]) => {
  const to = endpoint(h, context);
  const env = { ...TOOLS.claude.env(to), ...TOOLS.claude.defaults!(to) };
  return person.run([claude!, "-p", "--dangerously-skip-permissions", ...args], { ...env, IS_SANDBOX: "1" });
};

describe.skipIf(claude === null)("Claude Code", () => {
  test(
    "answers",
    async () => {
      await using h = await start([say("Hello from here.")]);
      expect(await ask(h, 65_536, "hi")).toMatchObject({ code: 0, out: "Hello from here." });
      expect(h.engine.requests).toHaveLength(1);
    },
    MINUTES,
  );

  test(
    "row 64: runs a command, and sends its output back",
    async () => {
      const command = call("Bash", { command: "echo written > made.txt; cat made.txt", description: "Make a file" });
      await using h = await start(turnByTurn([[say("Let me see."), command], [say("Done.")]]));
      expect(await ask(h, 65_536, "Make a file")).toMatchObject({ code: 0, out: "Done." });
      expect(readFileSync(join(person.project, "made.txt"), "utf8")).toBe("written\n");
      expect(results(h.engine.requests[1])).toEqual(["written"]);
    },
    MINUTES,
  );

  test(
    "row 65: thinks before a call, and sends the thinking back with it",
    async () => {
      const turns = [
        [{ type: "reasoning", text: "where am I" } as const, call("Bash", { command: "echo here", description: "Look" })],
        [say("Here.")],
      ];
      await using h = await start(turnByTurn(turns));
      expect(await ask(h, 65_536, "Where?")).toMatchObject({ code: 0, out: "Here." });
      const [first, second] = h.engine.requests;
      expect(messages(second)[messages(first).length]).toMatchObject({ role: "assistant", reasoning: "where am I" });
      for (const { prompt } of [first, second]) expect(prompt).toMatchObject({ thinking: "high" });
    },
    MINUTES,
  );

  test(
    "row 72: mends a bug in a small repository; every prompt begins with the one before",
    async () => {
      const path = join(person.project, "sum.sh");
      writeFileSync(path, "#!/bin/sh\necho $(($1 - $2))\n");
      writeFileSync(join(person.project, "test.sh"), '#!/bin/sh\n[ "$(sh sum.sh 2 3)" = 5 ] && echo passed || { echo failed; exit 1; }\n');
      const check = () => call("Bash", { command: "sh test.sh", description: "Test" });
      const turns = [
        [check()],
        [call("Read", { file_path: path })],
        [call("Edit", { file_path: path, old_string: "$1 - $2", new_string: "$1 + $2" })],
        [check()],
        [say("Mended.")],
      ];
      await using h = await start(turnByTurn(turns));
      expect(await ask(h, 65_536, "Mend sum.sh")).toMatchObject({ code: 0, out: "Mended." });
      const { requests } = h.engine;
      const outputs = results(requests.at(-1)!);
      expect(outputs[0]).toContain("failed");
      expect(outputs[3]).toBe("passed");
      // What the cache needs: tools, system prompt and all earlier turns stay as they were.
      for (let i = 1; i < requests.length; i++) {
        expect(tools(requests[i])).toEqual(tools(requests[0]));
        const before = messages(requests[i - 1]);
        expect(messages(requests[i]).slice(0, before.length)).toEqual(before);
      }
    },
    MINUTES,
  );

  test(
    "row 66: without a model's name it asks for Claude, and gets ALLOY_DEFAULT_MODEL",
    async () => {
      await using h = await start({ script: () => [say("Here.")] }, { env: { ALLOY_DEFAULT_MODEL: "demo" } });
      const env = { ANTHROPIC_BASE_URL: h.url, ANTHROPIC_AUTH_TOKEN: "x", CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1" };
      expect(await person.run([claude!, "-p", "hi"], env)).toMatchObject({ code: 0, out: "Here." });
      expect(h.engine.requests.map((r) => r.model)).toEqual(["demo"]);
    },
    MINUTES,
  );

  test(
    "row 67: a model that is not here is said to be the trouble",
    async () => {
      await using h = await start();
      const { code, out } = await ask(h, 65_536, "--model", "nope", "hi");
      expect(code).toBe(1);
      expect(out).toContain("issue with the selected model (nope)");
      expect(h.engine.requests).toEqual([]);
    },
    MINUTES,
  );

  test(
    "row 69: finds a deferred tool with ToolSearch, and calls it",
    async () => {
      const notebook = { cells: [{ cell_type: "code", id: "a", source: "1", metadata: {}, outputs: [], execution_count: null }] };
      const path = join(person.project, "book.ipynb");
      writeFileSync(path, JSON.stringify({ ...notebook, metadata: {}, nbformat: 4, nbformat_minor: 5 }));
      const turns = [
        [call("ToolSearch", { query: "select:NotebookEdit", max_results: 1 })],
        [call("Read", { file_path: path })],
        [call("NotebookEdit", { notebook_path: path, cell_id: "a", new_source: "6 * 7" })],
        [say("Edited.")],
      ];
      await using h = await start(turnByTurn(turns));
      expect(await ask(h, 65_536, "Edit it")).toMatchObject({ code: 0, out: "Edited." });
      expect(readFileSync(path, "utf8")).toContain("6 * 7");
      const [first, second] = h.engine.requests;
      const names = [first, second].map((r) => tools(r).map((t) => t.name));
      expect(names[0]).toContain("ToolSearch");
      expect(names[0]).not.toContain("NotebookEdit");
      // The result of the search shows it; the list stays as it was, and with it the cached prefix.
      expect(names[1]).toEqual(names[0]);
      expect(results(second)[0]).toStartWith('<functions><function>{"description":');
    },
    MINUTES,
  );

  test(
    "row 70: two subagents beside the main loop finish with a single slot",
    async () => {
      const agent = (name: string) =>
        call("Agent", { description: name, prompt: `SUBTASK ${name}`, subagent_type: "general-purpose", run_in_background: false });
      await using h = await start({
        slots: 1,
        script: (request) => {
          const task = /SUBTASK (\w+)$/.exec(messages(request).find((m) => m.role === "user")!.content)?.[1];
          if (task !== undefined)
            return results(request).length === 0 ? [call("Bash", { command: `echo ${task} > ${task}` })] : [say(task)];
          return results(request).length === 0 ? [agent("one"), agent("two")] : [say("Both came back.")];
        },
      });
      const { code, out } = await ask(h, 65_536, "Share the work");
      expect(code).toBe(0);
      expect(out).toContain("Both came back.");
      for (const name of ["one", "two"]) expect(readFileSync(join(person.project, name), "utf8")).toBe(`${name}\n`);
    },
    MINUTES,
  );

  /** Prints so many numbers, again and again, until the conversation has been summarised. */
  const counting = (window: number, numbers: number) => {
    const asksForSummary = (text: string) => text.includes("<summary>");
    let turns = 0;
    return start({
      contextLength: window,
      script: (request) => {
        if (messages(request).some((m) => m.content.includes("NUMBERS WERE PRINTED"))) return [say("Went on to the end.")];
        if (asksForSummary(lastUser(request))) return [say("<analysis>long</analysis><summary>NUMBERS WERE PRINTED</summary>")];
        return [call("Bash", { command: `seq ${++turns}0000 ${turns * 10_000 + numbers}`, description: "Count" })];
      },
    });
  };

  test(
    "row 68: summarises before a window of 32k is full, but not after every turn",
    async () => {
      await using h = await counting(32_768, 1000);
      expect(await ask(h, 32_768, "Count")).toMatchObject({ code: 0, out: "Went on to the end." });
      const before = h.engine.requests.findIndex((r) => lastUser(r).includes("<summary>"));
      expect(before).toBeGreaterThan(3);
      expect(h.engine.finished).toHaveLength(h.engine.requests.length);
    },
    MINUTES,
  );

  test(
    "row 68: summarises when the server says that the prompt is too long",
    async () => {
      await using h = await counting(20_000, 3000);
      expect(await ask(h, 200_000, "Count")).toMatchObject({ code: 0, out: "Went on to the end." });
      // A request was refused, and no retry of the same followed.
      expect(h.engine.finished.length).toBeLessThan(h.engine.requests.length);
      expect(h.engine.requests.length).toBeLessThan(12);
    },
    MINUTES,
  );

  test(
    "row 71: /context counts with the server's count_tokens",
    async () => {
      await using h = await start();
      const { code, out } = await ask(h, 65_536, "/context");
      expect(code).toBe(0);
      expect(out).toMatch(/System prompt \| [\d.]+k/);
      expect(out).toContain("/ 65.5k");
      expect(await countRequests(h, "/v1/messages/count_tokens", 200)).toBeGreaterThan(1);
      expect(h.engine.requests).toEqual([]);
    },
    MINUTES,
  );

  test(
    "row 71: reads a picture, and hears that there is no web search",
    async () => {
      // 10 x 10 pixels of one colour.
      const png = "iVBORw0KGgoAAAANSUhEUgAAAAoAAAAKCAIAAAACUFjqAAAAEklEQVR4nGP4z8CAB+GTG8HSALfKY52fTcuYAAAAAElFTkSuQmCC";
      const path = join(person.project, "picture.png");
      writeFileSync(path, Buffer.from(png, "base64"));
      const turns = [
        [call("Read", { file_path: path })],
        [call("ToolSearch", { query: "select:WebSearch" })],
        [call("WebSearch", { query: "weather in Paris" })],
        [say("Seen.")],
      ];
      await using h = await start(turnByTurn(turns));
      expect(await ask(h, 65_536, "Look")).toMatchObject({ code: 0, out: "Seen." });
      const [picture, , search] = results(h.engine.requests.at(-1)!);
      expect(picture).toBe("[image omitted: model has no vision]");
      expect(search).toContain("Web search is not available");
    },
    MINUTES,
  );
});
