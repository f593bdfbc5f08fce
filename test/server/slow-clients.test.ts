/** Clients that keep the server waiting: headers and bodies that trickle, answers that nobody takes, connections that nobody uses. */
import { expect, test } from "bun:test";
import { connect, type Socket } from "node:net";
import { start, until } from "./harness.ts";
import { scriptedModel } from "./scripted-engine.ts";

/** Bun looks every four seconds: a limit of eight is over after four to eight. */
const patience = { body: 8, answer: 8 };
const request = (path: string, body: object) => {
  const text = JSON.stringify(body);
  return `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`;
};
const chat = (more: object = {}) => ({ model: "demo", messages: [{ role: "user", content: "x" }], ...more });

/** A connection on which `drive` writes until the server closes it. */
async function client(port: number, drive: (socket: Socket, closed: () => boolean) => Promise<void> | void): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  const over = Promise.withResolvers<void>();
  let closed = false;
  let got = "";
  socket.on("error", () => {});
  socket.on("data", (data) => void (got += data.toString("latin1")));
  socket.on("close", () => {
    closed = true;
    over.resolve();
  });
  await Promise.race([drive(socket, () => closed), over.promise]);
  await over.promise;
  return got;
}

async function trickle(socket: Socket, closed: () => boolean, piece: () => string): Promise<void> {
  while (!closed()) {
    socket.write(piece());
    await Bun.sleep(250);
  }
}

// Most of their time passes waiting, each at a server of its own.
test.concurrent(
  "connections are closed by the server: silent, half headers, trickled headers, also of a second request",
  async () => {
    await using h = await start({}, { patience });
    const { port } = h.server;
    let n = 0;
    const header = () => `X-${n++}: 1\r\n`;
    const answers = await Promise.all([
      client(port, () => {}),
      client(port, (s) => void s.write("GET / HTTP/1.1\r\nHost: local")),
      client(port, (s, closed) => {
        s.write("GET / HTTP/1.1\r\nHost: localhost\r\n");
        return trickle(s, closed, header);
      }),
      client(port, (s) => void s.write("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")),
      client(port, (s, closed) => {
        s.write("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /health HTTP/1.1\r\nHost: localhost\r\n");
        return trickle(s, closed, header);
      }),
    ]);
    expect(answers.slice(0, 3).map((a) => a.includes("200 OK"))).toEqual([false, false, false]);
    expect(answers.slice(3).map((a) => a.split("200 OK").length - 1)).toEqual([1, 1]);
  },
  120_000,
);

test.concurrent(
  "bodies that do not come, or trickle, with a length and without",
  async () => {
    await using h = await start({}, { patience });
    const head = "POST /api/chat HTTP/1.1\r\nHost: localhost\r\n";
    await Promise.all([
      client(h.server.port, (s) => void s.write(`${head}Content-Length: 1000\r\n\r\n{`)),
      client(h.server.port, (s, closed) => {
        s.write(`${head}Content-Length: 1000\r\n\r\n`);
        return trickle(s, closed, () => " ");
      }),
      client(h.server.port, (s) => void s.write(`${head}Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n`)),
      client(
        h.server.port,
        (s) => void s.write(`POST /api/blobs/sha256:${"0".repeat(64)} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nx`),
      ),
    ]);
    expect(h.engine.requests).toEqual([]);
  },
  120_000,
);

test.concurrent(
  "long work is not cut, neither an answer in one piece nor a stream that only beats",
  async () => {
    const wait = 14_000;
    await using h = await start({ prefillMs: wait }, { patience, heartbeatMs: 1000 });
    const whole = h.post("/v1/chat/completions", chat()).then((r) => r.json());
    const stream = await (await h.post("/v1/chat/completions", chat({ stream: true }))).text();
    expect((await whole).choices[0].message.content).toBe("echo: x");
    expect(stream).toContain("data: [DONE]");
    expect(stream.split(": ping").length).toBeGreaterThan(2);
  },
  120_000,
);

test("a reader that stands still: little is made for it, its slot is freed, and others are served meanwhile", async () => {
  const text = `${"y".repeat(1000)} `.repeat(50_000);
  const options = { models: [scriptedModel("demo")], script: () => [{ type: "text" as const, text }] };
  await using h = await start(options, { patience, heartbeatMs: 1000 });
  const before = process.memoryUsage.rss();
  const socket = connect(h.server.port, "127.0.0.1");
  socket.on("error", () => {});
  socket.pause();
  socket.write(request("/v1/chat/completions", chat({ stream: true })));
  await until(() => h.engine.emitted > 0, "it runs");
  // Made no further until somebody reads: the socket's buffers are full.
  let made = -1;
  while (made !== h.engine.emitted) {
    made = h.engine.emitted;
    await Bun.sleep(300);
  }
  expect(made).toBeLessThan(20_000);
  expect((await h.post("/api/show", { model: "demo" })).status).toBe(200);
  await until(() => h.engine.cancelled.length === 1, "its request is cancelled");
  expect(h.engine.running).toBe(0);
  expect(process.memoryUsage.rss() - before).toBeLessThan(150e6);
  socket.destroy();
}, 120_000);
