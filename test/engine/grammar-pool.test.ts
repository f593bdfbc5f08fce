/** Grammars are compiled beside the engine, within limits of time and memory. */
import { afterAll, afterEach, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import type { Engine, GenerateRequest } from "../../src/engine/api.ts";
import { createEngine } from "../../src/engine/create.ts";
import type { FromGrammars, ToGrammars } from "../../src/engine/grammar/messages.ts";
import { CompileProblem, GrammarPool } from "../../src/engine/grammar/pool.ts";
import type { GrammarWorker } from "../../src/engine/grammar/slot.ts";
import { vocabularyOf } from "../../src/engine/grammar/vocabulary.ts";
import { byteTokenizer, collect, errorOf, VOCAB } from "./fakes.ts";
import { permitted } from "./sentences.ts";

setDefaultTimeout(120_000);
const MIB = 2 ** 20;
/** Compiles for ten seconds or more against any vocabulary where it is held strictly, and in a few milliseconds where not. */
const long = (first: number): unknown => {
  const names = Array.from({ length: 100 }, (_, i) => `p${i}`);
  const lengths = (i: number): object => ({ type: "string", minLength: first + i, maxLength: first + 400 });
  return { type: "object", required: names, properties: Object.fromEntries(names.map((name, i) => [name, lengths(i)])) };
};

describe("in an engine", () => {
  /** Milliseconds: many times what a token takes, and even on a busy machine, which has eight times as long, less than a strict `long` takes. */
  const TIMEOUT = 300;
  let engine: Engine;
  beforeAll(async () => void (engine = await createEngine({ place: "here", models: ["demo"], grammarTimeout: TIMEOUT })));
  afterAll(() => engine.close());

  const held = (first: number, strict: boolean): Partial<GenerateRequest> => ({
    constraint: { kind: "schema", schema: long(first), strict, param: "format" },
    maxTokens: 1,
  });
  const request = (over: Partial<GenerateRequest>): GenerateRequest => ({
    id: "test",
    model: "demo",
    prompt: { kind: "text", text: "One two three" },
    sampling: { temperature: 0 },
    ...over,
  });

  test.each([
    ["free", 500, {}],
    ["held to a grammar", 501, { constraint: { kind: "regex" as const, pattern: "[a-z ]*", param: "r" } }],
  ])("streams go on while a grammar compiles, which is given up in the end (%s)", async (_name, first, over) => {
    const stop = new AbortController();
    const stream = engine.generate(request({ ...over, ignoreEos: true }), stop.signal);
    let deltas = 0;
    let before: number | undefined;
    let failed: Promise<unknown> | undefined;
    let between = 0;
    for await (const event of stream) {
      if (event.type !== "delta" || ++deltas < 3) continue;
      before ??= deltas;
      failed ??= errorOf(collect(engine.generate(request(held(first, true))))).then((error) => {
        between = deltas - before!;
        stop.abort();
        return error;
      });
    }
    expect(await failed).toMatchObject({
      code: "invalid_json_schema",
      param: "format",
      message: expect.stringContaining("takes longer than 0.3 s to compile") as string,
    });
    expect(between).toBeGreaterThan(1);
  });

  test("lengths of strings that take too long are held with strict only", async () => {
    expect((await errorOf(collect(engine.generate(request(held(502, true)))))).message).toContain("takes longer than 0.3 s");
    const patient = await createEngine({ place: "here", models: ["demo"], grammarTimeout: 2000 });
    expect((await collect(patient.generate(request(held(502, false))))).text[0]).toBe("{");
    await patient.close();
  });

  test("what was given up is known, and counted", async () => {
    const ask = (): Promise<unknown> => errorOf(collect(engine.generate(request(held(503, true)))));
    const [first, second] = await Promise.all([ask(), ask()]);
    expect(first).toMatchObject({ code: "invalid_json_schema" });
    expect(second).toEqual(first);
    const [{ work }] = await engine.loaded();
    const compiled = work.grammars.reduce((a, b) => a + b);
    expect(await ask()).toEqual(first);
    expect((await engine.loaded())[0].work.grammars.reduce((a, b) => a + b)).toBe(compiled);
    expect(work.grammarSeconds).toBeGreaterThan(TIMEOUT / 1000);
  });
});

describe("with real workers", () => {
  let pool: GrammarPool;
  const open = (memory: number): GrammarPool =>
    (pool = new GrammarPool({ vocabulary: vocabularyOf(byteTokenizer, VOCAB, ""), timeoutMs: 60_000, memory }));
  afterEach(() => pool.close());

  test("a matcher says what may come and what has to", async () => {
    open(512 * MIB);
    const matcher = await pool.matcher('root ::= "ab" [cd] "e"');
    const first = await matcher.state();
    expect(permitted(first.mask)).toEqual({ bytes: [97], ends: false });
    expect(first.forced).toBe("ab");
    matcher.accept([97, 98]);
    expect((await matcher.state()).forced).toBe("");
    matcher.accept([99]);
    matcher.accept([101]);
    expect(permitted((await matcher.state()).mask)).toEqual({ bytes: [], ends: true });
    matcher.accept([97]);
    expect(String(await matcher.state().catch((e: unknown) => e))).toContain("token 97 does not follow");
  });

  test("memory has a limit, behind which the next grammar finds a fresh worker", async () => {
    open(40 * MIB);
    const words = Array.from({ length: 20_000 }, (_, i) => `"${(i * 2654435761).toString(36)}"`).join(" | ");
    const problem = await pool.matcher(`root ::= ${words}`).catch((e: unknown) => e);
    expect(problem).toBeInstanceOf(CompileProblem);
    expect((problem as Error).message).toContain("takes more than 20 MiB");
    expect(permitted((await (await pool.matcher('root ::= "b"')).state()).mask).bytes).toEqual([98]);
  });
});

/** A worker that compiles when it is told to. */
class FakeWorker implements GrammarWorker {
  onmessage: ((event: MessageEvent<FromGrammars>) => void) | null = null;
  onerror: ((event: ErrorEvent) => void) | null = null;
  readonly sent: ToGrammars[] = [];
  ended = false;

  constructor(readonly bytes: number) {}

  postMessage(message: ToGrammars): void {
    this.sent.push(message);
    if (message.type === "open") this.say({ type: "ready" });
    if (message.type === "compile" && !message.ebnf.startsWith("slow")) this.say({ type: "compiled", bytes: this.bytes });
    if (message.type === "match" || message.type === "accept")
      this.say({ type: "state", matcher: message.matcher, mask: new Int32Array(1), forced: "" });
  }

  say(data: FromGrammars): void {
    queueMicrotask(() => this.onmessage?.({ data } as MessageEvent<FromGrammars>));
  }

  terminate(): void {
    this.ended = true;
  }

  get compiled(): string[] {
    return this.sent.flatMap((m) => (m.type === "compile" ? [m.ebnf] : []));
  }
}

describe("which worker", () => {
  let workers: FakeWorker[] = [];
  let pool: GrammarPool;
  const open = (bytes = MIB, timeoutMs = 60_000): GrammarPool => {
    workers = [];
    const startWorker = (): GrammarWorker => {
      workers.push(new FakeWorker(bytes));
      return workers.at(-1)!;
    };
    return (pool = new GrammarPool({ vocabulary: { words: [], ends: [] }, timeoutMs, memory: 100 * MIB, startWorker }));
  };
  afterEach(() => pool.close());

  test("one is enough while nobody follows a grammar, and a grammar compiles once", async () => {
    open();
    for (const ebnf of ["a", "b", "a"]) (await pool.matcher(ebnf)).free();
    const [first, second] = await Promise.all([pool.matcher("c"), pool.matcher("c")]);
    expect(workers.map((w) => w.compiled)).toEqual([["a", "b", "c"]]);
    first.free();
    second.free();
  });

  test("another one compiles while grammars are followed; of four the first that is free", async () => {
    open();
    const followed = [];
    for (const ebnf of ["a", "b", "c", "d"]) followed.push(await pool.matcher(ebnf));
    expect(workers.map((w) => w.compiled)).toEqual([["a"], ["b"], ["c"], ["d"]]);
    const fifth = pool.matcher("e");
    expect(await Promise.race([fifth, Promise.resolve("waits")])).toBe("waits");
    await pool.matcher("b");
    followed[2].free();
    await fifth;
    expect(workers.map((w) => w.compiled)).toEqual([["a"], ["b"], ["c", "e"], ["d"]]);
  });

  test("those used longest ago are ended where memory is short", async () => {
    open(40 * MIB);
    const [a, b] = [await pool.matcher("a"), await pool.matcher("b")];
    a.free();
    b.free();
    const c = await pool.matcher("c");
    expect(workers.map((w) => w.ended)).toEqual([true, false, false]);
    c.free();
  });

  test("one that takes too long is ended, with nobody else in it", async () => {
    open(MIB, 20);
    const a = await pool.matcher("a");
    await expect(pool.matcher("slow")).rejects.toThrow("takes longer than 0.02 s");
    await pool.matcher("slow").catch(() => {});
    expect(workers.map((w) => w.ended)).toEqual([false, true]);
    await a.state();
    await pool.matcher("b");
  });

  test("one that dies fails those who follow a grammar in it, and no others", async () => {
    open();
    const [a, b] = [await pool.matcher("a"), await pool.matcher("b")];
    await Promise.all([a.state(), b.state()]);
    workers[0].onerror!({ message: "boom" } as ErrorEvent);
    a.accept([1]);
    b.accept([1]);
    await expect(a.state()).rejects.toThrow("has ended");
    await b.state();
    await pool.matcher("a");
    expect(workers[2].compiled).toEqual(["a"]);
  });
});
