/** What must not take the server down, or its clients' requests along: a dead engine, signals, clients that leave. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { events, post, serve, type Served } from "./harness.ts";

setDefaultTimeout(240_000);

let server: Served;
beforeAll(async () => void (server = await serve(["--parallel", "2", "--queue", "64", "--log-format", "json"])));
afterAll(async () => {
  expect(await server.stop()).toBe(0);
});

const question = (text: string, more: object = {}) => ({
  model: "demo",
  messages: [{ role: "user", content: text }],
  temperature: 0,
  ...more,
});
const PARIS = question("What is the capital of France?");
/** Runs until it is stopped, or the window's end. */
const LONG = question("Tell me a long story.", { stream: true, ignore_eos: true, max_tokens: 3000 });

/** Processes whose parent is `pid`. */
async function children(pid: number): Promise<number[]> {
  const list = await Bun.$`pgrep -P ${pid}`.nothrow().text();
  return list.split("\n").flatMap((line) => (line.trim() ? [Number(line)] : []));
}

async function enginePid(of: Served): Promise<number> {
  for (;;) {
    const [pid] = await children(of.pid);
    if (pid !== undefined) return pid;
    await Bun.sleep(5);
  }
}

/** Waits until no such process is left. */
async function gone(pid: number): Promise<void> {
  for (;;) {
    try {
      process.kill(pid, 0);
    } catch {
      return;
    }
    await Bun.sleep(5);
  }
}

const content = async (r: Response): Promise<string> =>
  ((await r.json()) as { choices: { message: { content: string } }[] }).choices[0].message.content;

/** A stream's reader once its first text has come. */
async function begun(url: string, path: string, body: object, signal?: AbortSignal): Promise<{ rest: Promise<string> }> {
  const response = await post(url + path, body, signal);
  expect(response.status).toBe(200);
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let seen = "";
  while (!/"content":"[^"]|"text":"[^"]|text_delta/.test(seen)) seen += (await reader.read()).value ?? "";
  const rest = (async () => {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return seen;
      seen += value;
    }
  })();
  // Some tests never look.
  rest.catch(() => {});
  return { rest };
}

test.each(["SIGKILL", "SIGSEGV", "SIGKILL"] as const)(
  "the engine ends by %s: streams end with their dialect's error, who waited is answered, and it goes on",
  async (signal) => {
    const { url } = server;
    const streams = await Promise.all([
      begun(url, "/v1/chat/completions", LONG),
      begun(url, "/v1/messages", { model: "demo", max_tokens: 3000, messages: LONG.messages, stream: true, temperature: 1 }),
    ]).catch(() => undefined);
    const waiting = Array.from({ length: 6 }, () => post(`${url}/v1/chat/completions`, PARIS));
    const before = (await (await fetch(`${url}/health`)).json()) as { engine?: { restarts: number } };
    const pid = await enginePid(server);
    process.kill(pid, signal);
    if (streams) {
      expect(await streams[0].rest).toMatch(/"code":"engine_died"\}\}\n\ndata: \[DONE\]\n\n$|"finish_reason":"(stop|length)"/);
      expect(await streams[1].rest).toMatch(/event: error\ndata: [^\n]*the engine stopped[^\n]*\n\n$|event: message_stop/);
    }
    for (const answer of await Promise.all(waiting))
      expect([answer.status, await content(answer)]).toEqual([200, expect.stringContaining("Paris")]);
    const after = (await (await fetch(`${url}/health`)).json()) as {
      status: string;
      engine: { restarts: number; lastDeath: { why: string } };
    };
    expect(after.engine.restarts).toBe((before.engine?.restarts ?? 0) + 1);
    expect(after.engine.lastDeath.why).toContain(signal);
    expect(await enginePid(server)).not.toBe(pid);
  },
);

test("clients that leave while they wait, while their prompt is read and while they are answered free their places", async () => {
  const { url } = server;
  const running = async (): Promise<number> => {
    const text = await (await fetch(`${url}/metrics`)).text();
    const sum = (name: string) => [...text.matchAll(new RegExp(`^${name}\\{[^}]*\\} (\\d+)`, "gm"))].reduce((n, m) => n + Number(m[1]), 0);
    return sum("vllm:num_requests_running") + sum("vllm:num_requests_waiting");
  };
  const leaving = Array.from({ length: 12 }, async (_, i) => {
    const stop = new AbortController();
    const body = { ...LONG, messages: [{ role: "user", content: `${i} ${"and so on ".repeat(i % 3 === 0 ? 200 : 1)}` }] };
    if (i % 2 === 0) await begun(url, "/v1/chat/completions", body, stop.signal);
    else void post(`${url}/v1/chat/completions`, body, stop.signal).catch(() => {});
    stop.abort();
  });
  await Promise.all(leaving);
  while ((await running()) > 0) await Bun.sleep(20);
  expect(await content(await post(`${url}/v1/chat/completions`, PARIS))).toContain("Paris");
});

test("SIGTERM: what runs ends whole, what comes is refused, /readyz is 503; the engine's process goes too, exit 0", async () => {
  const own = await serve(["--grace", "60"]);
  const engine = await enginePid(own);
  const stream = await begun(own.url, "/v1/chat/completions", { ...LONG, max_tokens: 1000 });
  own.child.kill("SIGTERM");
  while ((await fetch(`${own.url}/readyz`)).status !== 503) await Bun.sleep(5);
  const refused = await post(`${own.url}/api/chat`, PARIS);
  expect([refused.status, await refused.json()]).toEqual([503, { error: expect.stringContaining("shutting down") }]);
  expect(await stream.rest).toEndWith("data: [DONE]\n\n");
  expect(await own.child.exited).toBe(0);
  await gone(engine);
});

test("a second signal ends at once: streams with their error frame, exit 0", async () => {
  const own = await serve(["--grace", "60"]);
  const stream = await begun(own.url, "/v1/chat/completions", LONG);
  own.child.kill("SIGINT");
  while ((await fetch(`${own.url}/readyz`)).status !== 503) await Bun.sleep(5);
  own.child.kill("SIGTERM");
  expect(await stream.rest).toMatch(/the server is shutting down[^\n]*\n\ndata: \[DONE\]\n\n$/);
  expect(await own.child.exited).toBe(0);
});

test("the server is killed: its engine does not stay behind", async () => {
  const own = await serve();
  const engine = await enginePid(own);
  own.child.kill("SIGKILL");
  await own.child.exited;
  await gone(engine);
});

test("--engine worker: no process of its own, and it answers", async () => {
  const own = await serve(["--engine", "worker"]);
  expect(await children(own.pid)).toEqual([]);
  const all = await events(await post(`${own.url}/v1/chat/completions`, { ...PARIS, stream: true }));
  expect(all.at(-1)).toBe("[DONE]");
  expect(await own.stop()).toBe(0);
});
