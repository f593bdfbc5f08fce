/** Several models within one budget: who is loaded, who goes, who waits. */
import { afterEach, describe, expect, test } from "bun:test";
import { EngineCore, type EngineOptions } from "../../src/engine/core.ts";
import { ModelManager } from "../../src/engine/manager.ts";
import { planMemory } from "../../src/engine/memory.ts";
import { collect, errorOf, fakeParts, request } from "./fakes.ts";

const open: EngineCore[] = [];
const MiB = 2 ** 20;
/** What the fake model takes: 64 MiB of working memory, and little else. */
const ONE = 65 * MiB;

async function engine(options: EngineOptions = {}, fake: Parameters<typeof fakeParts>[0] = {}) {
  const made = fakeParts({ stepMs: 1, ...fake });
  const core = await EngineCore.create(made.parts, { contextLength: 256, ...options });
  open.push(core);
  return { ...made, core };
}

afterEach(async () => {
  for (const core of open.splice(0)) await core.close();
});

const names = async (core: EngineCore): Promise<string[]> => (await core.loaded()).map((m) => m.name);
/** Uses a model until `end` is called. */
async function busy(core: EngineCore, model: string): Promise<{ end(): void }> {
  const run = core.generate(request({ model, ignoreEos: true }));
  while ((await run.next()).value.type !== "delta");
  return { end: () => void run.return!() };
}

describe("the budget", () => {
  test("models share it: the one that was used longest ago goes", async () => {
    const { core, runners } = await engine({ memory: 3 * ONE });
    for (const model of ["a", "b", "c"]) await core.load(model);
    await collect(core.generate(request({ model: "a", maxTokens: 1 })));
    await core.load("d");
    expect((await names(core)).sort()).toEqual(["a", "c", "d"]);
    expect(runners.map((r) => r.closed)).toEqual([false, true, false, false]);
    expect((await core.loaded()).reduce((n, m) => n + m.memoryBytes, 0)).toBeLessThanOrEqual(3 * ONE);
  });

  test("so many models at once and no more, if that is asked for", async () => {
    const { core } = await engine({ maxLoaded: 2 });
    for (const model of ["a", "b", "c", "a"]) await core.load(model);
    expect(await names(core)).toEqual(["c", "a"]);
    const full = await engine({ maxLoaded: 1, loadTimeout: 0 });
    const first = await busy(full.core, "a");
    const refused = await errorOf(full.core.load("b"));
    expect(refused.message).toBe("b cannot be loaded: one model may be loaded at once; loaded: a (64 MiB, in use)");
    expect(refused.hint).toBe("raise --max-loaded, or try again when these are idle");
    first.end();
  });

  test("a model in use never goes: a load waits until it is idle", async () => {
    const { core, runners } = await engine({ memory: ONE });
    const first = await busy(core, "a");
    const second = collect(core.generate(request({ model: "b", maxTokens: 1 })));
    while ((await core.loaded())[0].running < 1);
    expect(runners).toHaveLength(1);
    first.end();
    expect((await second).end.reason).toBe("length");
    expect(await names(core)).toEqual(["b"]);
  });

  test("one that waits in vain hears what is missing, who holds it, and what to do", async () => {
    const { core } = await engine({ memory: ONE, loadTimeout: 20 });
    const first = await busy(core, "a");
    const [one, two] = await Promise.all([1, 2].map(() => errorOf(core.generate(request({ model: "b" })))));
    expect(one.code).toBe("out_of_memory");
    expect(one.message).toMatch(/^b needs 64 MiB .* and 1 MiB of the 65 MiB for models is free; loaded: a \(64 MiB, in use\)$/);
    expect(one.hint).toBe("raise --memory, or take a smaller model or quantisation, or try again when these are idle");
    expect(two.message).toBe(one.message);
    first.end();
    while ((await core.loaded())[0].running > 0) await Bun.sleep(1);
    expect((await collect(core.generate(request({ model: "b", maxTokens: 1 })))).end.reason).toBe("length");
  });

  test("a model that could never fit is refused at once, and stops nobody", async () => {
    const { core } = await engine({ memory: ONE / 2, loadTimeout: 60_000 });
    expect((await errorOf(core.load("a"))).code).toBe("out_of_memory");
  });

  test("nobody waits for the model any more: nothing is unloaded for it", async () => {
    const { core, runners } = await engine({ memory: ONE });
    const first = await busy(core, "a");
    const stop = new AbortController();
    const second = errorOf(core.generate(request({ model: "b" }), stop.signal));
    stop.abort();
    expect((await second).code).toBe("cancelled");
    first.end();
    await collect(core.generate(request({ model: "a", maxTokens: 1 })));
    expect(await names(core)).toEqual(["a"]);
    expect(runners).toHaveLength(1);
  });

  test("an idle model goes before another makes do with a short context nobody asked for", () => {
    const sizes = { kvBytesPerToken: MiB, contextLength: 32768, weightBytes: 0 };
    const tight = { model: "m", sizes, parallel: 1, free: 2048 * MiB };
    expect(planMemory(tight).contextLength).toBeLessThan(8192);
    expect(() => planMemory({ ...tight, roomy: true })).toThrow("m needs");
    expect(planMemory({ ...tight, roomy: true, contextLength: 600 }).contextLength).toBe(600);
  });
});

describe("waiting for a load", () => {
  test("is limited like the queue", async () => {
    const { core } = await engine({ parallel: 1, maxQueue: 2 }, { loadMs: 30 });
    const runs = Array.from({ length: 5 }, () => collect(core.generate(request({ maxTokens: 1 }))));
    const results = await Promise.allSettled(runs);
    expect(results.map((r) => (r.status === "rejected" ? r.reason.code : r.value.end.reason))).toEqual([
      ...Array(3).fill("length"),
      ...Array(2).fill("queue_full"),
    ]);
  });

  test("a model whose load nobody waits for any more goes when its time is up", async () => {
    const { promise: loading, resolve: load } = Promise.withResolvers<void>();
    const { core, runners } = await engine({ keepAlive: 20 }, { loading });
    const stop = new AbortController();
    const left = errorOf(core.generate(request({}), stop.signal));
    setTimeout(() => stop.abort(), 10);
    expect((await left).code).toBe("cancelled");
    load();
    while (runners.length === 0 || !runners[0].closed) await Bun.sleep(5);
    expect(await names(core)).toEqual([]);
  });

  test("a load that fails answers all who wait, and leaves nothing behind", async () => {
    const fake = fakeParts();
    let closed = 0;
    fake.parts.openModel = (path) => ({
      format: "gguf",
      path,
      metadata: new Map(),
      tensors: new Map(),
      fileBytes: 1,
      close: () => void closed++,
    });
    fake.parts.loadRunner = () => Promise.reject(new Error("cut file"));
    const core = await EngineCore.create(fake.parts, { contextLength: 256 });
    open.push(core);
    const errors = await Promise.all([1, 2, 3].map(() => errorOf(core.generate(request({})))));
    expect(errors.map((e) => e.message)).toEqual(Array(3).fill("cut file"));
    expect(closed).toBe(1);
    expect(await names(core)).toEqual([]);
  });

  test("in the end stops new requests to the models that it waits for; they are answered after it", async () => {
    const fake = fakeParts();
    const device = await fake.parts.createDevice({});
    const options = { keepAlive: 60_000, parallel: 1, maxQueue: 10, loadTimeout: 60_000, maxLoaded: 1, patience: 20, contextLength: 256 };
    const manager = new ModelManager(fake.parts, device, options);
    const order: string[] = [];
    const use = async (name: string): Promise<() => void> => {
      const { release } = await manager.acquire(name);
      order.push(name);
      return release;
    };
    // "a" is never idle: each user is there before the last one leaves.
    const end = [await use("a")];
    const waiting = use("b");
    for (;;) {
      await Bun.sleep(1);
      const next = use("a");
      const held = Symbol("held");
      const got = await Promise.race([next, Bun.sleep(20).then(() => held)]);
      if (got === held) {
        end.pop()!();
        (await waiting)();
        (await next)();
        break;
      }
      end.pop()!();
      end.push(got as () => void);
    }
    expect(order.slice(-2)).toEqual(["b", "a"]);
    await manager.close();
  });
});
