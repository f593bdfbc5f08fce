/**
 * What grammars cost: `bun bench/grammar.ts [MODEL]`, with MODEL a GGUF file whose vocabulary is taken (default: the demo model's; a file with
 * nothing but a vocabulary will do). Prints for some grammars the processor time to compile, and per token of a sentence the time of its mask; then,
 * on the demo model, the steps that an answer takes with and without forced tokens.
 */
import type { Constraint, GenerateRequest, ModelWork, Prompt } from "../src/engine/api.ts";
import { createEngine } from "../src/engine/create.ts";
import { buildGrammar } from "../src/engine/grammar/build.ts";
import { vocabularyOf } from "../src/engine/grammar/vocabulary.ts";
import { GrammarCompiler, memoryBytes } from "../src/engine/grammar/xgrammar.ts";
import { openModel } from "../src/formats/open.ts";
import { loadTokenizer } from "../src/tokenizer/load.ts";

const DEMO = new URL("../assets/alloy-demo-q8_0.gguf", import.meta.url).pathname;
const file = openModel(process.argv[2] ?? DEMO);
const tokenizer = loadTokenizer(file);
const compiler = new GrammarCompiler(vocabularyOf(tokenizer, tokenizer.vocabSize, ""));
// Processor time, so that a busy machine shows the same.
const cpu = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};
let start = cpu();
await compiler.prepare();
const ms = (): string => `${(cpu() - start).toFixed(0)} ms`;
console.log(`vocabulary of ${tokenizer.vocabSize} tokens: ${ms()}, ${(memoryBytes() / 2 ** 20).toFixed(0)} MiB`);

const text = { type: "string" };
const person = {
  type: "object",
  properties: {
    first_name: text,
    last_name: text,
    age: { type: "integer", minimum: 0, maximum: 150 },
    email: { type: "string", format: "email" },
    tags: { type: "array", items: text, maxItems: 10 },
    address: {
      type: "object",
      properties: { street: text, city: text, postal_code: { type: "string", pattern: "^\\d{5}$" }, country: { enum: ["NO", "IT", "FR"] } },
      required: ["street", "city", "country"],
      additionalProperties: false,
    },
  },
  required: ["first_name", "last_name", "age", "address"],
  additionalProperties: false,
};
const sentence =
  '{"first_name": "Ann", "last_name": "Lee", "age": 42, "tags": ["new", "old"], "address": {"street": "Main Street 1", "city": "Oslo", "country": "NO"}}';
const schema = (s: unknown): Constraint => ({ kind: "schema", schema: s, strict: true, param: "" });
const many = (n: number, property: unknown): unknown => ({
  type: "object",
  properties: Object.fromEntries(Array.from({ length: n }, (_, i) => [`field_${i}`, property])),
  required: Array.from({ length: n }, (_, i) => `field_${i}`),
  additionalProperties: false,
});
const cases: [name: string, constraint: Constraint, sentence?: string][] = [
  ["any JSON object", { kind: "json", param: "" }, sentence],
  ["a person with an address", schema(person), sentence],
  ["50 strings", schema(many(50, text))],
  ["50 strings of up to 60 characters", schema(many(50, { ...text, maxLength: 60 }))],
  ["a string of up to 200 characters", schema({ ...text, maxLength: 200 })],
  ["a string of up to 1000 characters", schema({ ...text, maxLength: 1000 })],
  ["1000 choices", { kind: "choice", options: Array.from({ length: 1000 }, (_, i) => `choice ${i * 7919}`), param: "" }],
];
for (const [name, constraint, example] of cases) {
  const ebnf = buildGrammar({ constraint })!;
  start = cpu();
  const matcher = await compiler.matcher(ebnf);
  let line = `${name}: ${ms()}`;
  if (example !== undefined) {
    const times: number[] = [];
    for (const id of tokenizer.encode(example, { addSpecial: false })) {
      const began = performance.now();
      await matcher.mask();
      matcher.forced();
      matcher.accept(id);
      times.push((performance.now() - began) * 1000);
    }
    times.sort((a, b) => a - b);
    line += `; masks of ${times.length} tokens: median ${times[times.length >> 1].toFixed(0)} µs, longest ${times.at(-1)!.toFixed(0)} µs`;
  }
  console.log(line);
  matcher.free();
}
compiler.free();
file.close();

if (process.argv[2] === undefined) {
  // Short strings, because a small model does not always find the end of one.
  const short = JSON.parse(JSON.stringify(person).replaceAll('{"type":"string"}', '{"type":"string","maxLength":16}')) as Record<
    string,
    unknown
  >;
  const engine = await createEngine({ models: ["demo"], grammarTimeout: 60_000 });
  const work = async (): Promise<ModelWork> => (await engine.loaded())[0].work;
  const messages = [{ role: "user" as const, content: "Describe a person." }];
  const ask = async (
    name: string,
    over: Partial<GenerateRequest>,
    chat: Partial<Extract<Prompt, { kind: "chat" }>> = {},
  ): Promise<void> => {
    for (const logprobs of [undefined, 0]) {
      const prompt = { kind: "chat" as const, messages, thinking: "off" as const, ...chat };
      const request = { id: "bench", model: "demo", prompt, sampling: { temperature: 0 }, maxTokens: 400, logprobs, ...over };
      // The first time compiles.
      for await (const _ of engine.generate(request));
      const before = await work();
      let tokens = 0;
      const began = performance.now();
      for await (const event of engine.generate(request)) if (event.type === "end") tokens = event.usage.completionTokens;
      const took = performance.now() - began;
      const after = await work();
      const [steps, forced] = [after.steps - before.steps, after.forced - before.forced];
      console.log(
        `demo model, ${name}${logprobs === 0 ? ", every token drawn" : ""}: ${tokens} tokens in ${steps} steps, ${forced} forced, ${took.toFixed(0)} ms`,
      );
    }
  };
  await ask("a person with an address", { constraint: schema(short) });
  await ask(
    "the same as a required call",
    {},
    { tools: [{ name: "describe_person", parameters: short }], toolChoice: "required", singleCall: true },
  );
  await engine.close();
}
