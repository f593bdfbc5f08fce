/** The golden checkpoints' reference numbers, as all their tests read them. */
import { readdirSync } from "node:fs";
import { join } from "node:path";

export const ROOT = join(import.meta.dir, "../fixtures/golden");

/** Checkpoints with a folder and a GGUF file. */
export const GOLDEN = [
  "llama/tiny",
  "qwen2/tiny",
  "qwen3/tiny",
  "mistral/tiny",
  "phi3/tiny",
  "phi3/longrope",
  "smollm3/tiny",
  "granite/tiny",
  "gpt2/tiny",
] as const;

export interface Reference {
  ids: number[];
  /** Of the last position. */
  logits: number[];
  greedy: number[];
  /** Best minus second logit at every greedy step. */
  margins: number[];
}

const json = async <T>(...path: string[]): Promise<T> => (await Bun.file(join(ROOT, ...path)).json()) as T;

/** What transformers computes in float32. */
export async function reference(name: string): Promise<Reference[]> {
  interface Prompt {
    ids: number[];
    logits_last: number[];
    greedy: { ids: number[]; margins: number[] };
  }
  const { prompts } = await json<{ prompts: Prompt[] }>(name, "reference.json");
  return prompts.map((p) => ({ ids: p.ids, logits: p.logits_last, greedy: p.greedy.ids, margins: p.greedy.margins }));
}

/** What llama.cpp computes in float32 from a quantised file of qwen3/kq, dequantised. */
export async function dequantised(type: string): Promise<Reference[]> {
  interface Prompt {
    logits_last: number[];
    greedy: number[];
    margins: number[];
  }
  const { files } = await json<{ files: Record<string, { prompts: Prompt[] }> }>("qwen3/kq/llama_cpp.json");
  const { prompts } = files[`deq:${type}`];
  return (await reference("qwen3/kq")).map(({ ids }, i) => {
    const { logits_last: logits, greedy, margins } = prompts[i];
    return { ids, logits, greedy, margins };
  });
}

/** Path of a checkpoint's GGUF file. */
export function ggufOf(name: string): string {
  return join(
    ROOT,
    name,
    readdirSync(join(ROOT, name)).find((f) => f.endsWith(".gguf"))!,
  );
}

export const maxError = (a: Float32Array, b: readonly number[]): number =>
  a.reduce((worst, v, i) => Math.max(worst, Math.abs(v - b[i])), 0);
