/** Largest logit error and equal greedy tokens of every golden checkpoint: bun bench/accuracy.ts. Markdown on standard output. */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { openModel } from "../src/formats/open.ts";
import { evaluate } from "../src/models/evaluate.ts";
import { FAMILIES } from "../src/models/registry.ts";
import { loadRunner } from "../src/models/runner.ts";
import { createDevice } from "../src/runtime/index.ts";

const ROOT = join(import.meta.dir, "../test/fixtures/golden");
const SUPPORTED = new Set(FAMILIES.flatMap((f) => f.huggingface));
/** Its GGUF form has no sliding window (the converter drops it): only the folder is comparable. */
const GGUF_DIFFERS = new Set(["mistral/tiny"]);
const device = createDevice("cpu");
interface Expected {
  ids: number[];
  logits: number[];
  greedy: number[];
}

async function measure(path: string, precision: "exact" | "fast", prompts: Expected[]): Promise<string> {
  const runner = await loadRunner(openModel(path), { device, contextLength: 160, kvTokens: 192, maxBatchTokens: 128, precision });
  let error = 0;
  let equal = 0;
  let total = 0;
  for (const p of prompts) {
    const { logits, greedy } = await evaluate(runner, p.ids, p.greedy.length);
    logits.forEach((v, i) => (error = Math.max(error, Math.abs(v - p.logits[i]))));
    const differs = greedy.findIndex((t, i) => t !== p.greedy[i]);
    equal += differs < 0 ? greedy.length : differs;
    total += greedy.length;
  }
  runner.close();
  return `${error.toExponential(1)} | ${equal}/${total}`;
}

console.log("| checkpoint | form | against | largest logit error | greedy tokens equal |\n| --- | --- | --- | --- | --- |");
for (const arch of readdirSync(ROOT)) {
  for (const variant of readdirSync(join(ROOT, arch))) {
    const folder = join(ROOT, arch, variant);
    if (!existsSync(join(folder, "reference.json"))) continue;
    const reference = (await Bun.file(join(folder, "reference.json")).json()) as {
      prompts: { ids: number[]; logits_last: number[]; greedy: { ids: number[] } }[];
    };
    const prompts = reference.prompts.map((p) => ({ ids: p.ids, logits: p.logits_last, greedy: p.greedy.ids }));
    const name = `${arch}/${variant}`;
    // Fixtures of other tests: architectures that do not run yet.
    if (!SUPPORTED.has(arch)) continue;
    if (existsSync(join(folder, "hf")))
      console.log(`| ${name} | folder, exact | transformers | ${await measure(join(folder, "hf"), "exact", prompts)} |`);
    const { files } = (await Bun.file(join(folder, "llama_cpp.json")).json()) as {
      files: Record<string, { prompts: { logits_last: number[]; greedy: number[] }[] }>;
    };
    for (const file of readdirSync(folder).filter((f) => f.endsWith(".gguf"))) {
      const type = file.replace(/^model-|\.gguf$/g, "");
      const path = join(folder, file);
      const theirs = files[`deq:${type}`];
      if (theirs) {
        const expected = prompts.map((p, i) => ({ ids: p.ids, logits: theirs.prompts[i].logits_last, greedy: theirs.prompts[i].greedy }));
        console.log(`| ${name} | ${type}, exact | llama.cpp, dequantised | ${await measure(path, "exact", expected)} |`);
        console.log(`| ${name} | ${type}, fast | llama.cpp, dequantised | ${await measure(path, "fast", expected)} |`);
        const own = files[type].prompts;
        let error = 0;
        own.forEach((p, i) => p.logits_last.forEach((v, j) => (error = Math.max(error, Math.abs(v - theirs.prompts[i].logits_last[j])))));
        console.log(`| ${name} | ${type}, llama.cpp's own | llama.cpp, dequantised | ${error.toExponential(1)} | |`);
      } else if (!GGUF_DIFFERS.has(name))
        console.log(`| ${name} | ${type} file, exact | transformers | ${await measure(path, "exact", prompts)} |`);
    }
  }
}
device.close();
