/** The configurations in deploy/proxies: each proxy that is installed here runs with its own, in front of two servers. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { read } from "../repo/files.ts";
import { type Harness, start, until } from "../server/harness.ts";
import { scriptedModel } from "../server/scripted-engine.ts";

let work: string;
beforeAll(() => void (work = mkdtempSync(join(tmpdir(), "alloy-proxies-"))));
afterAll(() => rmSync(work, { recursive: true, force: true }));

/** By program: its configuration, and how it is started with a file. */
const PROXIES: Record<string, { file: string; whole: (text: string) => string; command: (file: string) => string[]; slow?: true }> = {
  nginx: {
    file: "nginx.conf",
    whole: (text) => {
      const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((kind) => `${kind}_temp_path ${work}/${kind};`).join(" ");
      const user = process.getuid?.() === 0 ? "user root;" : "";
      return `${user} daemon off; worker_processes 1; pid ${work}/pid; error_log ${work}/error;\nevents {}\nhttp { access_log off; ${temporary}\n${text}\n}\n`;
    },
    command: (file) => ["nginx", "-c", file, "-e", join(work, "error")],
  },
  haproxy: { file: "haproxy.cfg", whole: (text) => text, command: (file) => ["haproxy", "-q", "-db", "-f", file] },
  caddy: {
    file: "Caddyfile",
    whole: (text) => `{\n\tadmin off\n}\n${text}`,
    // It sends no body twice: until its check notices that a server went, requests to it fail.
    slow: true,
    command: (file) => ["caddy", "run", "--adapter", "caddyfile", "--config", file],
  },
};

/** A port that is free now. */
function freePort(): number {
  const server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response() });
  const { port } = server;
  void server.stop(true);
  return port!;
}

async function behind(name: string, servers: Harness[]) {
  const { file, whole, command } = PROXIES[name];
  const port = freePort();
  const ports = [":11434", ":11435"];
  let text = read(`deploy/proxies/${file}`).replace(":8080", `:${port}`);
  expect(text).toContain(`:${port}`);
  for (const [i, p] of ports.entries()) {
    expect(text).toContain(p);
    text = text.replaceAll(p, `:${servers[i].server.port}`);
  }
  const path = join(work, `${name}-${port}`);
  writeFileSync(path, whole(text));
  const child = Bun.spawn(command(path), {
    env: { ...process.env, HOME: work, XDG_CONFIG_HOME: work, XDG_DATA_HOME: work },
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
  });
  const url = `http://127.0.0.1:${port}`;
  for (let ok = false; !ok;) {
    if (child.exitCode !== null) throw new Error(await new Response(child.stderr).text());
    ok = await fetch(`${url}/readyz`).then(
      (r) => r.ok,
      () => false,
    );
    if (!ok) await Bun.sleep(20);
  }
  return {
    url,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}

for (const name of Object.keys(PROXIES)) {
  describe(name, () => {
    const present = Bun.which(name) !== null;
    const run = present ? test : test.skip;
    if (!present) console.log(`skipped: ${name} is not installed`);

    const options = { models: [scriptedModel("demo")], delayMs: 2, script: () => [{ type: "text" as const, text: "w ".repeat(2000) }] };
    const body = { model: "demo", stream: true, messages: [{ role: "user", content: "x" }] };
    const post = (url: string, value: object, signal?: AbortSignal) =>
      fetch(`${url}/v1/chat/completions`, { method: "POST", body: JSON.stringify(value), signal });

    run(
      "tokens come through as they are made, and a client that leaves ends its request",
      async () => {
        await using one = await start(options);
        await using two = await start(options);
        await using proxy = await behind(name, [one, two]);
        const stop = new AbortController();
        const response = await post(proxy.url, body, stop.signal);
        expect(response.headers.get("content-type")).toContain("text/event-stream");
        const reader = response.body!.getReader();
        for (let text = ""; !text.includes('"content":" w"');) {
          const { value, done } = await reader.read();
          if (done) throw new Error(`the stream ended: ${text}`);
          text += new TextDecoder().decode(value);
        }
        const made = one.engine.emitted + two.engine.emitted;
        expect(made).toBeLessThan(1500);
        stop.abort();
        await until(() => one.engine.cancelled.length + two.engine.cancelled.length === 1, "the request is cancelled");
      },
      120_000,
    );

    run(
      "both servers work, large bodies pass, and when one goes the other takes over",
      async () => {
        const quick = { models: [scriptedModel("demo")] };
        await using one = await start(quick);
        await using two = await start(quick);
        await using proxy = await behind(name, [one, two]);
        const ask = (content: string) => post(proxy.url, { model: "demo", messages: [{ role: "user", content }] });
        for (let i = 0; i < 200 && (one.engine.requests.length === 0 || two.engine.requests.length === 0); i++) {
          expect((await ask(`hello ${i}`)).status).toBe(200);
        }
        expect([one.engine.requests.length > 0, two.engine.requests.length > 0]).toEqual([true, true]);
        expect((await ask("word ".repeat(400_000))).status).toBe(400);
        await one.server.stop(0);
        const end = performance.now() + 60_000;
        for (let good = 0; PROXIES[name].slow && good < 20 && performance.now() < end;) good = (await ask("gone?")).ok ? good + 1 : 0;
        for (let i = 0; i < 20; i++) expect((await ask("still here?")).status).toBe(200);
      },
      120_000,
    );
  });
}
