/**
 * Speed of a tokenizer: `bun bench/tokenizer.ts MODEL [FILE...]`, with MODEL a GGUF file or a Hugging Face folder.
 * Without files it takes this repository's own text. Prints tokens per second, first pass and best of five.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { openModel } from "../src/formats/open.ts";
import { loadTokenizer } from "../src/tokenizer/load.ts";

const [model, ...files] = process.argv.slice(2);
if (!model) {
  console.error("usage: bun bench/tokenizer.ts MODEL [FILE...]");
  process.exit(2);
}

function* sources(dir: string): Generator<string> {
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) yield* sources(path);
    else if (/\.(ts|md)$/.test(entry.name)) yield path;
  }
}

const MIN_CHARS = 1 << 21;
const chinese = "这是一个用来测试分词器速度的句子，包含常见的汉字和标点符号。";
const samples: [name: string, text: string][] =
  files.length > 0
    ? files.map((f) => [f, readFileSync(f, "utf8")])
    : [
        ["source code", Array.from(sources(join(import.meta.dir, "../src")), (f) => readFileSync(f, "utf8")).join("\n")],
        ["Chinese", Array.from({ length: 1 << 17 }, (_, i) => chinese[(Math.imul(i, 0x9e3779b1) >>> 12) % chinese.length]).join("")],
      ];

const file = openModel(model);
let start = performance.now();
const tokenizer = loadTokenizer(file);
console.log(`load: ${(performance.now() - start).toFixed(0)} ms, ${tokenizer.vocabSize} tokens (${tokenizer.kind})`);
for (const [name, sample] of samples) {
  const text = sample.repeat(Math.max(1, Math.ceil(MIN_CHARS / sample.length)));
  const times: number[] = [];
  let count = 0;
  for (let i = 0; i < 6; i++) {
    start = performance.now();
    count = tokenizer.encode(text).length;
    times.push(performance.now() - start);
  }
  const rate = (ms: number) => (count / ms / 1000).toFixed(2);
  console.log(`${name}: ${count} tokens, first ${rate(times[0])}, best ${rate(Math.min(...times))} million tokens/s`);
}
file.close();
