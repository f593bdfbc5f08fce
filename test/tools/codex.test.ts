/** The Codex CLI on a scripted model: as `alloy launch codex` sets it up, with `--oss`, and with its own provider. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Engine } from "../../src/engine/api.ts";
import { writeToolFile } from "../../src/cli/launching.ts";
import { TOOLS } from "../../src/cli/tools.ts";
import { modelInfo } from "../../src/hub/info.ts";
import { listModels, resolveModel } from "../../src/hub/resolve.ts";
import { AlloyError } from "../../src/support/errors.ts";
import { Machine } from "../hub/machine.ts";
import { StandIn } from "../hub/stand-in.ts";
import { type Harness, start } from "../server/harness.ts";
import { call, countRequests, endpoint, messages, MINUTES, Person, program, results, say, tools, turnByTurn } from "./harness.ts";

const codex = program("codex");
let person: Person;
beforeEach(() => void (person = new Person()));
afterEach(() => person[Symbol.dispose]());

const EXEC = ["exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"];

/** `codex exec`, set up by `alloy launch`. */
function launched(h: Harness, prompt: string) {
  const to = endpoint(h, 65_536);
  const file = writeToolFile(TOOLS.codex, to, person.env);
  return person.run([codex!, ...TOOLS.codex.args(to, [...EXEC, prompt], file)], TOOLS.codex.env(to));
}

const made = (name: string) => readFileSync(join(person.project, name), "utf8");

describe.skipIf(codex === null)("Codex", () => {
  test(
    "row 74: runs a command, and sends reasoning and results back",
    async () => {
      const command = call("exec_command", { cmd: "echo written > made.txt; cat made.txt" });
      await using h = await start(turnByTurn([[{ type: "reasoning", text: "a file is wanted" }, command], [say("The file is there.")]]));
      const { code, out, err } = await launched(h, "Make a file");
      expect({ code, out }).toEqual({ code: 0, out: "The file is there." });
      expect(err).toContain("a file is wanted");
      expect(err).toMatch(/tokens used\n[\d,]+/);
      expect(err).not.toContain("metadata");
      expect(made("made.txt")).toBe("written\n");
      const last = h.engine.requests.at(-1)!;
      expect(messages(last).find((m) => m.toolCalls?.[0].name === "exec_command")!.reasoning).toBe("a file is wanted");
      expect(results(last)[0]).toContain("written");
    },
    MINUTES,
  );

  test(
    "row 75: writes a file with a patch, finds tools by search, and calls one that lives in a namespace",
    async () => {
      const patch = "*** Begin Patch\n*** Add File: patched.txt\n+hello\n*** End Patch\n";
      const turns = [
        [call("apply_patch", { input: patch })],
        [call("tool_search", { query: "agents", limit: 3 })],
        [call("multi_agent_v1__close_agent", { target: "x" })],
        [say("Patched.")],
      ];
      await using h = await start(turnByTurn(turns));
      expect(await launched(h, "Make a file")).toMatchObject({ code: 0, out: "Patched." });
      expect(made("patched.txt")).toBe("hello\n");
      const [, search, member] = results(h.engine.requests.at(-1)!);
      expect(search).toStartWith('[{"name":"multi_agent_v1__spawn_agent"');
      // The member was found and run; it only knows no such agent.
      expect(member).toStartWith("invalid agent id");
    },
    MINUTES,
  );

  test(
    "row 76: a prompt beyond the window is said at once, without another try",
    async () => {
      await using h = await start({ contextLength: 500 });
      const { code, err } = await launched(h, "hi");
      expect(code).toBe(1);
      expect(err).toContain("ran out of room in the model's context window");
      expect(h.engine.requests).toHaveLength(1);
    },
    MINUTES,
  );

  test(
    "row 76: a busy server is asked again; one that fails, six times at most",
    async () => {
      await using busy = await start({ script: () => [say("After all.")] });
      const { engine } = busy;
      let refused = 0;
      const generate: Engine["generate"] = async function* (...args) {
        if (refused++ === 0) throw new AlloyError("queue_full", "too many requests are waiting");
        yield* Object.getPrototypeOf(engine).generate.apply(engine, args);
      };
      Object.assign(engine, { generate });
      expect(await launched(busy, "hi")).toMatchObject({ code: 0, out: "After all." });
      expect(refused).toBe(2);

      await using failing = await start({
        script: () => [say("It goes"), { type: "error", error: new AlloyError("engine_died", "it broke") }],
      });
      const { code, err } = await launched(failing, "hi");
      expect(code).toBe(1);
      expect(err).toContain("it broke");
      expect(failing.engine.requests.length).toBeLessThanOrEqual(6);
    },
    MINUTES,
  );

  test(
    "row 73: --oss without any configuration: a missing model is pulled, then used",
    async () => {
      using machine = new Machine();
      await using registry = await StandIn.start();
      const template = "{% for m in messages %}{{ m.content }}{% endfor %}{{ tools }}";
      const gguf = readFileSync(machine.gguf(machine.path("made.gguf"), { "tokenizer.chat_template": template }));
      registry.ollama("library/tiny", [["model", gguf]], "1b");
      const env = { ...machine.env, ALLOY_REGISTRY: registry.url, HF_ENDPOINT: registry.url };
      await using h = await start({ script: () => [say("From the pulled model.")] }, { env });
      const stores: Pick<Engine, "models" | "model"> = {
        models: () => listModels({ env }),
        model: async (name) => modelInfo(await resolveModel(name, { env, paths: false })),
      };
      Object.assign(h.engine, stores);
      const oss = () =>
        person.run([codex!, ...EXEC, "--oss", "--local-provider", "ollama", "-m", "tiny:1b", "hi"], { CODEX_OSS_BASE_URL: `${h.url}/v1` });
      for (const pulls of [1, 1]) {
        expect(await oss()).toMatchObject({ code: 0, out: "From the pulled model." });
        expect(await countRequests(h, "/api/pull", 200)).toBe(pulls);
      }
    },
    MINUTES,
  );

  test(
    "row 77: its own provider is turned from a web socket to HTTP by one answer",
    async () => {
      await using h = await start({ script: () => [say("Over HTTP.")] });
      const args = [codex!, "-c", `openai_base_url="${h.url}/v1"`, "-m", "gpt-5.5", ...EXEC, "hi"];
      const { code, out, err } = await person.run(args, { CODEX_API_KEY: "x", OPENAI_API_KEY: "x" });
      expect({ code, out }).toEqual({ code: 0, out: "Over HTTP." });
      expect(err.match(/failed to connect to Responses WebSocket/g)).toHaveLength(1);
      expect(h.engine.requests).toHaveLength(1);
      expect(tools(h.engine.requests[0]).map((t) => t.name)).toContain("apply_patch");
    },
    MINUTES,
  );
});
