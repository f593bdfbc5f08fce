/**
 * Perplexity of the demo model on bench/perplexity.txt with its weights in every type: computed exactly (from the rounded
 * weights in float32), as Alloy computes and as llama.cpp does.
 *
 *   npm install --ignore-scripts --prefix bench/peers
 *   bun bench/perplexity.ts
 *
 * Weights come from the demo's own file or --model, dequantised, and are rounded by src/formats/quant. Markdown on standard output.
 */
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type GgufValue, ggufNumber, writeGguf } from "../src/formats/gguf-write.ts";
import { openModel } from "../src/formats/open.ts";
import { dequantize, quantize } from "../src/formats/quant/table.ts";
import { readTensor } from "../src/formats/read.ts";
import type { ModelFile, TensorType } from "../src/formats/weights.ts";
import { loadRunner } from "../src/models/runner.ts";
import { createDevice } from "../src/runtime/index.ts";
import { loadTokenizer } from "../src/tokenizer/load.ts";

const { values } = parseArgs({
  options: {
    model: { type: "string", default: join(import.meta.dir, "../assets/alloy-demo-q8_0.gguf") },
    text: { type: "string", default: join(import.meta.dir, "perplexity.txt") },
    types: { type: "string", default: "f32,f16,bf16,q8_0,q6_k,q5_k,q5_1,q5_0,q4_k,q4_1,q4_0,iq4_nl,iq4_xs,mxfp4,q3_k,q2_k" },
    folder: { type: "string", default: join(tmpdir(), "alloy-perplexity") },
    node: { type: "string", default: "node" },
  },
});

/** The model with all matrices in `type`, or rounded to it and stored as float32; norms stay float32. Kept in --folder. */
function convert(from: ModelFile, type: TensorType, rounded = false): string {
  const path = join(values.folder, `${type}${rounded ? "-rounded" : ""}.gguf`);
  if (existsSync(path)) return path;
  const metadata: Record<string, GgufValue> = {};
  for (const [key, value] of from.metadata)
    metadata[key] = key.endsWith("rope.freq_base") ? ggufNumber("f32", Number(value)) : (value as GgufValue);
  const tensors = [...from.tensors.values()].map((t) => {
    const as = t.shape.length > 1 ? type : "f32";
    const data = (): Uint8Array => {
      const values = readTensor(t);
      const stored = quantize(as, values);
      return rounded ? quantize("f32", dequantize(as, stored, values.length)) : stored;
    };
    return { name: t.name, type: rounded ? ("f32" as const) : as, shape: t.shape, data };
  });
  writeGguf(path, { metadata, tensors });
  return path;
}

/** A conversation at once, which takes the ways of a prompt, or token by token, as in decoding. */
type Way = "whole" | "one";

/** A conversation's tokens, and the index of the first one that the answer consists of. */
interface Talk {
  ids: number[];
  from: number;
}

/** Natural logarithms of the probabilities of every answer's tokens. */
async function logProbabilities(path: string, talks: readonly Talk[], precision: "exact" | "fast", way: Way): Promise<number[]> {
  const contextLength = Math.max(...talks.map((t) => t.ids.length));
  const runner = await loadRunner(openModel(path), { device, contextLength, kvTokens: contextLength + 64, precision });
  const blocks = Int32Array.from({ length: Math.ceil(contextLength / runner.blockTokens) }, (_, i) => i);
  const out: number[] = [];
  for (const { ids, from } of talks) {
    const step = async (start: number, end: number): Promise<void> => {
      const tokens = Int32Array.from(ids.slice(start, end));
      const result = await runner.step([{ tokens, start, blocks, outputs: "all", sampling: null }]);
      for (let i = Math.max(start + 1, from); i <= end; i++)
        out.push(result.logits(i - start - 1)[ids[i]] - result.logSumExp[i - start - 1]);
    };
    if (way === "whole") await step(0, ids.length - 1);
    else for (let i = 0; i < ids.length - 1; i++) await step(i, i + 1);
  }
  runner.close();
  return out;
}

function llamaCpp(path: string, talks: readonly Talk[]): number[] | undefined {
  const script = join(import.meta.dir, "llama-perplexity.mjs");
  const p = Bun.spawnSync([...values.node.split(" "), script, path, JSON.stringify(talks)], { stderr: "pipe" });
  if (p.exitCode === 0) return JSON.parse(p.stdout.toString()) as number[];
  process.stderr.write(`llama.cpp: ${p.stderr.toString().slice(-500)}\n`);
  return undefined;
}

const mean = (v: readonly number[]): number => v.reduce((a, b) => a + b, 0) / v.length;
const perplexity = (logs: readonly number[]): string => Math.exp(-mean(logs)).toFixed(4);
/** Perplexity, and by how much the logarithms of single probabilities differ from the exact ones on average. */
const beside = (logs: readonly number[] | undefined, exact: readonly number[]): string =>
  logs ? `${perplexity(logs)} | ${mean(logs.map((v, i) => Math.abs(v - exact[i]))).toFixed(4)}` : "| ";

mkdirSync(values.folder, { recursive: true });
const device = createDevice("cpu");
const source = openModel(values.model);
const tokenizer = loadTokenizer(source);
// Answers alone count: what users say was never learnt.
const OPENING = "</think>\n\n";
const talks = readFileSync(values.text, "utf8")
  .split(/(?=<\|im_start\|>user)/)
  .map((text): Talk => {
    const [before, answer] = text.trimEnd().split(OPENING);
    const head = tokenizer.encode(before + OPENING);
    return { ids: [...head, ...tokenizer.encode(answer)], from: head.length };
  });
console.log(`${talks.length} answers, ${talks.reduce((n, t) => n + t.ids.length - t.from, 0)} tokens\n`);
console.log("| type | exact | Alloy, token by token | differs by | Alloy, as a prompt | differs by | llama.cpp | differs by |");
console.log(`|${" --- |".repeat(8)}`);
for (const type of values.types.split(",") as TensorType[]) {
  const path = convert(source, type);
  const exact = await logProbabilities(convert(source, type, true), talks, "exact", "whole");
  const [one, whole] = [await logProbabilities(path, talks, "fast", "one"), await logProbabilities(path, talks, "fast", "whole")];
  const theirs = llamaCpp(path, talks);
  console.log(`| ${type} | ${perplexity(exact)} | ${[one, whole, theirs].map((logs) => beside(logs, exact)).join(" | ")} |`);
}
source.close();
device.close();
