/** The engine behind a worker: everything crosses the border, and a worker that dies is replaced. */
import { afterEach, describe, expect, test } from "bun:test";
import type { GenerateEvent } from "../../src/engine/api.ts";
import { EngineClient } from "../../src/engine/client.ts";
import type { EngineOptions } from "../../src/engine/core.ts";
import { collect, errorOf, modelInfo, request } from "./fakes.ts";

const open: EngineClient[] = [];

async function start(options: EngineOptions = {}): Promise<{ engine: EngineClient; workers: () => number }> {
  let workers = 0;
  const startWorker = (): Worker => {
    workers++;
    return new Worker(new URL("./fragile-worker.ts", import.meta.url));
  };
  const parts = { startWorker, models: () => Promise.resolve([modelInfo("a")]), model: () => Promise.resolve(modelInfo("a")) };
  const engine = await EngineClient.start(parts, { contextLength: 4096, ...options });
  open.push(engine);
  return { engine, workers: () => workers };
}

afterEach(async () => {
  for (const engine of open.splice(0)) await engine.close();
});

const endless = (text: string) => request({ text, ignoreEos: true });

test("events, answers and errors cross the border", async () => {
  const { engine } = await start();
  const answer = await collect(engine.generate(request({ text: "hello", maxTokens: 5, ignoreEos: true, logprobs: 2 })));
  expect(answer.text).toHaveLength(5);
  expect(answer.end.ids).toHaveLength(5);
  expect(answer.events.some((e) => e.type === "delta" && e.logprobs?.[0].top.length === 2)).toBe(true);
  expect(await engine.tokenize("a", { kind: "text", text: "abc" })).toEqual({ ids: [97, 98, 99], text: "abc" });
  expect(await engine.detokenize("a", [97, 98])).toBe("ab");
  expect((await engine.models()).map((m) => m.name)).toEqual(["a"]);
  await engine.load("b", Infinity);
  expect((await engine.loaded()).map((l) => [l.name, l.expires === undefined])).toEqual([
    ["a", false],
    ["b", true],
  ]);
  await engine.unload("b");
  expect(await engine.loaded()).toHaveLength(1);
  const tooLong = await errorOf(engine.generate(request({ text: "x".repeat(5000) })));
  expect(tooLong.code).toBe("context_length_exceeded");
  expect(tooLong.data).toEqual({ tokens: 5000, window: 4096 });
  expect((await errorOf(engine.tokenize("missing", { kind: "text", text: "" }))).code).toBe("model_not_found");
});

test("aborting and leaving the loop cancel in the worker", async () => {
  const { engine } = await start();
  const stop = new AbortController();
  const run = engine.generate(endless("one"), stop.signal);
  await run.next();
  stop.abort();
  let last;
  for await (const e of run) last = e;
  expect(last).toMatchObject({ type: "end", reason: "cancelled" });
  for await (const e of engine.generate(endless("two"))) if (e.type === "delta") break;
  await Bun.sleep(30);
  expect((await engine.loaded())[0]).toMatchObject({ running: 0, queued: 0 });
});

describe("a worker that dies", () => {
  for (const [how, prompt] of [
    ["of an uncaught error", "!throw"],
    ["without a word", "!exit"],
  ]) {
    test(`${how} fails what runs, and the next request gets a new one`, async () => {
      const { engine, workers } = await start();
      const bystander = engine.generate(endless("bystander"));
      await bystander.next();
      const [killer, other] = await Promise.all([errorOf(engine.generate(endless(prompt))), errorOf(bystander)]);
      expect(killer.code).toBe("engine_died");
      expect(other.code).toBe("engine_died");
      const again = await collect(engine.generate(request({ text: "hello", maxTokens: 3, ignoreEos: true })));
      expect(again.end.reason).toBe("length");
      expect(workers()).toBe(2);
    });
  }

  test("an engine that cannot start says why", async () => {
    const e = await errorOf(start({ device: "none" }));
    expect(e.code).toBe("device_error");
    expect(e.hint).toBe("take another");
  });
});

/** Waits until a generation runs (its first text has come); then, how it ends. */
async function underWay(events: AsyncIterableIterator<GenerateEvent>): Promise<{ end: Promise<GenerateEvent | undefined> }> {
  while ((await events.next()).value.type !== "delta");
  return { end: Array.fromAsync(events).then((rest) => rest.at(-1)) };
}

test("closing lets requests finish, then refuses", async () => {
  const { engine } = await start();
  const [running, cut] = await Promise.all([
    underWay(engine.generate(request({ maxTokens: 200, ignoreEos: true }))),
    underWay(engine.generate(endless("on and on"))),
  ]);
  const closed = engine.close(2000);
  expect((await errorOf(engine.generate(request({})))).code).toBe("shutting_down");
  expect(await running.end).toMatchObject({ type: "end", reason: "length" });
  await closed;
  expect(await cut.end).toMatchObject({ type: "end", reason: "cancelled" });
  expect((await errorOf(engine.load("a"))).code).toBe("shutting_down");
});
