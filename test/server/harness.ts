/** A server on a free loopback port with a scripted model behind it. */
import { createServer, type RunningServer, type ServerOptions } from "../../src/server/app.ts";
import { ScriptedEngine, type ScriptedOptions, type Step } from "./scripted-engine.ts";

export interface Harness extends AsyncDisposable {
  engine: ScriptedEngine;
  server: RunningServer;
  url: string;
  /** POSTs JSON (or text as it is). */
  post(path: string, body: unknown, headers?: Record<string, string>, signal?: AbortSignal): Promise<Response>;
}

export async function start(script: ScriptedOptions | Step[] = {}, options: Partial<ServerOptions> = {}): Promise<Harness> {
  const engine = new ScriptedEngine(Array.isArray(script) ? { script: () => script } : script);
  const server = await createServer({ engine, host: "127.0.0.1", port: 0, env: {}, ...options });
  return {
    engine,
    server,
    url: server.url,
    post: (path, body, headers = {}, signal) =>
      fetch(server.url + path, { method: "POST", body: typeof body === "string" ? body : JSON.stringify(body), headers, signal }),
    [Symbol.asyncDispose]: () => server.stop(0),
  };
}

/** Polls until `condition` holds; fails after a minute, which is no measure of speed. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const end = performance.now() + 60_000;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`not within a minute: ${what}`);
    await Bun.sleep(5);
  }
}

/** What a promise is rejected with. The SDKs' promises are lazy, which `expect().rejects` does not see. */
export async function failure(promise: PromiseLike<unknown>): Promise<Error> {
  try {
    await promise;
  } catch (e) {
    return e as Error;
  }
  throw new Error("expected a failure");
}

/** Frames of an SSE body as `{ event, data }`, comments as `{ comment }`. Throws on anything that is not a frame. */
export function sseFrames(text: string): { event?: string; data?: string; comment?: string }[] {
  if (!text.endsWith("\n\n")) throw new Error(`the stream does not end with a blank line: ${JSON.stringify(text.slice(-40))}`);
  return text
    .slice(0, -2)
    .split("\n\n")
    .map((frame) => {
      if (frame.startsWith(": ")) return { comment: frame.slice(2) };
      const match = /^(?:event: ([^\n]+)\n)?data: ([^\n]+)$/.exec(frame);
      if (!match) throw new Error(`not a frame: ${JSON.stringify(frame)}`);
      return { event: match[1], data: match[2] };
    });
}

/** Whether a final response is there whole, by its length or its last chunk; without either it is whole when the connection closes. */
function isWhole(text: string): boolean {
  const end = text.indexOf("\r\n\r\n");
  if (end < 0) return false;
  const [head, body] = [text.slice(0, end), text.slice(end + 4)];
  if (/^HTTP\/1\.1 1\d\d/.test(head)) return isWhole(body);
  const length = /\r\ncontent-length: (\d+)/i.exec(head)?.[1];
  if (length !== undefined) return Buffer.byteLength(body) >= Number(length);
  return /\r\ntransfer-encoding: chunked/i.test(head) && body.endsWith("0\r\n\r\n");
}

/** Sends bytes over a raw socket and returns what comes back: one response, or all until the server closes. */
export async function rawRequest(port: number, text: string): Promise<string> {
  let out = "";
  let closed = false;
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port,
    socket: {
      data(_, data) {
        out += data.toString("utf8");
      },
      close() {
        closed = true;
      },
    },
  });
  socket.write(text);
  await until(() => closed || isWhole(out), "an answer");
  socket.end();
  return out;
}
