/** Whole models through the Metal driver, the shim and the emitted MSL, on the Metal host: logits of golden checkpoints, tokens of the demo model. */
import { afterAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import type { KvType } from "../../kernels/kv-cache.ts";
import { createEngine } from "../../src/engine/create.ts";
import { openModel } from "../../src/formats/open.ts";
import { evaluate, GREEDY as GREEDY_ROW } from "../../src/models/evaluate.ts";
import type { ModelRunner } from "../../src/models/api.ts";
import { loadRunner } from "../../src/models/runner.ts";
import type { Device } from "../../src/runtime/device.ts";
import { createDevice } from "../../src/runtime/index.ts";
import { collect } from "../engine/fakes.ts";
import { metalHost } from "../metal-host/build.ts";
import { configure } from "../metal-host/run.ts";
import { dequantised, ggufOf, GOLDEN, maxError, reference, type Reference, ROOT } from "./golden.ts";

/** ALLOY_TEST_DEVICE=metal runs these on a Mac's GPU. */
const real = process.env.ALLOY_TEST_DEVICE === "metal";
const host = metalHost();
const available = real || host.available;
if (!real && host.available) process.env.ALLOY_METAL_SHIM = host.shim;
else if (!real && !host.available) console.log(host.why);

/** Prefill multiplies in float16 and the cache holds float16: relative rounding of 2^-11 per value, on logits of a few units. */
const F16_TOLERANCE = 2e-2;
/** What the exact mode computes in float32 throughout. */
const EXACT_TOLERANCE = 1e-4;
/** A cache that rounds to 1/254 of a group's largest value; f16 products besides. */
const Q8_TOLERANCE = 0.35;
/** Of the reference's 24 tokens; and under the checker, which is slow. */
const GREEDY = 8;
const GREEDY_CHECKED = 2;

describe.skipIf(!available)("golden models", () => {
  let device: Device;
  const gpu = (): Device => (device ??= createDevice("metal"));
  afterAll(() => {
    device?.close();
    if (!real) configure("checked");
  });
  const load = (path: string, precision: "exact" | "fast", kvType?: KvType) =>
    loadRunner(openModel(path), { device: gpu(), contextLength: 160, kvTokens: 256, maxBatchTokens: 128, precision, kvType });
  const mode = (words: "checked" | "fast"): void => {
    if (!real) configure(words);
  };

  const compare = async (runner: ModelRunner, what: string, prompts: readonly Reference[], n: number, tolerance: number) => {
    for (const p of prompts) {
      const { logits, greedy } = await evaluate(runner, p.ids, n);
      const error = maxError(logits, p.logits);
      console.log(`${what}, ${p.ids.length} tokens: ${error.toExponential(1)}`);
      expect(error).toBeLessThan(tolerance);
      // A step whose two best are closer than the error may go either way; what follows then follows from that.
      const close = p.margins.findIndex((m) => m < 2 * tolerance);
      const sure = close < 0 ? n : Math.min(n, close);
      expect(greedy.slice(0, sure)).toEqual(p.greedy.slice(0, sure));
    }
    runner.close();
  };
  for (const name of GOLDEN) {
    // Mistral's GGUF lacks the sliding window: only its folder has a reference.
    const path = name === "mistral/tiny" ? join(ROOT, name, "hf") : ggufOf(name);
    for (const [precision, tolerance] of [
      ["exact", EXACT_TOLERANCE],
      ["fast", F16_TOLERANCE],
    ] as const) {
      test(`${name}, ${precision}`, async () => {
        mode("fast");
        await compare(await load(path, precision), `${name} ${precision}`, await reference(name), GREEDY, tolerance);
      }, 120_000);
    }
  }

  for (const type of ["q8_0", "q4_k_m", "q4_0"]) {
    test(`qwen3/kq ${type}`, async () => {
      mode("fast");
      const runner = await load(join(ROOT, "qwen3/kq", `model-${type}.gguf`), "fast");
      await compare(runner, `qwen3/kq ${type}`, await dequantised(type), GREEDY, F16_TOLERANCE);
    }, 120_000);
  }

  test("a cache of q8_0, and a copied block of it", async () => {
    mode("fast");
    const prompts = await reference("llama/tiny");
    const runner = await load(ggufOf("llama/tiny"), "exact", "q8_0");
    const step = (start: number, block: number) =>
      runner.step([
        { tokens: ids.subarray(start, start + 20), start, blocks: Int32Array.of(block), outputs: "last", sampling: GREEDY_ROW },
      ]);
    const ids = Int32Array.from({ length: 40 }, (_, i) => (i * 37) % 100);
    await step(0, 1);
    runner.copyBlock(1, 3);
    const original = (await step(20, 1)).logits(0).slice();
    expect((await step(20, 3)).logits(0)).toEqual(original);
    await compare(runner, "llama/tiny, q8_0 cache", prompts, 1, Q8_TOLERANCE);
  }, 120_000);

  // Races between dispatches, accesses outside of a buffer and the like end a plan with an error.
  test.skipIf(real)(
    "nothing to find in whole steps, prefill and decode",
    async () => {
      mode("checked");
      await compare(
        await load(ggufOf("gpt2/tiny"), "exact"),
        "gpt2/tiny checked",
        (await reference("gpt2/tiny")).slice(0, 1),
        GREEDY_CHECKED,
        EXACT_TOLERANCE,
      );
      const kq = await load(join(ROOT, "qwen3/kq", "model-q4_k_m.gguf"), "fast");
      await compare(kq, "qwen3/kq q4_k_m checked", await dequantised("q4_k_m"), GREEDY_CHECKED, F16_TOLERANCE);
    },
    300_000,
  );
});

const QUESTIONS = [
  "What is the capital of France?",
  "What is the capital of Italy?",
  "What is the capital of Japan?",
  "What is the capital of Germany?",
  "What is the capital of Spain?",
  "Hello!",
  "Hi, how are you?",
  "Who are you?",
  "What can you do?",
  "Thank you!",
  "What is 2 + 2?",
  "What is 7 + 5?",
  "What is 12 + 30?",
  "What is 9 - 4?",
  "What is 3 * 6?",
  "How much is 15 + 15?",
  "What colour is the sky?",
  "What colour is grass?",
  "How many days are in a week?",
  "How many legs does a spider have?",
  "What is the opposite of hot?",
  "What is the opposite of big?",
  "Name a fruit.",
  "Name an animal.",
  "Say hello.",
  "Count to three.",
  "What day comes after Monday?",
  "What is water made of?",
  "Which planet do we live on?",
  "Tell me a fact.",
  "Is fire hot?",
  "What do bees make?",
];

test.skipIf(!available)(
  `the demo model answers ${QUESTIONS.length} questions as on the CPU, token by token`,
  async () => {
    const answers = async (device: string): Promise<number[][]> => {
      const engine = await createEngine({ place: "here", models: ["demo"], parallel: QUESTIONS.length, device });
      const ids = await Promise.all(
        QUESTIONS.map(async (content, i) => {
          const prompt = { kind: "chat" as const, messages: [{ role: "user" as const, content }] };
          const request = { id: `q${i}`, model: "demo", prompt, sampling: { temperature: 0, maxTokens: 8 } };
          return (await collect(engine.generate(request))).end.ids;
        }),
      );
      await engine.close();
      return ids;
    };
    const cpu = await answers("cpu");
    // Ten million parameters are too many for the checker.
    if (!real) configure("fast");
    const metal = await answers("metal");
    if (!real) configure("checked");
    expect(QUESTIONS.filter((_, i) => metal[i].join() !== cpu[i].join())).toEqual([]);
  },
  300_000,
);
