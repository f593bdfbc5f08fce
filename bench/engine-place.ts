/**
 * What it costs to run the engine in a process of its own rather than in a worker: start, time between tokens, throughput, processor time.
 *
 *   bun bench/engine-place.ts [--model demo] [--rounds 5] [--tokens 300] [--json]
 *
 * Both are up at once and measured in turn, so that the machine's other work meets both alike.
 */
import { parseArgs } from "node:util";
import type { Engine } from "../src/engine/api.ts";
import { createEngine } from "../src/engine/create.ts";

const { values } = parseArgs({
  options: {
    model: { type: "string", default: "demo" },
    rounds: { type: "string", default: "5" },
    tokens: { type: "string", default: "300" },
    json: { type: "boolean", default: false },
  },
});
const tokens = Number(values.tokens);
const PLACES = ["worker", "process"] as const;

const median = (list: number[]): number => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];

/** Milliseconds between the pieces of one answer, as its reader sees them. */
async function gaps(engine: Engine): Promise<number[]> {
  const times: number[] = [];
  const run = engine.generate({
    id: crypto.randomUUID(),
    model: values.model,
    prompt: { kind: "text", text: "Once upon a time" },
    sampling: { temperature: 0 },
    maxTokens: tokens,
    ignoreEos: true,
    // Every token is an event of its own, whatever its text.
    logprobs: 0,
  });
  for await (const event of run) if (event.type === "delta") times.push(performance.now());
  return times.slice(1).map((t, i) => t - times[i]);
}

const results = new Map(PLACES.map((p) => [p, { start: [] as number[], one: [] as number[], eight: [] as number[] }]));
for (let round = 0; round < Number(values.rounds); round++) {
  const engines = new Map<string, Engine>();
  for (const place of round % 2 === 0 ? PLACES : PLACES.toReversed()) {
    const started = performance.now();
    engines.set(place, await createEngine({ place, models: [values.model] }));
    results.get(place)!.start.push(performance.now() - started);
  }
  for (let turn = 0; turn < 4; turn++) {
    for (const place of turn % 2 === 0 ? PLACES : PLACES.toReversed()) {
      const engine = engines.get(place)!;
      const r = results.get(place)!;
      r.one.push(...(await gaps(engine)));
      const started = performance.now();
      const all = await Promise.all(Array.from({ length: 8 }, () => gaps(engine)));
      r.eight.push((all.flat().length / (performance.now() - started)) * 1000);
    }
  }
  for (const engine of engines.values()) await engine.close();
}

const rows = PLACES.map((place) => {
  const { start, one, eight } = results.get(place)!;
  const sorted = one.toSorted((a, b) => a - b);
  return {
    place,
    startMs: median(start),
    tokenMs: median(one),
    tokenP99Ms: sorted[Math.floor(sorted.length * 0.99)],
    meanMs: one.reduce((a, b) => a + b) / one.length,
    eightTokensPerSecond: median(eight),
  };
});
if (values.json) console.log(JSON.stringify(rows));
else console.table(rows);
