/**
 * What faults cost a running server, on the demo model: its engine is killed with requests queued, clients leave at random moments, models
 * are loaded and unloaded. Prints what was lost, how long it took to recover, and whether anything stayed behind.
 *
 *   bun bench/serve-faults.ts [--kills 50] [--disconnects 1000] [--cycles 100] [--seed N] [--json] [--alloy dist/alloy]
 */
import { join } from "node:path";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    alloy: { type: "string", default: join(import.meta.dir, "../dist/alloy") },
    kills: { type: "string", default: "50" },
    disconnects: { type: "string", default: "1000" },
    cycles: { type: "string", default: "100" },
    seed: { type: "string", default: String(Math.floor(Math.random() * 2 ** 31)) },
    json: { type: "boolean", default: false },
  },
});
const PARALLEL = 2;
/** Requests that wait at each kill. */
const QUEUED = 12;

let state = Number(values.seed) >>> 0;
function random(n: number): number {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * n);
}

const percentile = (list: number[], p: number): number =>
  list.toSorted((a, b) => a - b)[Math.min(list.length - 1, Math.floor(list.length * p))];
const inMs = (list: number[]): object => ({
  p50: Math.round(percentile(list, 0.5)),
  p95: Math.round(percentile(list, 0.95)),
  max: Math.round(percentile(list, 1)),
});

const server = Bun.spawn([...values.alloy.split(" "), "serve", "--port", "0", "--json", "-m", "demo", "--parallel", String(PARALLEL)], {
  stdout: "pipe",
  stderr: "ignore",
});
const { url } = await announced(server.stdout);

async function announced(stream: ReadableStream<Uint8Array>): Promise<{ url: string }> {
  let text = "";
  for await (const chunk of stream) {
    text += new TextDecoder().decode(chunk);
    if (text.includes("\n")) return JSON.parse(text) as { url: string };
  }
  throw new Error(`the server did not start: ${text}`);
}

const chat = (body: object, signal?: AbortSignal): Promise<Response> =>
  fetch(`${url}/v1/chat/completions`, { method: "POST", body: JSON.stringify({ model: "demo", temperature: 0, ...body }), signal });
const endless = (text: string) => ({ messages: [{ role: "user", content: text }], stream: true, ignore_eos: true, max_tokens: 3500 });
const short = (text: string) => ({ messages: [{ role: "user", content: text }], max_tokens: 8 });

/** Waits for the first text of a stream; what comes of it after that. */
async function begun(response: Response): Promise<{ rest: Promise<string> }> {
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let seen = "";
  while (!/"content":"[^"]/.test(seen)) {
    const { value, done } = await reader.read();
    if (done) return { rest: Promise.resolve(seen) };
    seen += value;
  }
  const rest = (async () => {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return seen;
      seen += value;
    }
  })();
  rest.catch(() => {});
  return { rest };
}

async function enginePid(): Promise<number> {
  for (;;) {
    const text = await Bun.$`pgrep -P ${server.pid}`.nothrow().text();
    const pid = Number(text.trim().split("\n")[0]);
    if (pid > 0) return pid;
    await Bun.sleep(2);
  }
}

async function memoryOf(pid: number): Promise<number> {
  const status = await Bun.file(`/proc/${pid}/status`).text();
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)![1]) / 1024);
}

/** What the engine itself says that it holds. */
async function held(): Promise<{ running: number; waiting: number; blocks: number }> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const sum = (name: string) =>
    [...text.matchAll(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\d+)`, "gm"))].reduce((n, m) => n + Number(m[1]), 0);
  const blocks = Number(/^alloy_kv_cache_blocks\{[^}]*state="(?:used|running)"[^}]*\} (\d+)/m.exec(text)?.[1] ?? 0);
  return { running: sum("alloy_requests_running"), waiting: sum("alloy_requests_waiting"), blocks };
}

async function until(condition: () => Promise<boolean>, what: string): Promise<number> {
  const from = performance.now();
  while (!(await condition())) {
    if (performance.now() - from > 60_000) throw new Error(`not within a minute: ${what}`);
    await Bun.sleep(1);
  }
  return performance.now() - from;
}

async function kills(count: number): Promise<object> {
  const before = await memoryOf(server.pid);
  const up: number[] = [];
  const answered: number[] = [];
  const outcome = { streamsFailed: 0, streamsKept: 0, queuedAnswered: 0, queuedLost: 0 };
  for (let i = 0; i < count; i++) {
    const streams = Array.from({ length: PARALLEL }, async (_, j) => {
      return begun(await chat(endless(`${i} ${j}`)));
    });
    const running = await Promise.all(streams);
    // Now both places are taken, and these wait.
    let killed = 0;
    const waiting = Array.from({ length: QUEUED }, async (_, j) => {
      const response = await chat(short(`What is ${i} + ${j}?`));
      const body = await response.text();
      if (response.status === 200) answered.push(performance.now() - killed);
      return response.status === 200 && body.includes('"finish_reason"');
    });
    await Bun.sleep(random(50));
    const restarts = await deaths();
    process.kill(await enginePid(), "SIGKILL");
    killed = performance.now();
    await until(async () => (await deaths()) > restarts && (await fetch(`${url}/health`)).status === 200, "the engine is up again");
    up.push(performance.now() - killed);
    for (const ok of await Promise.all(waiting)) outcome[ok ? "queuedAnswered" : "queuedLost"]++;
    for (const { rest } of running) {
      const text = await rest.catch(() => "");
      outcome[text.includes("engine_died") ? "streamsFailed" : "streamsKept"]++;
    }
  }
  return {
    kills: count,
    ...outcome,
    upAgainMs: inMs(up),
    queuedAnsweredAfterMs: inMs(answered),
    serverMiB: { before, after: await memoryOf(server.pid) },
  };
}

async function deaths(): Promise<number> {
  const body = (await (await fetch(`${url}/health`)).json()) as { engine?: { restarts: number } };
  return body.engine?.restarts ?? 0;
}

async function disconnects(count: number): Promise<object> {
  const engine = await enginePid();
  const memory = async () => ({ server: await memoryOf(server.pid), engine: await memoryOf(engine) });
  const leave = async (phase: "queue" | "prefill" | "stream"): Promise<number> => {
    const stop = new AbortController();
    const others: AbortController[] = [];
    if (phase === "queue") {
      for (let j = 0; j < PARALLEL; j++) {
        others.push(new AbortController());
        await begun(await chat(endless(`busy ${j}`), others[j].signal));
      }
    }
    const before = await held();
    const text = `${random(1e9)} ${"and then some more of it, ".repeat(phase === "prefill" ? 100 + random(200) : 1)}`;
    const sent = chat(endless(text), stop.signal).then(async (r) => (phase === "stream" ? begun(r) : undefined));
    sent.catch(() => {});
    if (phase === "stream") await sent;
    else
      await until(
        async () => (await held())[phase === "queue" ? "waiting" : "running"] > before[phase === "queue" ? "waiting" : "running"],
        phase,
      );
    if (phase !== "queue") await Bun.sleep(random(10));
    stop.abort();
    const ms = await until(async () => {
      const now = await held();
      return now.running <= before.running && now.waiting <= before.waiting;
    }, "the place is free");
    for (const other of others) other.abort();
    if (others.length > 0) await until(async () => (await held()).running === 0, "all is idle");
    return ms;
  };
  const phases = ["queue", "prefill", "stream"] as const;
  const times: Record<(typeof phases)[number], number[]> = { queue: [], prefill: [], stream: [] };
  for (let i = 0; i < 30; i++) await leave(phases[i % 3]);
  const before = await memory();
  let half = before;
  for (let i = 0; i < count; i++) {
    // By then the cache's pages have all been written once.
    if (i === count >> 1) half = await memory();
    const phase = phases[random(3)];
    times[phase].push(await leave(phase));
  }
  const all = Object.values(times).flat();
  return {
    disconnects: count,
    freeAfterMs: Object.fromEntries(phases.filter((p) => times[p].length > 0).map((p) => [p, inMs(times[p])])),
    over200Ms: all.filter((t) => t > 200).length,
    heldAtTheEnd: await held(),
    MiB: { before, half, after: await memory() },
  };
}

async function cycles(count: number): Promise<object> {
  const engine = await enginePid();
  const generate = async (body: object) =>
    (await fetch(`${url}/api/generate`, { method: "POST", body: JSON.stringify({ model: "demo", stream: false, ...body }) })).text();
  const engineMiB: number[] = [];
  for (let i = 0; i < count; i++) {
    await generate({ prompt: "hi", options: { num_predict: 2 } });
    await generate({ keep_alive: 0 });
    if (i % Math.ceil(count / 10) === 0 || i === count - 1) engineMiB.push(await memoryOf(engine));
  }
  return { cycles: count, unloadedEngineMiB: engineMiB, serverMiB: await memoryOf(server.pid) };
}

const report: Record<string, unknown> = { seed: Number(values.seed) };
const show = (name: string, result: object): void => {
  report[name] = result;
  if (!values.json) console.log(name, Bun.inspect(result, { colors: false, depth: 4 }));
};
try {
  if (Number(values.cycles) > 0) show("load and unload", await cycles(Number(values.cycles)));
  if (Number(values.disconnects) > 0) show("clients that leave", await disconnects(Number(values.disconnects)));
  if (Number(values.kills) > 0) show("kill -9 of the engine", await kills(Number(values.kills)));
  if (values.json) console.log(JSON.stringify(report));
} finally {
  server.kill("SIGTERM");
  await server.exited;
}
