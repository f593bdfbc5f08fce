/** The engine elsewhere, in a worker and in a process: everything crosses the border, and one that dies is started again. */
import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { fileURLToPath } from "node:url";
import type { GenerateEvent } from "../../src/engine/api.ts";
import { type ClientParts, EngineClient } from "../../src/engine/client.ts";
import type { EngineOptions } from "../../src/engine/core.ts";
import { type OpenPort, processPort, workerPort } from "../../src/engine/port.ts";
import { collect, errorOf, modelInfo, request } from "./fakes.ts";

setDefaultTimeout(120_000);

const open: EngineClient[] = [];

const PLACES: Record<string, OpenPort> = {
  worker: workerPort(() => new Worker(new URL("./fragile-worker.ts", import.meta.url))),
  process: processPort([process.execPath, fileURLToPath(new URL("./fragile-child.ts", import.meta.url))]),
};
type Death = Parameters<NonNullable<ClientParts["onDeath"]>>[0];

interface Started {
  engine: EngineClient;
  starts: () => number;
  deaths: Death[];
  /** Ends the engine as it stands, without a word. */
  kill(signal?: NodeJS.Signals): void;
}

async function start(place: string, options: EngineOptions = {}): Promise<Started> {
  let starts = 0;
  const deaths: Death[] = [];
  const openPort: OpenPort = (events) => {
    starts++;
    return PLACES[place](events);
  };
  const parts = {
    openPort,
    models: () => Promise.resolve([modelInfo("a")]),
    model: () => Promise.resolve(modelInfo("a")),
    onDeath: (death: Death) => void deaths.push(death),
  };
  const engine = await EngineClient.start(parts, { contextLength: 4096, ...options });
  open.push(engine);
  return { engine, starts: () => starts, deaths, kill: (signal = "SIGKILL") => process.kill(engine.health().pid!, signal) };
}

afterEach(async () => {
  for (const engine of open.splice(0)) await engine.close();
});

const endless = (text: string) => request({ text, ignoreEos: true });
const short = (text: string) => request({ text, maxTokens: 3, ignoreEos: true });

/** Reads until there is text. */
async function untilText(events: AsyncIterableIterator<GenerateEvent>): Promise<void> {
  for (;;) {
    const { value, done } = await events.next();
    if (done) throw new Error("it ended before its first text");
    if (value.type === "delta") return;
  }
}

describe.each(Object.keys(PLACES))("an engine in a %s", (place) => {
  test("events, answers and errors cross the border", async () => {
    const { engine } = await start(place);
    const answer = await collect(engine.generate(request({ text: "hello", maxTokens: 5, ignoreEos: true, logprobs: 2 })));
    expect(answer.text).toHaveLength(5);
    expect(answer.end.ids).toHaveLength(5);
    expect(answer.events.some((e) => e.type === "delta" && e.logprobs?.[0].top.length === 2)).toBe(true);
    expect(await engine.tokenize("a", { kind: "text", text: "abc" })).toEqual({ ids: [97, 98, 99], text: "abc" });
    expect(await engine.detokenize("a", [97, 98])).toBe("ab");
    expect(await engine.tokenBytes("a", [97, 98])).toEqual([Uint8Array.of(97), Uint8Array.of(98)]);
    // Long lists of ids, there and back.
    const text = "word ".repeat(40_000);
    const { ids } = await engine.tokenize("a", { kind: "text", text });
    expect(ids).toEqual([...new TextEncoder().encode(text)]);
    expect(await engine.detokenize("a", ids)).toBe(text);
    expect(await engine.tokenize("a", { kind: "ids", ids })).toEqual({ ids });
    const long = await collect(
      engine.generate(request({ prompt: { kind: "ids", ids: ids.slice(0, 500) }, maxTokens: 100, ignoreEos: true })),
    );
    expect(long.start.promptTokens).toBe(500);
    expect(Array.isArray(long.end.ids) && long.end.ids.length).toBe(100);
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
    expect(engine.health()).toMatchObject({ state: "up", restarts: 0 });
  });

  test("aborting and leaving the loop cancel there", async () => {
    const { engine } = await start(place);
    const stop = new AbortController();
    const run = engine.generate(endless("one"), stop.signal);
    await run.next();
    stop.abort();
    let last;
    for await (const e of run) last = e;
    expect(last).toMatchObject({ type: "end", reason: "cancelled" });
    for await (const e of engine.generate(endless("two"))) if (e.type === "delta") break;
    while ((await engine.loaded())[0].running > 0);
    expect((await engine.loaded())[0]).toMatchObject({ running: 0, queued: 0 });
  });

  for (const [how, prompt] of [
    ["of an uncaught error", "!throw"],
    ["without a word", "!exit"],
  ]) {
    test(`it dies ${how}: what has emitted fails, what is at fault is tried once more at most, and nobody else is lost`, async () => {
      const { engine, starts, deaths } = await start(place, { parallel: 2 });
      const bystander = engine.generate(endless("bystander"));
      await untilText(bystander);
      const killer = errorOf(engine.generate(endless(prompt)));
      const waiting = Array.from({ length: 5 }, (_, i) => collect(engine.generate(short(`waiting ${i}`))));
      expect((await errorOf(bystander)).code).toBe("engine_died");
      expect((await killer).code).toBe("engine_died");
      for (const answer of await Promise.all(waiting)) {
        expect(answer.end.reason).toBe("length");
        expect(answer.events.filter((e) => e.type === "start")).toHaveLength(1);
      }
      // Once, if the one at fault had its first text out before it struck.
      expect(deaths.reduce((n, d) => n + d.failed, 0)).toBe(2);
      expect(starts()).toBe(deaths.length + 1);
      expect(engine.health()).toMatchObject({ state: "up", restarts: deaths.length, lastDeath: { why: expect.any(String) } });
    });
  }

  test("one that cannot start says why, and is not tried again", async () => {
    const e = await errorOf(start(place, { device: "none" }));
    expect([e.code, e.hint]).toEqual(["device_error", "take another"]);
  });

  test("one that dies before it is up is an error for who starts it", async () => {
    expect((await errorOf(start(place, { device: "crash" }))).code).toBe("engine_died");
  });

  test("closing lets requests finish, then refuses", async () => {
    const { engine } = await start(place);
    const running = engine.generate(request({ maxTokens: 30, ignoreEos: true }));
    const cut = engine.generate(endless("on and on"));
    await Promise.all([untilText(running), untilText(cut)]);
    const [runs, ends] = [running, cut].map((g) => Array.fromAsync(g).then((rest) => rest.at(-1)));
    const closed = engine.close(2000);
    expect((await errorOf(engine.generate(request({})))).code).toBe("shutting_down");
    expect(await runs).toMatchObject({ type: "end", reason: "length" });
    await closed;
    expect(await ends).toMatchObject({ type: "end", reason: "cancelled" });
    expect((await errorOf(engine.load("a"))).code).toBe("shutting_down");
  });
});

describe("a process that is killed", () => {
  test.each(["SIGKILL", "SIGSEGV", "SIGABRT"] as const)("by %s: the reason is told, and seeds hold over it", async (signal) => {
    const { engine, deaths, kill } = await start("process", { parallel: 1 });
    const first = engine.generate(endless("first"));
    await untilText(first);
    const waiting = engine.generate({ ...short("waiting"), sampling: { temperature: 1 } });
    const begun = (await waiting.next()).value as Extract<GenerateEvent, { type: "start" }>;
    kill(signal);
    const error = await errorOf(first);
    expect(error.message).toContain(signal);
    const rest = await Array.fromAsync(waiting);
    expect(rest.at(-1)).toMatchObject({ type: "end", reason: "length" });
    const text = (events: GenerateEvent[]) =>
      events.map((e) => (e.type === "delta" && e.delta.type === "text" ? e.delta.text : "")).join("");
    const again = await collect(engine.generate({ ...short("waiting"), sampling: { temperature: 1, seed: begun.seed } }));
    expect(text(rest)).toBe(again.text);
    expect(deaths).toMatchObject([{ failed: 1, kept: 1, restartMs: 0 }]);
  });

  test("by a request, each time it is computed: that one fails at the second death, and nobody else", async () => {
    const { engine, deaths } = await start("process");
    const killer = errorOf(engine.generate(endless("!kill")));
    const others = Array.from({ length: 4 }, (_, i) => collect(engine.generate({ ...short(`other ${i}`), priority: -1 })));
    expect((await killer).hint).toContain("2 times in a row");
    for (const answer of await Promise.all(others)) expect(answer.end.reason).toBe("length");
    expect(deaths.map((d) => d.failed)).toEqual([0, 1]);
  });

  test("again and again while requests wait: all of them are answered", async () => {
    const { engine, kill } = await start("process", { parallel: 1 });
    const waiting = Array.from({ length: 10 }, (_, i) => collect(engine.generate(short(`waiting ${i}`))));
    for (let i = 0; i < 3; i++) {
      const victim = engine.generate({ ...endless("victim"), priority: 1 });
      await untilText(victim);
      kill();
      expect((await errorOf(victim)).code).toBe("engine_died");
    }
    for (const answer of await Promise.all(waiting)) expect(answer.end.reason).toBe("length");
  });

  test("a request that is cancelled while none is up ends at once", async () => {
    const { engine, kill } = await start("process", { parallel: 1 });
    const stop = new AbortController();
    const waiting = engine.generate(endless("waiting"), stop.signal);
    await waiting.next();
    kill();
    while (engine.health().restarts === 0) await Bun.sleep(1);
    stop.abort();
    const all = await Array.fromAsync(waiting).catch((e: { code: string }) => e.code);
    expect(Array.isArray(all) ? (all.at(-1) as { reason: string }).reason : all).toBe("cancelled");
  });

  test("an executable that is gone is a reason, not a crash", async () => {
    const gone = processPort(["/nowhere/alloy"]);
    const parts = { openPort: gone, models: () => Promise.resolve([]), model: () => Promise.resolve(modelInfo("a")) };
    const e = await errorOf(EngineClient.start(parts, {}));
    expect(e.message).toContain("cannot be started");
  });
});
