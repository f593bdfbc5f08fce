/**
 * What long prompts cost those who are being answered: bun bench/serve-gap.ts [--streams 8] [--prompts 2] [--tokens 3000] [--model demo] [--gaps 20,100,10000]
 * Several streams decode through the HTTP server, and then long prompts arrive. Prints the gaps between two pieces of a stream without and
 * with them, and the prompts' time to first token, for each of the targets.
 */
import { parseArgs } from "node:util";
import { createEngine } from "../src/engine/create.ts";
import { createServer } from "../src/server/app.ts";

const { values } = parseArgs({
  options: {
    streams: { type: "string", default: "8" },
    prompts: { type: "string", default: "2" },
    tokens: { type: "string", default: "3000" },
    model: { type: "string", default: "demo" },
    gaps: { type: "string", default: "20,100,10000" },
    json: { type: "boolean", default: false },
  },
});
const [streams, prompts, tokens] = [values.streams, values.prompts, values.tokens].map(Number);
const QUIET_MS = 2000;

interface Row {
  maxGap: number;
  quiet: Summary;
  loaded: Summary;
  firstTokenMs: number[];
}
interface Summary {
  gaps: number;
  p50: number;
  p99: number;
  max: number;
}

const summary = (gaps: number[]): Summary => {
  const s = gaps.toSorted((a, b) => a - b);
  const at = (p: number): number => Math.round(10 * (s[Math.min(s.length - 1, Math.floor(p * s.length))] ?? NaN)) / 10;
  return { gaps: s.length, p50: at(0.5), p99: at(0.99), max: at(1) };
};

/** Times of the pieces of a streamed completion, told as they come. */
async function stream(url: string, prompt: number[], maxTokens: number, onPiece: () => void, signal?: AbortSignal): Promise<void> {
  const body = { model: values.model, prompt, max_tokens: maxTokens, stream: true, ignore_eos: true, temperature: 0.8 };
  const response = await fetch(`${url}/v1/completions`, { method: "POST", body: JSON.stringify(body), signal });
  if (!response.ok) throw new Error(await response.text());
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of response.body!) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop()!;
    for (const line of lines) if (line.startsWith("data: {") && line.includes('"text"')) onPiece();
  }
}

const ids = (n: number, from: number): number[] => Array.from({ length: n }, (_, i) => 100 + ((i * 7919 + from * 104729) % 1000));

async function measure(maxGap: number): Promise<Row> {
  const engine = await createEngine({ models: [values.model], parallel: streams + prompts, contextLength: 4096, maxGap });
  const server = await createServer({ engine, host: "127.0.0.1", port: 0, env: {} });
  try {
    // Plans for all sizes of steps are made, and step times known, before anything counts.
    await stream(server.url, ids(600, 99), 8, () => {});
    const gaps: { at: number; ms: number }[] = [];
    const begun = Array.from({ length: streams }, () => Promise.withResolvers<void>());
    const over = new AbortController();
    const running = begun.map((started, i) => {
      let last: number | undefined;
      const piece = (): void => {
        const now = performance.now();
        if (last !== undefined) gaps.push({ at: now, ms: now - last });
        last = now;
        started.resolve();
      };
      return stream(server.url, ids(20, i), 4000, piece, over.signal).catch((e) => {
        if (!over.signal.aborted) throw e;
      });
    });
    await Promise.all(begun.map((b) => b.promise));
    const quietFrom = performance.now();
    await Bun.sleep(QUIET_MS);
    const arrived = performance.now();
    const firstTokenMs = await Promise.all(
      Array.from({ length: prompts }, async (_, i) => {
        let first: number | undefined;
        await stream(server.url, ids(tokens, 1000 + i), 1, () => (first ??= Math.round(performance.now() - arrived)));
        return first!;
      }),
    );
    const done = performance.now();
    over.abort();
    await Promise.all(running);
    const between = (a: number, b: number): Summary => summary(gaps.filter((g) => g.at > a && g.at <= b).map((g) => g.ms));
    return { maxGap, quiet: between(quietFrom, arrived), loaded: between(arrived, done), firstTokenMs };
  } finally {
    await server.stop(0);
    await engine.close();
  }
}

const rows: Row[] = [];
for (const gap of values.gaps.split(",").map(Number)) rows.push(await measure(gap));
if (values.json) console.log(JSON.stringify(rows));
else {
  console.log(`${streams} streams, then ${prompts} prompts of ${tokens} tokens, ${values.model}\n`);
  console.log("| `--max-gap` | gaps alone: p50, p99, max ms | beside the prompts: p50, p99, max ms | prompts' first token ms |");
  console.log("| --- | --- | --- | --- |");
  const cells = ({ p50, p99, max }: Summary): string => [p50, p99, max].map((n) => n.toFixed(1)).join(", ");
  for (const r of rows) console.log(`| ${r.maxGap} | ${cells(r.quiet)} | ${cells(r.loaded)} | ${r.firstTokenMs.join(", ")} |`);
}
