/**
 * Requests per second of the HTTP layer alone: bun bench/serve-http.ts [--seconds 3] [--json]. A stub engine answers at once; clients keep
 * their connections, and send the next request when the last answer is whole. The generator has a process of its own on the same machine.
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { quantile, usageOf } from "./serve/server.ts";

const { values } = parseArgs({
  options: { only: { type: "string" }, seconds: { type: "string", default: "3" }, json: { type: "boolean", default: false } },
});
const seconds = Number(values.seconds);
const TOKENS = 64;
const messages = [{ role: "user", content: "What is the capital of France?" }];
const CASES: Record<string, [path: string, body?: object]> = {
  "GET /health": ["/health"],
  "chat, whole": ["/v1/chat/completions", { model: "stub", messages, max_tokens: 1 }],
  [`chat, ${TOKENS} tokens streamed`]: ["/v1/chat/completions", { model: "stub", messages, max_tokens: TOKENS, stream: true }],
  [`messages, ${TOKENS} tokens streamed`]: ["/v1/messages", { model: "stub", messages, max_tokens: TOKENS, stream: true }],
  [`responses, ${TOKENS} tokens streamed`]: [
    "/v1/responses",
    { model: "stub", input: "hi", max_output_tokens: TOKENS, stream: true, store: false },
  ],
  [`/api/chat, ${TOKENS} tokens streamed`]: ["/api/chat", { model: "stub", messages, options: { num_predict: TOKENS } }],
};

const child = Bun.spawn([process.execPath, ...(process.env.BENCH_FLAGS?.split(" ") ?? []), join(import.meta.dir, "serve/stub.ts")], {
  stdout: "pipe",
  stderr: "inherit",
});
const { value } = await child.stdout.getReader().read();
const { port } = new URL((JSON.parse(new TextDecoder().decode(value)) as { url: string }).url);

/** Whole answers: by length, or the last chunk. */
function isWhole(text: string): boolean {
  const head = text.indexOf("\r\n\r\n");
  if (head < 0) return false;
  const length = /\r\ncontent-length: (\d+)/i.exec(text.slice(0, head));
  return length ? text.length >= head + 4 + Number(length[1]) : text.endsWith("\r\n0\r\n\r\n");
}

/** One connection; resolves when `open()` says that it is enough. Every answer must be a 200. */
function client(request: string, open: () => boolean, answered: (ms: number) => void): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let text = "";
  let sent = 0;
  const next = (socket: { write(data: string): number; end(): void }) => {
    if (!open()) {
      // Before its end, which is reported at once.
      resolve();
      return socket.end();
    }
    text = "";
    sent = performance.now();
    socket.write(request);
  };
  void Bun.connect({
    hostname: "127.0.0.1",
    port: Number(port),
    socket: {
      open: next,
      data(socket, data) {
        text += data.toString("latin1");
        if (!isWhole(text)) return;
        if (!text.startsWith("HTTP/1.1 200")) return reject(new Error(text));
        answered(performance.now() - sent);
        next(socket);
      },
      close: () => reject(new Error("closed by the server")),
      error: (_, error) => reject(error),
    },
  });
  return promise;
}

interface Result {
  what: string;
  clients: number;
  perSecond: number;
  p50: number;
  p99: number;
  /** Processor time of the server for one request, in microseconds. */
  cpu: number;
}

async function run(what: string, clients: number): Promise<Result> {
  const [path, body] = CASES[what];
  const payload = body ? JSON.stringify(body) : "";
  const request = `${body ? "POST" : "GET"} ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${payload.length}\r\n\r\n${payload}`;
  const times: number[] = [];
  // The first ones warm up.
  let until = performance.now() + 500;
  await Promise.all(
    Array.from({ length: clients }, () =>
      client(
        request,
        () => performance.now() < until,
        () => {},
      ),
    ),
  );
  const before = usageOf(child.pid);
  const began = performance.now();
  until = began + seconds * 1000;
  await Promise.all(
    Array.from({ length: clients }, () =>
      client(
        request,
        () => performance.now() < until,
        (ms) => times.push(ms),
      ),
    ),
  );
  const elapsed = (performance.now() - began) / 1000;
  const cpu = usageOf(child.pid).cpu - before.cpu;
  times.sort((a, b) => a - b);
  const rounded = (ms: number) => Number(ms.toFixed(2));
  return {
    what,
    clients,
    perSecond: Math.round(times.length / elapsed),
    p50: rounded(quantile(times, 0.5)),
    p99: rounded(quantile(times, 0.99)),
    cpu: Math.round((cpu / times.length) * 1e6),
  };
}

const results: Result[] = [];
if (!values.json)
  console.log(`| request | clients | requests/s | median ms | p99 ms | CPU of one |\n| --- | --- | --- | --- | --- | --- |`);
for (const what of Object.keys(CASES).filter((name) => name.includes(values.only ?? ""))) {
  for (const clients of [1, 32, 256]) {
    const r = await run(what, clients);
    results.push(r);
    if (!values.json) console.log(`| ${r.what} | ${r.clients} | ${r.perSecond} | ${r.p50} | ${r.p99} | ${r.cpu} µs |`);
  }
}
if (values.json) console.log(JSON.stringify(results));
child.kill();
await child.exited;
