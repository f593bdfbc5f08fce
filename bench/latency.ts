/**
 * What a person waits for: bun bench/latency.ts [ALLOY], by default dist/alloy.
 * Time from process start to the whole answer of `alloy run`, and to the first token of a warm `alloy serve`, on the demo model.
 */
import { join } from "node:path";

const alloy = (process.argv[2] ?? join(import.meta.dir, "../dist/alloy")).split(" ");
const QUESTION = "What is the capital of France?";
const summary = (v: number[]): string => {
  const s = v.toSorted((a, b) => a - b);
  return `median ${s[s.length >> 1].toFixed(0)} ms, ${s[0].toFixed(0)} to ${s.at(-1)!.toFixed(0)} ms, ${s.length} runs`;
};

const runs: number[] = [];
for (let i = 0; i < 8; i++) {
  const start = performance.now();
  const p = Bun.spawnSync([...alloy, "run", QUESTION]);
  if (p.exitCode !== 0 || !p.stdout.toString().includes("Paris")) throw new Error(`run failed: ${p.stderr}${p.stdout}`);
  runs.push(performance.now() - start);
}
console.log(`alloy run, start to exit: ${summary(runs)}`);

const started = performance.now();
const server = Bun.spawn([...alloy, "serve", "--port", "0", "-m", "demo", "--json"], { stdout: "pipe", stderr: "inherit" });
const reader = server.stdout.getReader();
let text = "";
while (!text.includes("}")) text += new TextDecoder().decode((await reader.read()).value);
const { url } = JSON.parse(text) as { url: string };
console.log(`alloy serve, start to listening with the model loaded: ${(performance.now() - started).toFixed(0)} ms`);
const first: number[] = [];
for (let i = 0; i < 20; i++) {
  const start = performance.now();
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    body: JSON.stringify({ model: "demo", stream: true, max_tokens: 16, messages: [{ role: "user", content: `${QUESTION} (${i})` }] }),
  });
  const body = response.body!.getReader();
  let seen = "";
  while (!/"content":"[^"]/.test(seen)) {
    const { value, done } = await body.read();
    if (done) throw new Error(`no token came: ${seen}`);
    seen += new TextDecoder().decode(value);
  }
  first.push(performance.now() - start);
  await body.cancel();
}
console.log(`first request of the server: ${first[0].toFixed(0)} ms to the first token`);
console.log(`warm server, request to first token: ${summary(first.slice(1))}`);
server.kill();
await server.exited;
