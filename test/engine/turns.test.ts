/** The order of waiting requests, on a server of one place with a clock of its own. */
import { describe, expect, test } from "bun:test";
import { EngineCore } from "../../src/engine/core.ts";
import { Pace } from "../../src/engine/pace.ts";
import { AGING_MS, Turns, type Turn } from "../../src/engine/turns.ts";
import { collect, errorOf, fakeParts, request } from "./fakes.ts";

const SEED = Number(process.env.ALLOY_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
console.log(`turns seed ${SEED} (ALLOY_TEST_SEED=${SEED} repeats it)`);

function random(seed: number): (n: number) => number {
  let state = seed >>> 0;
  return (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
}

interface Job extends Turn {
  /** Tokens. */
  prompt: number;
  output: number;
}

/** One place: each job runs to its end, which takes a millisecond per token. */
class OnePlace {
  clock = 0;
  readonly waiting: Job[] = [];
  readonly served: Job[] = [];
  private arrivals = 0;
  private readonly turns = new Turns(() => this.clock);

  add(job: Partial<Job> & { client: string }): Job {
    const whole = { priority: 0, created: this.clock, arrival: this.arrivals++, started: false, prompt: 10, output: 10, ...job };
    this.turns.join(whole, this.waiting);
    this.waiting.push(whole);
    return whole;
  }

  serve(): Job | undefined {
    const job = this.turns.next(this.waiting, () => true);
    if (!job) return undefined;
    this.waiting.splice(this.waiting.indexOf(job), 1);
    this.turns.charge(job.client, job.prompt, "prompt");
    this.turns.charge(job.client, job.output, "output");
    this.clock += job.prompt + job.output;
    this.served.push(job);
    return job;
  }
}

const cost = (jobs: Job[], client: string): number =>
  jobs.filter((j) => j.client === client).reduce((n, j) => n + j.prompt + 2 * j.output, 0);

describe("turns", () => {
  test("all that waits is served, and each client's equals in the order in which they came", () => {
    const draw = random(SEED);
    for (let round = 0; round < 200; round++) {
      const place = new OnePlace();
      const all: Job[] = [];
      const steps = 1 + draw(60);
      for (let i = 0; i < steps; i++) {
        if (draw(3) > 0) all.push(place.add({ client: `c${draw(4)}`, prompt: 1 + draw(200), output: draw(100) }));
        else place.serve();
      }
      while (place.serve());
      expect(new Set(place.served)).toEqual(new Set(all));
      for (const client of new Set(all.map((j) => j.client))) {
        const order = place.served.filter((j) => j.client === client).map((j) => j.arrival);
        expect(order).toEqual(order.toSorted((a, b) => a - b));
      }
    }
  });

  test("clients that always wait get the same, up to a request's worth, whatever the sizes", () => {
    const draw = random(SEED + 1);
    for (let round = 0; round < 50; round++) {
      const place = new OnePlace();
      const clients = Array.from({ length: 2 + draw(4) }, (_, i) => `c${i}`);
      const largest = new Map(clients.map((c) => [c, 1 + draw(300)]));
      const most = Math.max(...largest.values());
      const refill = (client: string) => place.add({ client, prompt: 1 + draw(largest.get(client)!), output: draw(largest.get(client)!) });
      for (const c of clients) for (let i = draw(20); i >= 0; i--) refill(c);
      for (let i = 0; i < 200; i++) refill(place.serve()!.client);
      const totals = clients.map((c) => cost(place.served, c));
      expect(Math.max(...totals) - Math.min(...totals)).toBeLessThanOrEqual(3 * most);
    }
  });

  test("one request of another client waits for at most one of two hundred", () => {
    const draw = random(SEED + 2);
    const place = new OnePlace();
    for (let i = 0; i < 200; i++) place.add({ client: "many", prompt: 1 + draw(50), output: draw(50) });
    for (let i = draw(100); i >= 0; i--) place.serve();
    const before = place.served.length;
    const one = place.add({ client: "one" });
    while (place.serve() !== one);
    expect(place.served.length - before).toBeLessThanOrEqual(2);
  });

  test("silence saves nothing up: who comes back takes turns with the others", () => {
    const place = new OnePlace();
    for (let i = 0; i < 100; i++) place.add({ client: "steady" });
    for (let i = 0; i < 50; i++) place.serve();
    for (let i = 0; i < 50; i++) place.add({ client: "late" });
    const next = Array.from({ length: 20 }, () => place.serve()!.client);
    expect(Math.abs(next.filter((c) => c === "late").length - 10)).toBeLessThanOrEqual(1);
  });

  test("the more urgent go first, whoever asks", () => {
    const draw = random(SEED + 3);
    const place = new OnePlace();
    for (let i = 0; i < 40; i++) place.add({ client: `c${draw(3)}`, priority: draw(5) - 2, prompt: 1, output: 0 });
    while (place.serve());
    const order = place.served.map((j) => j.priority);
    expect(order).toEqual(order.toSorted((a, b) => b - a));
  });

  test("the least urgent is served in the end beside an endless stream of more urgent ones", () => {
    const place = new OnePlace();
    for (let i = 0; i < 5; i++) place.add({ client: "urgent", priority: 3, prompt: 500, output: 500 });
    const low = place.add({ client: "patient", priority: -2 });
    while (place.serve() !== low) {
      place.add({ client: "urgent", priority: 3, prompt: 500, output: 500 });
      expect(place.clock).toBeLessThan(6 * AGING_MS);
    }
    expect(place.clock).toBeGreaterThan(4 * AGING_MS);
  });

  test("waiting makes nobody more urgent than the most urgent that wait: age does not undo fairness", () => {
    const place = new OnePlace();
    for (let i = 0; i < 200; i++) place.add({ client: "many", prompt: 1000, output: 0 });
    while (place.clock < 3 * AGING_MS) place.serve();
    const one = place.add({ client: "one" });
    expect([place.serve(), place.serve()]).toContain(one);
  });

  test("one that ran before goes on before new ones", () => {
    const place = new OnePlace();
    place.add({ client: "a" });
    const again = place.add({ client: "a", started: true });
    expect(place.serve()).toBe(again);
  });
});

describe("pace", () => {
  test("who is refused comes back when as many places as were asked for before have become free", () => {
    let clock = 0;
    const pace = new Pace(() => clock);
    expect(pace.retryAfter()).toBe(1);
    for (let i = 0; i < 20; i++) {
      clock += 2500;
      pace.ended();
    }
    expect([pace.retryAfter(), pace.retryAfter(), pace.retryAfter()]).toEqual([3, 5, 8]);
    pace.ended();
    expect(pace.retryAfter()).toBeLessThanOrEqual(8);
    for (let i = 0; i < 100; i++) pace.retryAfter();
    expect(pace.retryAfter()).toBe(60);
  });
});

describe("in the engine", () => {
  /** Clients in the order in which their requests end, one at a time. */
  async function order(options: object, clients: string[]): Promise<string[]> {
    const core = await EngineCore.create(fakeParts().parts, { parallel: 1, contextLength: 256, ...options });
    const first = core.generate(request({ maxTokens: 5, ignoreEos: true }));
    await first.next();
    const ended: string[] = [];
    const runs = clients.map((client, i) =>
      collect(core.generate(request({ text: `${client} ${i}`, client, maxTokens: 3, ignoreEos: true }))).then(() => ended.push(client)),
    );
    await Promise.all([collect(first).catch(() => {}), ...runs]);
    await core.close();
    return ended;
  }

  test("clients take turns", async () => {
    const ended = await order({}, [...Array<string>(10).fill("many"), "one"]);
    expect(ended.indexOf("one")).toBeLessThanOrEqual(1);
  });

  test("a client's own limits: what runs of it, and what waits", async () => {
    const core = await EngineCore.create(fakeParts({ stepMs: 1 }).parts, {
      parallel: 4,
      clientParallel: 2,
      clientQueue: 1,
      contextLength: 256,
    });
    const start = (client: string) => core.generate(request({ client, ignoreEos: true, maxTokens: 100 }));
    const [a, b, c, d] = [start("x"), start("x"), start("x"), start("x")];
    const other = start("y");
    const refused = await errorOf(d);
    expect(refused).toMatchObject({ code: "queue_full", hint: expect.stringContaining("--client-queue") });
    expect(refused.data?.retryAfter).toBeGreaterThanOrEqual(1);
    for (const run of [a, b, other]) while ((await run.next()).value.type !== "delta");
    expect((await core.loaded())[0]).toMatchObject({ running: 3, queued: 1 });
    for (const run of [a, b, c, other]) void run.return?.();
    await core.close();
  });

  test("the queue's limit counts what waits for all models", async () => {
    const core = await EngineCore.create(fakeParts({ stepMs: 1 }).parts, { parallel: 1, maxQueue: 2, contextLength: 256 });
    const long = { ignoreEos: true, maxTokens: 200 };
    const running = ["a", "b"].map((model) => core.generate(request({ model, ...long })));
    for (const run of running) while ((await run.next()).value.type !== "delta");
    const waiting = ["a", "b"].map((model) => core.generate(request({ model, ...long })));
    for (const run of waiting) await run.next();
    expect((await errorOf(core.generate(request({ model: "a" })))).code).toBe("queue_full");
    for (const run of [...running, ...waiting]) void run.return?.();
    await core.close();
  });
});
