import { describe, expect, test } from "bun:test";
import { speeds } from "../../src/cli/commands/bench.ts";
import type { OpenRunner, RunnerChoice } from "../../src/cli/deps.ts";
import { alloy, DEMO_INFO, fakeRunner } from "./fakes.ts";

const TOKENIZER = {
  vocabSize: 300,
  encode: (text: string, o: { addSpecial?: boolean; parseSpecial?: boolean }) => [
    ...(o.addSpecial ? [299] : []),
    ...(o.parseSpecial ? [] : [298]),
    ...Buffer.from(text),
  ],
  decode: (ids: number[]) => Buffer.from(ids).toString(),
  piece: (id: number) => (id === 299 ? "<s>" : String.fromCharCode(id)),
} as never;
const tokens = { openTokenizer: async () => TOKENIZER };

describe("list and show", () => {
  test("list: a table, or JSON", async () => {
    expect((await alloy(["list"])).stdout).toBe(
      "NAME  PARAMS  QUANT     SIZE  SOURCE  MODIFIED\ndemo     10M  Q8_0   11.3 MB  demo    2026-11-21\n",
    );
    expect(JSON.parse((await alloy(["list", "--json"])).stdout).models[0].name).toBe("demo");
  });

  test("list: a model that cannot be read is shown with the reason", async () => {
    const broken = { name: "cut", source: "ollama", path: "/x", modified: "2026-01-01T00:00:00Z", problem: "the file ends early" };
    expect((await alloy(["list"], { listModels: async () => [broken] })).stdout).toContain("cannot be read: the file ends early");
  });

  test("show: words, JSON, template", async () => {
    const info = { ...DEMO_INFO, template: "{{ messages }}" };
    const deps = { describeModel: async () => info };
    expect((await alloy(["show", "demo"], deps)).stdout).toContain("  parameters    10M\n");
    const preset = {
      system: "Be brief.\nAlways.",
      messages: [{ role: "user", content: "hi" }],
      parameters: { stop: ["<x>"], num_ctx: 512 },
    };
    const tuned = (await alloy(["show", "demo"], { describeModel: async () => ({ ...info, preset }) })).stdout;
    expect(tuned).toContain(
      '  system        Be brief.\n  messages      1 in front of each conversation\n  parameter     stop ["<x>"]\n  parameter     num_ctx 512\n',
    );
    expect(JSON.parse((await alloy(["show", "demo", "--json"], deps)).stdout)).toEqual(info);
    expect((await alloy(["show", "demo", "--template"], deps)).stdout).toBe("{{ messages }}\n");
  });
});

describe("tokenize", () => {
  test("text from arguments or standard input, every byte of it", async () => {
    expect(JSON.parse((await alloy(["tokenize", "demo", "hi", "you", "--json"], tokens)).stdout)).toEqual({
      ids: [...Buffer.from("hi you")],
      pieces: [..."hi you"],
    });
    expect(JSON.parse((await alloy(["tokenize", "demo", "--json"], tokens, { stdin: " a\n" })).stdout).ids).toEqual([32, 97, 10]);
    expect((await alloy(["tokenize", "demo", "hi"], tokens)).stdout).toBe("104\th\n105\ti\n");
  });

  test("special tokens only when asked for", async () => {
    const ids = async (...flags: string[]) => JSON.parse((await alloy(["tokenize", "demo", "a", "--json", ...flags], tokens)).stdout).ids;
    expect(await ids()).toEqual([97]);
    expect(await ids("--special")).toEqual([299, 97]);
    expect(await ids("--plain")).toEqual([298, 97]);
    expect((await alloy(["tokenize", "demo", "abc", "--count"], tokens)).stdout).toBe("3\n");
  });

  test.each(["104,105", "104 105", "[104, 105]", '{"ids":[104,105],"pieces":["h","i"]}\n'])("--decode reads %j", async (text) => {
    expect((await alloy(["tokenize", "demo", "--decode"], tokens, { stdin: text })).stdout).toBe("hi");
    expect(JSON.parse((await alloy(["tokenize", "demo", "-d", "--json", text], tokens)).stdout)).toEqual({ text: "hi" });
  });

  test.each(["1,x", "300", "-1", "1.5"])("--decode refuses %s", async (text) => {
    const { code, stderr } = await alloy(["tokenize", "demo", "--decode", text], tokens);
    expect(code).toBe(2);
    expect(stderr).toContain("is not a token id\nhint: ids of this model are whole numbers from 0 to 299\n");
  });
});

function withRunner(runner = fakeRunner()) {
  const choices: RunnerChoice[] = [];
  let closed = 0;
  const openRunner = async (_: string, choice: RunnerChoice): Promise<OpenRunner> => {
    choices.push(choice);
    return { runner, fileBytes: 1000, device: "cpu", close: () => void closed++ };
  };
  return { runner, choices, deps: { openRunner }, closed: () => closed };
}

describe("logits", () => {
  test("prints ids, exact float32 logits and the greedy continuation", async () => {
    const { runner, choices, deps, closed } = withRunner();
    const { code, stdout } = await alloy("logits m --ids 1,2,3,4,5 -n 3 --json".split(" "), deps);
    expect(code).toBe(0);
    const { ids, logits, greedy } = JSON.parse(stdout);
    expect(ids).toEqual([1, 2, 3, 4, 5]);
    expect(greedy).toEqual([6, 7, 8]);
    const expected = new Float32Array(10).fill(5);
    expected[6] += 0.1;
    expect(Float32Array.from(logits)).toEqual(expected);
    // Chunks of at most four tokens, an output row for the last only, then one token at a time at the right places.
    expect(runner.steps).toEqual([
      { tokens: [1, 2, 3, 4], start: 0, outputs: "none" },
      { tokens: [5], start: 4, outputs: "last" },
      { tokens: [6], start: 5, outputs: "last" },
      { tokens: [7], start: 6, outputs: "last" },
    ]);
    expect(choices[0]).toMatchObject({ precision: "exact", contextLength: 8 });
    expect(closed()).toBe(1);
  });

  test("without --json: the largest logits, and the greedy ids", async () => {
    const { stdout } = await alloy("logits m --ids 1 -n 2 --top 2".split(" "), withRunner().deps);
    expect(stdout).toBe("2\t1.100000\n0\t1.000000\ngreedy: 2,3\n");
  });

  test("ids are required, and inside the vocabulary", async () => {
    expect((await alloy(["logits", "m"], withRunner().deps)).stderr).toContain("--ids is missing");
    const { code, stderr } = await alloy(["logits", "m", "--ids", "1,10"], withRunner().deps);
    expect(code).toBe(2);
    expect(stderr).toContain("token id 10 is outside the vocabulary\nhint: ids go from 0 to 9");
  });
});

describe("bench", () => {
  test("fills the cache, throws one run away, and measures each test at its depth", async () => {
    const { runner, choices, deps, closed } = withRunner();
    const { code, stdout } = await alloy("bench m -p 3 -n 2 -d 0,5 -r 2 --json".split(" "), deps);
    expect(code).toBe(0);
    const { results, device } = JSON.parse(stdout);
    expect(device).toBe("cpu");
    expect(results.map((r: { test: string; depth: number; ms: number[] }) => [r.test, r.depth, r.ms.length])).toEqual([
      ["pp3", 0, 2],
      ["tg2", 0, 2],
      ["pp5", 0, 1],
      ["pp3", 5, 2],
      ["tg2", 5, 2],
    ]);
    const shape = runner.steps.map((s) => `${s.start}+${s.tokens.length}`);
    const once = (depth: number) => [
      ...Array(3)
        .fill([`${depth}+3`])
        .flat(),
      ...Array(3)
        .fill([`${depth}+1`, `${depth + 1}+1`])
        .flat(),
    ];
    // The first token counts as part of loading.
    expect(shape).toEqual(["0+1", ...once(0), "0+4", "4+1", ...once(5)]);
    expect(choices[0]).toMatchObject({ precision: "fast", contextLength: 8, sequences: 1 });
    expect(closed()).toBe(1);
  });

  test("several sequences decode in the same steps, each in blocks of its own", async () => {
    const { runner, choices, deps } = withRunner();
    const batches: { start: number; block: number }[][] = [];
    const step = runner.step.bind(runner);
    runner.step = (batch) => {
      batches.push(batch.map((s) => ({ start: s.start, block: s.blocks[0] })));
      return step(batch);
    };
    const { stdout } = await alloy("bench m -p 0 -n 2 -s 1,3 -d 4 -r 1 --json".split(" "), deps);
    const { results } = JSON.parse(stdout);
    expect(results.map((r: { test: string; tokens: number }) => [r.test, r.tokens])).toEqual([
      ["pp4", 4],
      ["tg2", 2],
      ["tg2x3", 6],
    ]);
    expect(choices[0]).toMatchObject({ contextLength: 6, sequences: 3 });
    const last = batches.at(-1)!;
    expect(last.map((s) => s.start)).toEqual([5, 5, 5]);
    expect(new Set(last.map((s) => s.block)).size).toBe(3);
  });

  test("the same seed gives the same tokens", async () => {
    const tokensOf = async (seed: string) => {
      const { runner, deps } = withRunner();
      await alloy(`bench m -p 4 -n 0 -r 1 --seed ${seed}`.split(" "), deps);
      return runner.steps.flatMap((s) => s.tokens);
    };
    expect(await tokensOf("5")).toEqual(await tokensOf("5"));
    expect(await tokensOf("5")).not.toEqual(await tokensOf("6"));
  });

  test("speeds: the median of an even and an odd number of runs", () => {
    expect(speeds([100, 300, 200], 10)).toEqual({ median: 50, min: 1000 / 30, max: 100 });
    expect(speeds([100, 300], 10)).toEqual({ median: 50, min: 1000 / 30, max: 100 });
  });

  test("nothing to measure is a usage error", async () => {
    expect((await alloy("bench m -p 0 -n 0".split(" "), withRunner().deps)).code).toBe(2);
  });
});

describe("inspect", () => {
  const seen: unknown[] = [];
  const kernels = async () => [
    {
      name: "rms_norm",
      parameters: [
        { name: "x", type: "ptr(f32)" },
        { name: "n", type: "dim" },
      ],
      stages: (o: unknown) => {
        seen.push(o);
        return [
          { name: "ir", text: "ir text\n" },
          { name: "c", text: "c text\n" },
        ];
      },
    },
  ];

  test("lists, prints all stages, or one", async () => {
    expect((await alloy(["inspect"], { kernels })).stdout).toBe("KERNEL    PARAMETERS\nrms_norm  x n\n");
    expect((await alloy(["inspect", "rms_norm"], { kernels })).stdout).toBe("=== ir ===\nir text\n=== c ===\nc text\n");
    expect((await alloy("inspect rms_norm --stage c --isa avx2 --set BLOCK=64 --set FAST=true".split(" "), { kernels })).stdout).toBe(
      "c text\n",
    );
    expect(seen.at(-1)).toEqual({ isa: "avx2", target: undefined, constexprs: { BLOCK: 64, FAST: true } });
  });

  test("unknown kernels and stages, and --set without a value", async () => {
    expect((await alloy(["inspect", "rms_nrom"], { kernels })).stderr).toContain("did you mean rms_norm?");
    expect((await alloy("inspect rms_norm -s x".split(" "), { kernels })).stderr).toContain("stages are ir, c");
    expect((await alloy("inspect rms_norm --target cuda".split(" "), { kernels })).stderr).toContain("targets are c and metal");
    expect((await alloy("inspect rms_norm --set BLOCK".split(" "), { kernels })).code).toBe(2);
  });
});
