import { afterEach, describe, expect, setSystemTime, test } from "bun:test";
import { EngineCore, type EngineOptions } from "../../src/engine/core.ts";
import { collect, errorOf, fakeParts, request, type FakeEngine, type FakeRunnerOptions } from "./fakes.ts";

const open: EngineCore[] = [];

async function engine(options: EngineOptions = {}, fake: FakeRunnerOptions = {}): Promise<FakeEngine & { core: EngineCore }> {
  const made = fakeParts(fake);
  const core: EngineCore = await EngineCore.create(made.parts, options, () => core.check());
  open.push(core);
  return { ...made, core };
}

afterEach(async () => {
  for (const core of open.splice(0)) {
    await core.close();
    core.check();
  }
});

const prompts = Array.from({ length: 12 }, (_, i) => `prompt number ${i} ${"x".repeat((i * 7) % 23)}`);

describe("continuous batching", () => {
  test("gives what one at a time gives, greedy and with seeds", async () => {
    const requests = prompts.map(
      (text, i) => () =>
        request({ text, maxTokens: 5 + i * 3, sampling: { temperature: i % 2, seed: i, topK: 5, repeatPenalty: 1.1, repeatLastN: 8 } }),
    );
    const single = await engine({ parallel: 1, contextLength: 256 });
    const expected: string[] = [];
    for (const r of requests) expected.push((await collect(single.core.generate(r()))).text);
    const { core, runners } = await engine({ parallel: 6, contextLength: 256, maxBatchTokens: 16 });
    const answers = await Promise.all(requests.map((r) => collect(core.generate(r()))));
    expect(answers.map((a) => a.text)).toEqual(expected);
    expect(runners[0].largestBatch).toBe(6);
  });

  test("a long prompt does not hold up those who decode: its pieces are as long as the gap between their tokens may be", async () => {
    const pieces: number[] = [];
    const { core } = await engine(
      { parallel: 4, contextLength: 2048, maxBatchTokens: 64, maxGap: 12 },
      {
        msPerToken: 1,
        onStep: (s) => s.some((p) => p.tokens.length === 1 && p.start > 0) && pieces.push(Math.max(...s.map((p) => p.tokens.length))),
      },
    );
    const decoding = core.generate(request({ text: "short", maxTokens: 60, ignoreEos: true }));
    while ((await decoding.next()).value?.type !== "delta");
    const long = collect(core.generate(request({ text: "y".repeat(400), maxTokens: 2 })));
    expect(await collectRest(decoding)).toBe(60);
    await long;
    const prompts = pieces.filter((n) => n > 1);
    // Until a step was measured a quarter of the batch.
    expect(Math.max(...prompts)).toBeLessThanOrEqual(16);
    expect(Math.max(...prompts.slice(2))).toBeLessThanOrEqual(11);
    expect(prompts.length).toBeGreaterThan(10);
  });

  test("short prompts overtake a long one that is being read", async () => {
    const { core } = await engine({ parallel: 4, contextLength: 2048, maxBatchTokens: 32 });
    const order: string[] = [];
    const long = collect(core.generate(request({ text: "y".repeat(1500), maxTokens: 1 }))).then(() => order.push("long"));
    const short = collect(core.generate(request({ text: "z".repeat(20), maxTokens: 1 }))).then(() => order.push("short"));
    await Promise.all([long, short]);
    expect(order).toEqual(["short", "long"]);
  });

  test("waiting requests start in order of priority, then arrival", async () => {
    const { core } = await engine({ parallel: 1, contextLength: 256 });
    const order: string[] = [];
    const run = (text: string, priority: number): Promise<unknown> =>
      collect(core.generate(request({ text, priority, maxTokens: 2, ignoreEos: true }))).then(() => order.push(text));
    const first = core.generate(request({ text: "first", maxTokens: 20, ignoreEos: true }));
    await first.next();
    await Promise.all([run("low", 0), run("low2", 0), run("high", 1), collectRest(first)]);
    expect(order).toEqual(["high", "low", "low2"]);
  });
});

describe("prefix reuse", () => {
  test("a second turn computes only what is new and says the same", async () => {
    const { core, runners } = await engine({ contextLength: 512 });
    const first = await collect(core.generate(request({ text: "a first question", maxTokens: 30, ignoreEos: true })));
    const text = `a first question${first.text} and a second one`;
    const before = runners[0].computed;
    const second = await collect(core.generate(request({ text, maxTokens: 12, ignoreEos: true })));
    expect(second.end.usage.cachedTokens).toBe(16 + 29);
    expect(runners[0].computed - before).toBe(second.start.promptTokens - second.end.usage.cachedTokens + 11);
    const fresh = await engine({ contextLength: 512 });
    const cold = await collect(fresh.core.generate(request({ text, maxTokens: 12, ignoreEos: true })));
    expect(cold.end.usage.cachedTokens).toBe(0);
    expect(second.text).toBe(cold.text);
  });

  test("a prompt that was answered before computes its last token only, and says the same", async () => {
    const { core, runners } = await engine({ contextLength: 512 });
    const ask = () => collect(core.generate(request({ text: "x".repeat(99), maxTokens: 1 })));
    const first = await ask();
    const before = runners[0].computed;
    const again = await ask();
    expect(again.end.usage.cachedTokens).toBe(98);
    expect(runners[0].computed - before).toBe(1);
    expect(again.text).toBe(first.text);
  });

  test("what a cancelled request had read of its prompt is not read again", async () => {
    const { core } = await engine({ contextLength: 2048, maxBatchTokens: 16 });
    const stop = new AbortController();
    const text = "r".repeat(900);
    for await (const e of core.generate(request({ text }), stop.signal)) if (e.type === "prefill" && e.done >= 100) stop.abort();
    const { end } = await collect(core.generate(request({ text, maxTokens: 1 })));
    expect(end.usage.cachedTokens).toBeGreaterThanOrEqual(100);
    expect(end.usage.cachedTokens).toBeLessThan(899);
  });

  test("branches of a conversation and side requests keep their beginnings", async () => {
    const { core } = await engine({ contextLength: 1024, parallel: 2 });
    const answer = async (text: string) => {
      const { text: said, end } = await collect(core.generate(request({ text, maxTokens: 8, ignoreEos: true })));
      return { said, cached: end.usage.cachedTokens };
    };
    const opening = "a long beginning ".repeat(20);
    const one = await answer(`${opening}first branch?`);
    const two = await answer(`${opening}second branch?`);
    expect(two.cached).toBe(opening.length);
    for (let i = 0; i < 5; i++) expect((await answer(`${i} aside `.repeat(30))).cached).toBe(0);
    expect((await answer(`${opening}first branch?${one.said} and then`)).cached).toBe(opening.length + 13 + 7);
    expect((await answer(`${opening}second branch?${two.said} and then`)).cached).toBe(opening.length + 14 + 7);
  });

  test("the same prompt several times at once is computed once", async () => {
    const { core, runners } = await engine({ contextLength: 512, parallel: 8, maxBatchTokens: 32 });
    const text = "p".repeat(201);
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, seed) => collect(core.generate(request({ text, maxTokens: 4, ignoreEos: true, sampling: { seed } })))),
    );
    expect(answers.map((a) => a.end.usage.cachedTokens).sort((a, b) => a - b)).toEqual([0, ...Array(7).fill(200)]);
    expect(runners[0].computed).toBe(201 + 7 + 8 * 3);
  });

  test("old prefixes make room for new ones", async () => {
    const { core } = await engine({ contextLength: 64, parallel: 1 }, { kvTokens: 64 });
    for (let i = 0; i < 20; i++)
      await collect(core.generate(request({ text: `${"abcdefghijklmnopqrst"[i]} ${"w".repeat(30)}`, maxTokens: 10 })));
    const again = await collect(core.generate(request({ text: `a ${"w".repeat(30)}`, maxTokens: 10 })));
    expect(again.end.usage.cachedTokens).toBe(0);
  });
});

describe("blocks run out", () => {
  test("later requests give way, and every text stays the same", async () => {
    const requests = prompts.map(
      (text, i) => () => request({ text, maxTokens: 40, ignoreEos: true, sampling: { temperature: 1, seed: i } }),
    );
    const roomy = await engine({ contextLength: 128, parallel: 12 });
    const expected = await Promise.all(requests.map((r) => collect(roomy.core.generate(r()))));
    const { core, runners } = await engine({ contextLength: 128, parallel: 12 }, { kvTokens: 200 });
    const answers = await Promise.all(requests.map((r) => collect(core.generate(r()))));
    expect(answers.map((a) => a.text)).toEqual(expected.map((a) => a.text));
    expect(runners[0].computed).toBeGreaterThan(roomy.runners[0].computed);
  });

  test("a prompt that can never fit is refused", async () => {
    const { core } = await engine({ contextLength: 4096 }, { kvTokens: 64 });
    const e = await errorOf(core.generate(request({ text: "q".repeat(100) })));
    expect(e.code).toBe("context_length_exceeded");
    expect(e.data).toEqual({ tokens: 100, window: 64 });
  });
});

describe("limits", () => {
  test("a full queue refuses", async () => {
    const { core } = await engine({ parallel: 2, maxQueue: 3, contextLength: 256 });
    const all = Array.from({ length: 8 }, () => core.generate(request({ maxTokens: 30, ignoreEos: true })));
    const results = await Promise.allSettled(all.map((g) => collect(g)));
    const refused = results.flatMap((r) => (r.status === "rejected" ? [r.reason.code] : []));
    expect(refused).toEqual(["queue_full", "queue_full", "queue_full"]);
  });

  test("a deadline ends a request that runs and one that waits", async () => {
    // The clock stands still until the first of them has said something.
    const start = new Date();
    setSystemTime(start);
    try {
      const { core } = await engine({ parallel: 1, contextLength: 4096 }, { stepMs: 5 });
      const deadline = start.getTime() + 3_600_000;
      const running = core.generate(request({ ignoreEos: true, deadline }));
      const waiting = errorOf(core.generate(request({ ignoreEos: true, deadline: deadline - 1_800_000 })));
      for (let deltas = 0; deltas < 3;) if ((await running.next()).value?.type === "delta") deltas++;
      setSystemTime(new Date(deadline - 1));
      expect((await waiting).code).toBe("timeout");
      setSystemTime(new Date(deadline));
      const e = await errorOf(running);
      expect(e.code).toBe("timeout");
      expect(e.data?.tokens).toBeGreaterThan(2);
    } finally {
      setSystemTime();
    }
  });

  test("the end of the window and maxTokens end a request", async () => {
    const { core } = await engine({ contextLength: 32 });
    const window = await collect(core.generate(request({ text: "0123456789", ignoreEos: true, maxTokens: 1000 })));
    expect(window.end.reason).toBe("context");
    expect(window.end.usage.completionTokens).toBe(22);
    const length = await collect(core.generate(request({ text: "0123456789", ignoreEos: true, maxTokens: 5 })));
    expect(length.end.reason).toBe("length");
    expect(length.end.ids).toHaveLength(5);
    const none = await collect(core.generate(request({ maxTokens: 0 })));
    expect(none.end.reason).toBe("length");
    const ceiling = await collect(core.generate(request({ text: "0123456789", ignoreEos: true, contextLimit: 16 })));
    expect(ceiling.end.usage.completionTokens).toBe(6);
  });
});

describe("cancellation", () => {
  test("frees the blocks of a running, a reading and a waiting request", async () => {
    const { core, runners } = await engine({ parallel: 2, contextLength: 1024, maxBatchTokens: 16 });
    const signals = [0, 1, 2].map(() => new AbortController());
    const texts = ["decodes", "r".repeat(900), "waits"];
    const runs = texts.map((text, i) => core.generate(request({ text, ignoreEos: true }), signals[i].signal));
    await Promise.all(runs.map((r) => r.next()));
    const computed = runners[0].computed;
    for (const s of signals) s.abort();
    const ends = await Promise.all(runs.map(lastOf));
    expect(ends.map((e) => e.type === "end" && e.reason)).toEqual(["cancelled", "cancelled", "cancelled"]);
    expect(runners[0].computed - computed).toBeLessThanOrEqual(2 * 16);
    core.check();
    expect((await core.loaded())[0]).toMatchObject({ running: 0, queued: 0 });
  });

  test("a reader that stops reading cancels", async () => {
    const { core } = await engine({ contextLength: 4096 });
    for await (const e of core.generate(request({ ignoreEos: true }))) if (e.type === "delta") break;
    while ((await core.loaded())[0].running > 0) await Bun.sleep(5);
    expect((await core.loaded())[0]).toMatchObject({ running: 0, queued: 0 });
  });

  test("a request that is cancelled beforehand never starts", async () => {
    const { core, runners } = await engine();
    expect((await errorOf(core.generate(request({}), AbortSignal.abort()))).code).toBe("cancelled");
    expect(runners).toHaveLength(0);
  });
});

test("a failing step fails its requests, and later ones work", async () => {
  let fail = true;
  const { core } = await engine(
    { contextLength: 256 },
    {
      onStep: () => {
        if (fail) throw new Error("the device is on fire");
      },
    },
  );
  const e = await errorOf(core.generate(request({})));
  expect(e.code).toBe("internal");
  expect(e.message).toContain("on fire");
  fail = false;
  expect((await collect(core.generate(request({ maxTokens: 3, ignoreEos: true })))).end.reason).toBe("length");
});

test("64 requests of all kinds: the book-keeping holds after every step", async () => {
  const seed = Number(process.env.ALLOY_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
  console.log(`soak seed ${seed} (ALLOY_TEST_SEED=${seed} repeats it)`);
  let state = seed;
  const random = (n: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
  const { core } = await engine({ parallel: 7, contextLength: 160, maxBatchTokens: 24 }, { kvTokens: 400 });
  const heads = ["system prompt one, rather long. ", "another system prompt, of other length! ", ""];
  const results = await Promise.all(
    Array.from({ length: 64 }, async (_, i) => {
      await Bun.sleep(random(30));
      const stop = new AbortController();
      const text = heads[random(3)] + `question ${random(12)} ${"?".repeat(1 + random(60))}`;
      const run = core.generate(
        request({
          text,
          maxTokens: 1 + random(60),
          ignoreEos: random(2) === 0,
          priority: random(3),
          sampling: { temperature: random(2), seed: i },
        }),
        stop.signal,
      );
      if (random(4) === 0) setTimeout(() => stop.abort(), random(20));
      try {
        return (await collect(run)).end.reason;
      } catch (e) {
        return (e as { code: string }).code;
      }
    }),
  );
  expect(new Set(results).difference(new Set(["stop", "length", "context", "cancelled"]))).toEqual(new Set());
  expect(results.filter((r) => r !== "cancelled").length).toBeGreaterThan(30);
  core.check();
});

async function collectRest(events: AsyncIterable<unknown>): Promise<number> {
  let n = 0;
  for await (const e of events)
    if ((e as { type: string }).type === "end") n = (e as { usage: { completionTokens: number } }).usage.completionTokens;
  return n;
}

async function lastOf<T>(events: AsyncIterable<T>): Promise<T> {
  let last: T | undefined;
  for await (const e of events) last = e;
  return last!;
}
