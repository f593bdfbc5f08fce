import { describe, expect, test } from "bun:test";
import type { GenerateEvent } from "../../src/engine/api.ts";
import { AlloyError } from "../../src/support/errors.ts";
import { alloy, endEvent, fakeEngine, fakeIo } from "./fakes.ts";

function withEngine(engine = fakeEngine()) {
  return { engine, deps: { createEngine: async () => engine } };
}

/** Messages of the engine's n-th request. */
function messages(engine: ReturnType<typeof fakeEngine>, n = 0) {
  const { prompt } = engine.requests[n];
  if (prompt.kind !== "chat") throw new Error("not a chat");
  return prompt.messages;
}

describe("one answer", () => {
  test("the first word names no model: it is the prompt, and demo answers", async () => {
    const { engine, deps } = withEngine();
    const { code, stdout, stderr } = await alloy(["run", "What is the capital of France?"], deps, { stdin: "" });
    expect(code).toBe(0);
    expect(stdout).toBe("You said: What is the capital of France?\n");
    expect(stderr).toBe("hm\n\n");
    expect(engine.requests[0].model).toBe("demo");
    expect(engine.closed).toBe(1);
  });

  test("words are joined; a model in front or with -m is taken off", async () => {
    for (const argv of [
      ["run", "demo", "two", "words"],
      ["run", "-m", "demo", "two", "words"],
      ["run", "two", "words", "--model=demo"],
    ]) {
      const { engine, deps } = withEngine();
      await alloy(argv, deps, { stdin: "" });
      expect(engine.requests[0].model).toBe("demo");
      expect(messages(engine)).toEqual([{ role: "user", content: "two words" }]);
    }
  });

  test("with -m, all words are the prompt, even one that names a model", async () => {
    const { engine, deps } = withEngine();
    await alloy(["run", "-m", "demo", "demo", "is a word"], deps, { stdin: "" });
    expect(messages(engine)[0].content).toBe("demo is a word");
  });

  test.each(["./nope.gguf", "model.gguf", "/x/y", "qwen3:8b", "org/repo:Q4_K_M"])(
    "%s can only be a model: an error, not a prompt",
    async (word) => {
      const { code, stderr } = await alloy(["run", word, "hello"], {}, { stdin: "" });
      expect(code).toBe(1);
      expect(stderr).toStartWith(`alloy: there is no model "${word}"\nhint: `);
    },
  );

  test("piped text is the prompt, or is added to it", async () => {
    const { engine, deps } = withEngine();
    await alloy(["run"], deps, { stdin: "from a pipe\n" });
    await alloy(["run", "Summarise:"], deps, { stdin: "from a pipe\n" });
    expect(messages(engine, 0)[0].content).toBe("from a pipe");
    expect(messages(engine, 1)[0].content).toBe("Summarise:\n\nfrom a pipe");
  });

  test("nothing at all is a usage error", async () => {
    const { code, stderr } = await alloy(["run"], {}, { stdin: " \n" });
    expect(code).toBe(2);
    expect(stderr).toContain("there is no prompt");
  });

  test("options reach the request", async () => {
    const { engine, deps } = withEngine();
    const argv = "run -m demo --system Short. -t 0.5 --top-k 5 --top-p 0.9 --min-p 0.1 --seed 3 -n 20 --no-think hi".split(" ");
    await alloy(argv, deps, { stdin: "" });
    expect(engine.requests[0]).toMatchObject({
      sampling: { temperature: 0.5, topK: 5, topP: 0.9, minP: 0.1, seed: 3 },
      maxTokens: 20,
      prompt: {
        thinking: "off",
        messages: [
          { role: "system", content: "Short." },
          { role: "user", content: "hi" },
        ],
      },
    });
  });

  test("what is not given is left to the model", async () => {
    const { engine, deps } = withEngine();
    await alloy(["run", "hi"], deps, { stdin: "" });
    expect(engine.requests[0].sampling).toEqual({});
    expect(engine.requests[0].maxTokens).toBeUndefined();
    expect(engine.requests[0].prompt).toMatchObject({ thinking: undefined });
  });

  test("--json prints one object and nothing else", async () => {
    const { deps } = withEngine();
    const { stdout, stderr } = await alloy(["run", "--json", "hi"], deps, { stdin: "" });
    expect(stderr).toBe("");
    expect(JSON.parse(stdout)).toMatchObject({ model: "demo", text: "You said: hi", reasoning: "hm", reason: "stop", seed: 7 });
  });

  test("--verbose adds timings on standard error", async () => {
    const { deps } = withEngine();
    const { stdout, stderr } = await alloy(["run", "--verbose", "hi"], deps, { stdin: "" });
    expect(stdout).toBe("You said: hi\n");
    expect(stderr).toContain("prompt 3 tokens (0 cached) in 2.0 ms, 1500.0 tokens/s");
    expect(stderr).toContain("answer 4 tokens in 4.0 ms, 1000.0 tokens/s");
  });

  test("an engine error: exit 1, the engine is closed", async () => {
    const engine = fakeEngine(async function* () {
      yield { type: "start", promptTokens: 3, seed: 1 } satisfies GenerateEvent;
      throw new AlloyError("context_length_exceeded", "the prompt has 9 tokens, the window 8", { hint: "use a larger --ctx" });
    });
    const { code, stderr } = await alloy(["run", "hi"], { createEngine: async () => engine }, { stdin: "" });
    expect(code).toBe(1);
    expect(stderr).toBe("alloy: the prompt has 9 tokens, the window 8\nhint: use a larger --ctx\n");
    expect(engine.closed).toBe(1);
  });

  test("Ctrl-C: exit 130, and what was said stays on standard output", async () => {
    const io = fakeIo({ stdin: "" });
    const engine = fakeEngine(slow(() => io.interrupt()));
    const { code, stdout } = await alloy(["run", "hi"], { createEngine: async () => engine }, io);
    expect(code).toBe(130);
    expect(stdout).toBe("begun\n");
    expect(engine.closed).toBe(1);
  });
});

/** Says "begun", calls back, and then fails as a cancelled request does. */
function slow(begun: () => void) {
  return async function* (_: unknown, signal?: AbortSignal): AsyncIterable<GenerateEvent> {
    yield { type: "start", promptTokens: 1, seed: 1 };
    yield { type: "delta", delta: { type: "text", text: "begun" } };
    begun();
    await new Promise<void>((resolve) => (signal!.aborted ? resolve() : signal!.addEventListener("abort", () => resolve())));
    throw new AlloyError("cancelled", "the request was cancelled");
  };
}

describe("a chat", () => {
  test("turns accumulate, thinking is kept apart", async () => {
    const { engine, deps } = withEngine();
    const { code, stdout } = await alloy(["run"], deps, { lines: ["one", "two"] });
    expect(code).toBe(0);
    expect(stdout).toBe("You said: one\nYou said: two\n\n");
    expect(messages(engine, 1)).toEqual([
      { role: "user", content: "one" },
      { role: "assistant", content: "You said: one", reasoning: "hm" },
      { role: "user", content: "two" },
    ]);
  });

  test("/clear, /system, /set, /show, /bye", async () => {
    const { engine, deps } = withEngine();
    const lines = [
      "one",
      "/clear",
      "/system Be kind. Be brief.",
      "/set temperature 0.1",
      "/set think off",
      "/set max-tokens 9",
      "/show",
      "two",
      "/bye",
      "three",
    ];
    const { code, stderr } = await alloy(["run"], deps, { lines });
    expect(code).toBe(0);
    expect(engine.requests).toHaveLength(2);
    expect(engine.requests[1]).toMatchObject({
      sampling: { temperature: 0.1 },
      maxTokens: 9,
      prompt: {
        thinking: "off",
        messages: [
          { role: "system", content: "Be kind. Be brief." },
          { role: "user", content: "two" },
        ],
      },
    });
    expect(stderr).toMatch(/temperature +0\.1\n/);
    expect(stderr).toMatch(/seed +\(default\)\n/);
  });

  test.each([
    ["/halp", "unknown command /halp", "did you mean /help?"],
    ["/set temprature 1", 'there is no setting "temprature"', "did you mean temperature?"],
    ["/set", "/set needs a name and a value", "settings are temperature"],
    ["/set top-p 3", 'top-p must be a number between 0 and 1, got "3"', ""],
    ["/set top-k 1.5", 'top-k must be a whole number from 0, got "1.5"', ""],
    ["/set think maybe", 'think is on or off, got "maybe"', ""],
  ])("%s is explained, and the chat goes on", async (line, message, hint) => {
    const { engine, deps } = withEngine();
    const { stderr } = await alloy(["run"], deps, { lines: [line, "still here"] });
    expect(stderr).toContain(message);
    expect(stderr).toContain(hint);
    expect(engine.requests).toHaveLength(1);
  });

  test('several lines between """', async () => {
    const { engine, deps } = withEngine();
    await alloy(["run"], deps, { lines: ['"""first', "/second", 'third"""', '"""one line"""', '"""', "x", '"""'] });
    expect(messages(engine, 0)[0].content).toBe("first\n/second\nthird");
    expect(messages(engine, 1).at(-1)!.content).toBe("one line");
    expect(messages(engine, 2).at(-1)!.content).toBe("x");
  });

  test("empty lines ask nothing; Ctrl-C at the prompt says how to leave", async () => {
    const { engine, deps } = withEngine();
    const { stderr } = await alloy(["run"], deps, { lines: ["", "  ", "interrupt", "hi"] });
    expect(engine.requests).toHaveLength(1);
    expect(stderr).toContain("Ctrl-D or /bye leaves");
  });

  test("Ctrl-C stops the answer; what was said stays in the conversation", async () => {
    const io = fakeIo({ lines: ["one", "two"] });
    let n = 0;
    const engine = fakeEngine(async function* (request, signal) {
      if (n++ === 0) yield* slow(() => io.interrupt())(request, signal);
      else yield endEvent("stop");
    });
    const { code, stderr } = await alloy(["run"], { createEngine: async () => engine }, io);
    expect(code).toBe(0);
    expect(stderr).toContain("(stopped)");
    expect(messages(engine, 1).map((m) => m.content)).toEqual(["one", "begun", "two"]);
  });

  test("a failed turn leaves no trace, a full context tells of /clear", async () => {
    let n = 0;
    const engine = fakeEngine(async function* () {
      if (n++ === 0) throw new AlloyError("context_length_exceeded", "too long");
      yield endEvent("stop");
    });
    const { code, stderr } = await alloy(["run"], { createEngine: async () => engine }, { lines: ["one", "two"] });
    expect(code).toBe(0);
    expect(stderr).toContain("alloy: too long\nhint: /clear begins a new conversation\n");
    expect(messages(engine, 1).map((m) => m.content)).toEqual(["two"]);
  });
});
