/** Loading, keeping alive, making room, and what a request's way through a model does to its text. */
import { afterEach, describe, expect, test } from "bun:test";
import type { GenerateEvent } from "../../src/engine/api.ts";
import { EngineCore, type EngineOptions } from "../../src/engine/core.ts";
import { planMemory } from "../../src/engine/memory.ts";
import { collect, errorOf, fakeParts, request, scripted, type FakeEngine, type FakeRunnerOptions } from "./fakes.ts";

const open: EngineCore[] = [];

async function engine(options: EngineOptions = {}, fake: Parameters<typeof fakeParts>[0] = {}): Promise<FakeEngine & { core: EngineCore }> {
  const made = fakeParts(fake);
  const core = await EngineCore.create(made.parts, { contextLength: 256, ...options });
  open.push(core);
  return { ...made, core };
}

afterEach(async () => {
  for (const core of open.splice(0)) await core.close();
});

const names = async (core: EngineCore): Promise<string[]> => (await core.loaded()).map((m) => m.name);

describe("loading", () => {
  test("requests at the same time share one load", async () => {
    const { core, runners } = await engine({}, { loadMs: 10 });
    const [a, b] = await Promise.all([1, 2].map(() => collect(core.generate(request({ maxTokens: 1 })))));
    expect(runners).toHaveLength(1);
    expect(a.end.timings.load).toBeGreaterThan(5);
    expect(a.text).toBe(b.text);
  });

  test("a model goes when its time is up, at once for 0, never for Infinity", async () => {
    const { core, runners } = await engine({ keepAlive: 30 });
    await core.load("b", Infinity);
    expect((await core.loaded())[0].expires).toBeUndefined();
    await core.load("a");
    while (!runners[1].closed) await Bun.sleep(5);
    expect(await names(core)).toEqual(["b"]);
    await collect(core.generate(request({ model: "b", maxTokens: 1, keepAlive: 0 })));
    expect(await names(core)).toEqual([]);
  });

  test("a model in use has its whole time before it, and the last request that says how long counts", async () => {
    const { core } = await engine({ keepAlive: 60_000 });
    const left = async (): Promise<number> => (await core.loaded())[0].expires! - Date.now();
    const busy = core.generate(request({ ignoreEos: true, keepAlive: 3_600_000 }));
    await busy.next();
    expect(await left()).toBeWithin(3_000_000, 3_600_001);
    await collect(core.generate(request({ maxTokens: 1 })));
    expect(await left()).toBeWithin(3_000_000, 3_600_001);
    await busy.return!();
    await collect(core.generate(request({ maxTokens: 1, keepAlive: 1_800_000 })));
    expect(await left()).toBeWithin(1_200_000, 1_800_001);
    await core.load("a", Infinity);
    expect((await core.loaded())[0].expires).toBeUndefined();
  });

  test("unload waits for what runs", async () => {
    const { core, runners } = await engine({ contextLength: 256 });
    const run = core.generate(request({ maxTokens: 50, ignoreEos: true }));
    await run.next();
    await core.unload("a");
    expect(runners[0].closed).toBe(false);
    for await (const _ of run);
    expect(runners[0].closed).toBe(true);
  });

  test("an idle model makes room for another; without one to go there is an error that says why", async () => {
    const made: { runners: FakeEngine["runners"] } = { runners: [] };
    const taken = (): number => made.runners.filter((r) => !r.closed).length * 100 * 2 ** 20;
    const { core, runners } = await engine({ loadTimeout: 20 }, { freeMemory: () => 150 * 2 ** 20 - taken() });
    made.runners = runners;
    await core.load("a");
    await core.load("b");
    expect(await names(core)).toEqual(["b"]);
    const busy = core.generate(request({ model: "b", ignoreEos: true }));
    await busy.next();
    const e = await errorOf(core.load("a"));
    expect(e.code).toBe("out_of_memory");
    expect(e.message).toMatch(/^a needs .* and 50 MiB is free; loaded: b \(64 MiB, in use\)$/);
    await busy.return!();
  });

  test("models asked for at the start are there and have run, whatever their window", async () => {
    const { core, runners } = await engine({ models: ["a", "b"], contextLength: 8 });
    expect(await names(core)).toEqual(["a", "b"]);
    expect(runners.every((r) => r.steps > 0)).toBe(true);
    expect((await errorOf(engine({ models: ["missing"] }))).code).toBe("model_not_found");
  });

  test("memory that one model's cache will take is not promised to another", async () => {
    // The system counts pages as free until they are written to: here nothing ever changes that.
    const { core } = await engine({ loadTimeout: 0 }, { freeMemory: () => 64 * 2 ** 20 + 1000 + 30_000 });
    const busy = core.generate(request({ model: "a", ignoreEos: true }));
    await busy.next();
    expect((await errorOf(core.generate(request({ model: "b" })))).code).toBe("out_of_memory");
    await busy.return!();
  });

  test("a load that fails is tried anew by the next request", async () => {
    let broken = true;
    const fake = fakeParts();
    const { loadRunner } = fake.parts;
    fake.parts.loadRunner = (file, o) => (broken ? Promise.reject(new Error("cut file")) : loadRunner(file, o));
    const core = await EngineCore.create(fake.parts, {});
    open.push(core);
    expect((await errorOf(core.generate(request({})))).message).toBe("cut file");
    broken = false;
    expect((await collect(core.generate(request({ maxTokens: 1 })))).end.usage.completionTokens).toBe(1);
  });

  test("a deadline and a cancellation end the wait for a load", async () => {
    const { promise: loading, resolve: load } = Promise.withResolvers<void>();
    const { core } = await engine({}, { loading });
    const late = errorOf(core.generate(request({ deadline: Date.now() + 15 })));
    const stop = new AbortController();
    const left = errorOf(core.generate(request({}), stop.signal));
    setTimeout(() => stop.abort(), 5);
    expect([(await late).code, (await left).code]).toEqual(["timeout", "cancelled"]);
    load();
  });
});

describe("memory", () => {
  const sizes = { kvBytesPerToken: 1 << 20, contextLength: 32768, weightBytes: 2 ** 30 };
  const plan = (
    free: number,
    contextLength?: number,
    over: { parallel?: number; cacheShare?: number } = {},
  ): ReturnType<typeof planMemory> => planMemory({ model: "m", sizes, contextLength, parallel: 4, free: free * 2 ** 30, ...over });

  test("an unasked context takes what memory holds, an asked one what was asked", () => {
    expect(plan(1000).contextLength).toBe(32768);
    const { contextLength, kvTokens } = plan(9);
    expect(contextLength).toBeLessThan(4096);
    expect(kvTokens).toBeGreaterThanOrEqual(contextLength);
    expect(plan(9, 6000).contextLength).toBe(6000);
    expect(plan(100, 100_000).contextLength).toBe(32768);
  });

  test("the cache holds several contexts even for one request at a time, and a share of the memory where that is asked for", () => {
    expect(plan(1000, 4096, { parallel: 1 }).kvTokens).toBe(4 * 4096);
    expect(plan(1000, 4096, { parallel: 6 }).kvTokens).toBe(6 * 4096);
    const { kvTokens } = plan(101, 4096, { parallel: 1, cacheShare: 0.5 });
    expect(kvTokens).toBeWithin(0.49 * 100 * 1024, 0.5 * 100 * 1024);
    expect(plan(101, undefined, { cacheShare: 0.1 }).contextLength).toBeLessThanOrEqual(10 * 1024);
    // A context that was asked for is not cut.
    expect(plan(101, 20_000, { cacheShare: 0.1 })).toMatchObject({ contextLength: 20_000, kvTokens: 20_000 });
  });

  test("what does not fit is refused, and a shorter context proposed where that helps", () => {
    expect(() => plan(1)).toThrow(/m needs 1\.6 GiB .* 1\.0 GiB is free/);
    try {
      plan(3, 6000);
    } catch (e) {
      expect(e).toMatchObject({ code: "out_of_memory", hint: "ask for a shorter context" });
    }
    expect.assertions(2);
  });
});

describe("text", () => {
  const answer = async (
    text: string,
    over: Parameters<typeof request>[0] = {},
    fake: FakeRunnerOptions = {},
  ): ReturnType<typeof collect> => {
    const { core } = await engine({}, { ...fake, logits: scripted(text) });
    return collect(core.generate(request({ text: "say?", ...over })));
  };
  const deltas = (events: GenerateEvent[]): unknown[] => events.flatMap((e) => (e.type === "delta" ? [e.delta] : []));

  test("characters of several tokens come whole", async () => {
    const { text, events } = await answer("naïve 🦊!");
    expect(text).toBe("naïve 🦊!");
    expect(deltas(events).some((d) => (d as { text: string }).text.includes("\ufffd"))).toBe(false);
  });

  test("a stop string ends the answer and is not part of it", async () => {
    const { text, end } = await answer("one two END three", { stop: ["END"] });
    expect([text, end.reason, end.stop]).toEqual(["one two ", "stop", "END"]);
    const held = await answer("one EN", { stop: ["END"] });
    expect([held.text, held.end.stop]).toEqual(["one EN", undefined]);
  });

  test("an end token ends the answer, and is neither text nor an id", async () => {
    const { text, end } = await answer("ok");
    expect([text, end.reason, end.ids, end.usage.completionTokens]).toEqual(["ok", "stop", [111, 107], 2]);
  });

  const messages = [{ role: "user" as const, content: "say?" }];

  test("chat: reasoning and tool calls come apart, a stop of the format stays hidden", async () => {
    const tools = [{ name: "clock" }];
    const call = await answer("<think>hm</think>CALL clock", { prompt: { kind: "chat", messages, tools } });
    expect(call.end.reason).toBe("tool_calls");
    expect(deltas(call.events)).toEqual([
      { type: "reasoning", text: "hm" },
      { type: "tool_call_start", index: 0, id: "call_1", name: "clock" },
      { type: "tool_call_arguments", index: 0, text: "{}" },
      { type: "tool_call_end", index: 0 },
    ]);
    const none = await answer("CALL clock", { prompt: { kind: "chat", messages, tools, toolChoice: "none" } });
    expect([none.end.reason, none.text]).toEqual(["stop", "CALL clock"]);
    const hidden = await answer("hello|user:", { prompt: { kind: "chat", messages } });
    expect([hidden.text, hidden.end.reason, hidden.end.stop]).toEqual(["hello", "stop", undefined]);
  });

  test("logprobs: one entry per token, over the raw logits, alternatives in order", async () => {
    const { events } = await answer("abc", { logprobs: 2, stop: ["cd"] });
    const all = events.flatMap((e) => (e.type === "delta" ? (e.logprobs ?? []) : []));
    expect(all.map((l) => l.token)).toEqual(["a", "b", "c"]);
    const expected = 10 - Math.log(Math.exp(10) + 257 * Math.exp(-10));
    for (const l of all) {
      expect(l.logprob).toBeCloseTo(expected, 4);
      expect(l.top.map((t) => t.id)).toEqual([l.id, l.id === 0 ? 1 : 0]);
    }
  });

  test("what is wrong with a request is said before it starts", async () => {
    const { core } = await engine();
    const wrong = async (over: Parameters<typeof request>[0]): Promise<string> => (await errorOf(core.generate(request(over)))).code;
    expect(await wrong({ prompt: { kind: "ids", ids: [1, 99999] } })).toBe("invalid_value");
    expect(await wrong({ prompt: { kind: "ids", ids: [] } })).toBe("invalid_value");
    expect(await wrong({ sampling: { temperature: NaN } })).toBe("invalid_value");
    expect(await wrong({ sampling: { logitBias: { 99999: 1 } } })).toBe("invalid_value");
    expect(await wrong({ model: "missing" })).toBe("model_not_found");
  });

  test("a seed repeats, no seed does not, and the one in use is told", async () => {
    const { core } = await engine();
    const run = (seed?: number): ReturnType<typeof collect> =>
      collect(core.generate(request({ maxTokens: 40, ignoreEos: true, sampling: { temperature: 1, seed } })));
    const [a, b, c] = [await run(-7), await run(-7), await run()];
    expect(a.text).toBe(b.text);
    expect(c.text).not.toBe(a.text);
    expect((await run(c.start.seed)).text).toBe(c.text);
  });
});

test("closing fails what waits, lets what runs finish, and frees everything", async () => {
  const { core, runners, device } = await engine({ parallel: 1 }, { stepMs: 5 });
  const running = core.generate(request({ maxTokens: 30, ignoreEos: true }));
  await running.next();
  const waiting = errorOf(core.generate(request({})));
  await Bun.sleep(1);
  const [, end] = await Promise.all([core.close(60_000), collectEnd(running)]);
  expect(end).toBe("length");
  expect((await waiting).code).toBe("shutting_down");
  expect([runners[0].closed, device.closed]).toEqual([true, true]);
  expect((await errorOf(core.generate(request({})))).code).toBe("shutting_down");
});

async function collectEnd(events: AsyncIterable<GenerateEvent>): Promise<string | undefined> {
  let reason: string | undefined;
  for await (const e of events) if (e.type === "end") reason = e.reason;
  return reason;
}
