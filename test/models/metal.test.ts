/** Whole models through the Metal driver, the shim and the emitted MSL, on the Metal host: logits of golden checkpoints, tokens of the demo model. */
import { afterAll, describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { createEngine } from "../../src/engine/create.ts";
import { openModel } from "../../src/formats/open.ts";
import { evaluate } from "../../src/models/evaluate.ts";
import type { ModelRunner } from "../../src/models/api.ts";
import { loadRunner } from "../../src/models/runner.ts";
import type { Device } from "../../src/runtime/device.ts";
import { createDevice } from "../../src/runtime/index.ts";
import { collect } from "../engine/fakes.ts";
import { metalHost } from "../metal-host/build.ts";
import { configure } from "../metal-host/run.ts";

/** ALLOY_TEST_DEVICE=metal runs these on a Mac's GPU. */
const real = process.env.ALLOY_TEST_DEVICE === "metal";
const host = metalHost();
const available = real || host.available;
if (!real && host.available) process.env.ALLOY_METAL_SHIM = host.shim;
else if (!real && !host.available) console.log(host.why);

const ROOT = join(import.meta.dir, "../fixtures/golden");

interface Prompt {
  name: string;
  ids: number[];
  logits_last: number[];
  greedy: { ids: number[]; margins: number[] };
}
interface LlamaCpp {
  files: Record<string, { prompts: { logits_last: number[]; greedy: number[]; margins: number[] }[] }>;
}
const json = async <T>(...path: string[]): Promise<T> => (await Bun.file(join(ROOT, ...path)).json()) as T;
const maxError = (a: Float32Array, b: readonly number[]): number => a.reduce((worst, v, i) => Math.max(worst, Math.abs(v - b[i])), 0);

/** Prefill multiplies in float16 and the cache holds float16: relative rounding of 2^-11 per value, on logits of a few units. */
const F16_TOLERANCE = 2e-2;
/** What the exact mode computes in float32 throughout. */
const EXACT_TOLERANCE = 1e-4;
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
  const load = (path: string, precision: "exact" | "fast") =>
    loadRunner(openModel(path), { device: gpu(), contextLength: 160, kvTokens: 256, maxBatchTokens: 128, precision });
  const mode = (words: "checked" | "fast"): void => {
    if (!real) configure(words);
  };

  interface Reference {
    ids: number[];
    logits: number[];
    greedy: number[];
    /** Best minus second logit at every step. */
    margins: number[];
  }
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
  const plain = async (name: string): Promise<Reference[]> =>
    (await json<{ prompts: Prompt[] }>(name, "reference.json")).prompts.map((p) => ({
      ids: p.ids,
      logits: p.logits_last,
      greedy: p.greedy.ids,
      margins: p.greedy.margins,
    }));
  const quantised = async (type: string): Promise<Reference[]> => {
    const { files } = await json<LlamaCpp>("qwen3/kq/llama_cpp.json");
    const reference = files[`deq:${type}`].prompts;
    return (await plain("qwen3/kq")).map(({ ids }, i) => {
      const { logits_last: logits, greedy, margins } = reference[i];
      return { ids, logits, greedy, margins };
    });
  };

  for (const name of ["llama/tiny", "qwen2/tiny", "qwen3/tiny", "mistral/tiny", "phi3/tiny", "smollm3/tiny", "granite/tiny", "gpt2/tiny"]) {
    const gguf = readdirSync(join(ROOT, name)).find((f) => f.endsWith(".gguf"))!;
    // Mistral's GGUF lacks the sliding window: only its folder has a reference.
    const path = name === "mistral/tiny" ? join(ROOT, name, "hf") : join(ROOT, name, gguf);
    for (const [precision, tolerance] of [
      ["exact", EXACT_TOLERANCE],
      ["fast", F16_TOLERANCE],
    ] as const) {
      test(`${name}, ${precision}`, async () => {
        mode("fast");
        await compare(await load(path, precision), `${name} ${precision}`, await plain(name), GREEDY, tolerance);
      }, 120_000);
    }
  }

  for (const type of ["q8_0", "q4_k_m", "q4_0"]) {
    test(`qwen3/kq ${type}`, async () => {
      mode("fast");
      const runner = await load(join(ROOT, "qwen3/kq", `model-${type}.gguf`), "fast");
      await compare(runner, `qwen3/kq ${type}`, await quantised(type), GREEDY, F16_TOLERANCE);
    }, 120_000);
  }

  // Races between dispatches, accesses outside of a buffer and the like end a plan with an error.
  test.skipIf(real)(
    "nothing to find in whole steps, prefill and decode",
    async () => {
      mode("checked");
      const gpt2 = join(
        ROOT,
        "gpt2/tiny",
        readdirSync(join(ROOT, "gpt2/tiny")).find((f) => f.endsWith(".gguf"))!,
      );
      await compare(
        await load(gpt2, "exact"),
        "gpt2/tiny checked",
        (await plain("gpt2/tiny")).slice(0, 1),
        GREEDY_CHECKED,
        EXACT_TOLERANCE,
      );
      const kq = await load(join(ROOT, "qwen3/kq", "model-q4_k_m.gguf"), "fast");
      await compare(kq, "qwen3/kq q4_k_m checked", await quantised("q4_k_m"), GREEDY_CHECKED, F16_TOLERANCE);
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
      const engine = await createEngine({ inProcess: true, models: ["demo"], parallel: QUESTIONS.length, device });
      const ids = await Promise.all(
        QUESTIONS.map(async (content, i) => {
          const prompt = { kind: "chat" as const, messages: [{ role: "user" as const, content }] };
          const request = { id: `q${i}`, model: "demo", prompt, sampling: { temperature: 0, maxTokens: 12 } };
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
