/**
 * Many streaming clients against a real server with the demo model: bun bench/serve-load.ts [--clients 64] [--seconds 180] [--parallel 32]
 * [--seed 1] [--alloy dist/alloy] [--json].
 *
 * Clients speak all dialects, in conversations of up to three turns with prompts and lengths of their own. Answers are seeded, so each is
 * known beforehand from the idle server: one that differs under load has lost tokens or got somebody else's. The generator runs on the same
 * machine, and takes its share.
 */
import { parseArgs } from "node:util";
import { type Ask, DIALECTS, stream, type Turn } from "./serve/dialects.ts";
import { quantile, serve, usageOf } from "./serve/server.ts";

const { values } = parseArgs({
  options: {
    clients: { type: "string", default: "64" },
    seconds: { type: "string", default: "180" },
    parallel: { type: "string", default: "32" },
    conversations: { type: "string", default: "60" },
    seed: { type: "string", default: "1" },
    alloy: { type: "string" },
    json: { type: "boolean", default: false },
  },
});
const clients = Number(values.clients);
const seconds = Number(values.seconds);
const progress = (text: string) => process.stderr.write(`${text}\n`);

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
function randomFrom(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const random = randomFrom(Number(values.seed));
const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)];
const FIRST = ["Tell me about the sea", "What is the capital of France", "Write a poem on winter", "Explain rain", "List some animals"];
const NEXT = ["Go on.", "And why is that?", "Say it in other words."];
const FILLER = ["the sun", "a long road", "two rivers", "old stones", "the market", "a green hill"];

interface Conversation {
  dialect: string;
  asks: Omit<Ask, "turns">[];
  questions: string[];
  answers: { text: string; tokens: number }[];
}

/** Prompts of a few to some hundred tokens, answers of 4 to 160; every one has a mark of its own. */
const conversations: Conversation[] = Array.from({ length: Number(values.conversations) }, (_, i) => {
  const questions = Array.from({ length: 1 + Math.floor(random() * 3) }, (_, turn) => {
    const notes = Array.from({ length: Math.floor(random() ** 3 * 60) }, () => pick(FILLER)).join(", ");
    return turn === 0 ? `[case ${i}] ${pick(FIRST)}. ${notes}` : `[case ${i}] ${pick(NEXT)}`;
  });
  const asks = questions.map(() => ({
    maxTokens: 4 + Math.floor(random() ** 2 * 156),
    temperature: random() < 0.3 ? 0 : 1,
    seed: Math.floor(random() * 1e6),
  }));
  return { dialect: Object.keys(DIALECTS)[i % Object.keys(DIALECTS).length], asks, questions, answers: [] };
});

const turnsBefore = (c: Conversation, turn: number): Turn[] =>
  c.questions
    .slice(0, turn + 1)
    .flatMap((content, i): Turn[] => [
      ...(i > 0 ? [{ role: "assistant" as const, content: c.answers[i - 1].text }] : []),
      { role: "user", content },
    ]);

const server = await serve(["-m", "demo", "--parallel", values.parallel, "--queue", String(clients)], values.alloy?.split(" "));
const { url } = server;
for (const c of conversations) {
  for (const [turn, ask] of c.asks.entries()) {
    const { text, tokens, error, detail } = await stream(url, DIALECTS[c.dialect], { ...ask, turns: turnsBefore(c, turn) });
    if (error !== undefined) throw new Error(`the idle server failed: ${error} ${detail}`);
    c.answers.push({ text, tokens });
  }
}
const known = conversations.flatMap((c) => c.answers);
progress(`${known.length} answers known, ${new Set(known.map((a) => a.text)).size} of them different; ${clients} clients for ${seconds} s`);

const ttft: number[] = [];
const gaps: number[] = [];
const perClient = Array.from({ length: clients }, () => 0);
const errors = new Map<string, number>();
const samples: string[] = [];
let answers = 0;
let tokens = 0;
let open = true;

function fail(kind: string, sample: string): void {
  errors.set(kind, (errors.get(kind) ?? 0) + 1);
  if (samples.length < 10) samples.push(`${kind}: ${sample}`);
}

async function client(index: number): Promise<void> {
  while (open) {
    const c = pick(conversations);
    for (const [turn, ask] of c.asks.entries()) {
      if (!open) return;
      const got = await stream(url, DIALECTS[c.dialect], { ...ask, turns: turnsBefore(c, turn) }, () => open && tokens++);
      answers++;
      perClient[index]++;
      if (got.error !== undefined) {
        fail(got.error, `${c.dialect}: ${got.detail}`);
        continue;
      }
      const wanted = c.answers[turn];
      if (got.text !== wanted.text) {
        const other = known.some((k) => k.text === got.text || (got.text.length > 20 && k.text.startsWith(got.text)));
        fail(other ? "another's answer" : "wrong answer", `${c.dialect}: ${JSON.stringify(got.text)} for ${JSON.stringify(wanted.text)}`);
      } else if (got.tokens !== wanted.tokens) fail("wrong count", `${c.dialect}: ${got.tokens} for ${wanted.tokens}`);
      ttft.push(got.times[0]);
      for (let i = 1; i < got.times.length; i++) gaps.push(got.times[i] - got.times[i - 1]);
    }
  }
}

const before = usageOf(server.pid);
const own = process.cpuUsage();
const began = performance.now();
const ticker = setInterval(() => {
  const rss = (usageOf(server.pid).rss / 2 ** 20).toFixed(0);
  progress(
    `${((performance.now() - began) / 1000).toFixed(0)} s: ${answers} answers, ${tokens} pieces, ${rss} MiB, ${JSON.stringify(Object.fromEntries(errors))}`,
  );
}, 15_000);
const running = perClient.map((_, i) => client(i));
await Bun.sleep(seconds * 1000);
open = false;
const elapsed = (performance.now() - began) / 1000;
const middle = usageOf(server.pid);
const used = process.cpuUsage(own);
await Promise.all(running);
clearInterval(ticker);
// What the last requests held is given back.
await Bun.sleep(2000);
const after = usageOf(server.pid);
await server.stop();

const [first, gap, fair] = [ttft, gaps, perClient].map((list) => Float64Array.from(list.filter((x) => x !== undefined)).sort());
const ms = (sorted: Float64Array) => ({
  p50: Math.round(quantile(sorted, 0.5)),
  p99: Math.round(quantile(sorted, 0.99)),
  most: Math.round(quantile(sorted, 1)),
});
const share = (cpu: number) => Number((cpu / elapsed).toFixed(2));
const report = {
  clients,
  parallel: Number(values.parallel),
  seconds: Math.round(elapsed),
  answers,
  errors: Object.fromEntries(errors),
  piecesPerSecond: Math.round(tokens / elapsed),
  firstPieceMs: ms(first),
  gapMs: ms(gap),
  answersPerClient: { least: fair[0], median: quantile(fair, 0.5), most: fair.at(-1) },
  rssMiB: { before: Math.round(before.rss / 2 ** 20), loaded: Math.round(middle.rss / 2 ** 20), after: Math.round(after.rss / 2 ** 20) },
  cores: {
    http: share(middle.cpu - before.cpu),
    engine: share(middle.childCpu - before.childCpu),
    clients: share((used.user + used.system) / 1e6),
  },
  samples,
};
if (values.json) console.log(JSON.stringify(report));
else
  for (const [key, value] of Object.entries(report))
    console.log(`${key.padEnd(18)} ${typeof value === "number" ? value : JSON.stringify(value)}`);
process.exit(errors.size > 0 ? 1 : 0);
