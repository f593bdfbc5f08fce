/**
 * How long the answers of one model stand still while another one is loaded and unloaded beside it.
 *
 *   bun bench/load-stall.ts [--shape qwen3-0.6b] [--mix q4_k_m] [--rounds 3] [--json]
 */
import { mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { createEngine } from "../src/engine/create.ts";
import { makeModel, SHAPES } from "./model-file.ts";

const { values } = parseArgs({
  options: {
    shape: { type: "string", default: "qwen3-0.6b" },
    mix: { type: "string", default: "q4_k_m" },
    rounds: { type: "string", default: "3" },
    json: { type: "boolean", default: false },
  },
});
const folder = join(tmpdir(), "alloy-bench");
mkdirSync(folder, { recursive: true });
const path = join(folder, `${values.shape}-${values.mix}.gguf`);
makeModel(path, SHAPES[values.shape], values.mix);

const engine = await createEngine({ models: ["demo", path], contextLength: 4096 });
const other = (await engine.loaded()).map((m) => m.name).find((name) => name !== "demo")!;
await engine.unload(other);

type Phase = "alone" | "loading" | "loaded" | "unloading";
const gaps: Record<Phase, number[]> = { alone: [], loading: [], loaded: [], unloading: [] };
let phase: Phase = "alone";
const stop = new AbortController();
const stream = (async () => {
  while (!stop.signal.aborted) {
    let last = 0;
    const run = engine.generate(
      {
        id: crypto.randomUUID(),
        model: "demo",
        prompt: { kind: "text", text: "Once upon a time" },
        sampling: { temperature: 0 },
        maxTokens: 3000,
        ignoreEos: true,
        // Every token is an event of its own, whatever its text.
        logprobs: 0,
      },
      stop.signal,
    );
    for await (const event of run) {
      if (event.type !== "delta") continue;
      const now = performance.now();
      if (last > 0) gaps[phase].push(now - last);
      last = now;
    }
  }
})();

const loads: number[] = [];
for (let i = 0; i < Number(values.rounds); i++) {
  phase = "alone";
  await Bun.sleep(1000);
  phase = "loading";
  const started = performance.now();
  await engine.load(other);
  loads.push(performance.now() - started);
  // The gap that the load's last piece made ends now.
  await Bun.sleep(20);
  phase = "loaded";
  await Bun.sleep(500);
  phase = "unloading";
  await engine.unload(other);
  await Bun.sleep(20);
}
stop.abort();
await stream;
await engine.close();

const rows = Object.entries(gaps).map(([name, list]) => {
  const sorted = list.toSorted((a, b) => b - a);
  return { phase: name, tokens: list.length, medianMs: sorted[sorted.length >> 1], worstMs: sorted.slice(0, 3).map((x) => Math.round(x)) };
});
const report = { model: `${values.shape} ${values.mix}`, loadMs: loads.map(Math.round), rows };
if (values.json) console.log(JSON.stringify(report));
else {
  console.log(`${report.model}, loaded in ${report.loadMs.join(", ")} ms`);
  console.table(rows.map((r) => ({ ...r, worstMs: r.worstMs.join(" ") })));
}
