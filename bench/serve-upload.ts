/**
 * What a large upload costs those who stream meanwhile: bun bench/serve-upload.ts [--gib 3] [--clients 8] [--alloy dist/alloy] [--json].
 * Gaps between pieces of answers without and with an upload to /api/blobs, the time it takes, and the server's memory.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { DIALECTS, stream } from "./serve/dialects.ts";
import { quantile, serve, usageOf } from "./serve/server.ts";

const { values } = parseArgs({
  options: {
    gib: { type: "string", default: "3" },
    clients: { type: "string", default: "8" },
    alloy: { type: "string" },
    json: { type: "boolean", default: false },
  },
});
const store = mkdtempSync(join(tmpdir(), "alloy-upload-"));
const env = { ...process.env, ALLOY_MODELS: store };
const server = await serve(["-m", "demo", "--parallel", values.clients], values.alloy?.split(" "), env);
const pieces = Math.round(Number(values.gib) * 64);
const piece = new Uint8Array(16 * 2 ** 20).map((_, i) => i * 31);

const hasher = new Bun.CryptoHasher("sha256");
for (let i = 0; i < pieces; i++) hasher.update(piece);
const digest = hasher.digest("hex");

let open = true;
let gaps: number[] = [];
async function client(i: number): Promise<void> {
  const ask = { turns: [{ role: "user" as const, content: `Tell me about the sea. (${i})` }], maxTokens: 160, temperature: 1 };
  for (let seed = 1; open; seed++) {
    const { times, error, detail } = await stream(server.url, DIALECTS.chat, { ...ask, seed });
    if (error) throw new Error(`${error}: ${detail}`);
    for (let j = 1; j < times.length; j++) gaps.push(times[j] - times[j - 1]);
  }
}

function summary() {
  const sorted = gaps.toSorted((a, b) => a - b);
  gaps = [];
  return Object.fromEntries([0.5, 0.99, 1].map((p) => [p === 1 ? "most" : `p${p * 100}`, Math.round(quantile(sorted, p))]));
}

const clients = Array.from({ length: Number(values.clients) }, (_, i) => client(i));
await Bun.sleep(5000);
gaps = [];
await Bun.sleep(15_000);
const without = summary();

gaps = [];
const before = usageOf(server.pid).rss;
let most = before;
const watch = setInterval(() => (most = Math.max(most, usageOf(server.pid).rss)), 100);
const began = performance.now();
// By a program of its own, so that this one still hears the streams in time.
const sender = Bun.spawn(
  [
    process.execPath,
    "-e",
    `const piece = new Uint8Array(16 * 2 ** 20).map((_, i) => i * 31);
    const body = new ReadableStream({ async pull(c) { if (this.n === ${pieces}) return c.close(); this.n = (this.n ?? 0) + 1; c.enqueue(piece); } }, { highWaterMark: 0 });
    const r = await fetch("${server.url}/api/blobs/sha256:${digest}", { method: "POST", body });
    console.log(r.status, await r.text());`,
  ],
  { stdout: "pipe", stderr: "inherit" },
);
const said = (await new Response(sender.stdout).text()).trim();
const seconds = (performance.now() - began) / 1000;
clearInterval(watch);
const during = summary();
open = false;
await Promise.all(clients);
await server.stop();
rmSync(store, { recursive: true, force: true });

const report = {
  status: said,
  gib: Number(values.gib),
  seconds: Math.round(seconds),
  gapMsWithout: without,
  gapMsDuring: during,
  rssMiB: { before: Math.round(before / 2 ** 20), most: Math.round(most / 2 ** 20) },
};
if (values.json) console.log(JSON.stringify(report));
else for (const [key, value] of Object.entries(report)) console.log(`${key.padEnd(14)} ${JSON.stringify(value)}`);
