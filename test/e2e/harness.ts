/** A real `alloy serve` in its own process, on the demo model and a free port. */
import { join } from "node:path";

const MAIN = join(import.meta.dir, "../../src/cli/main.ts");

export interface Served {
  url: string;
  pid: number;
  child: Bun.Subprocess<"ignore", "pipe", "pipe">;
  /** Ends the server as a user would (SIGTERM) and waits. */
  stop(): Promise<number>;
}

export const spawnAlloy = (args: string[], env: Record<string, string> = {}, stdin: "ignore" | Blob = "ignore") =>
  Bun.spawn([process.execPath, MAIN, ...args], { env: { ...process.env, NO_COLOR: "1", ...env }, stdin, stdout: "pipe", stderr: "pipe" });

export async function runAlloy(
  args: string[],
  env: Record<string, string> = {},
): Promise<{ code: number; stdout: string; stderr: string }> {
  const child = spawnAlloy(args, env);
  const [code, stdout, stderr] = await Promise.all([child.exited, new Response(child.stdout).text(), new Response(child.stderr).text()]);
  return { code, stdout, stderr };
}

export async function serve(args: string[] = [], env: Record<string, string> = {}): Promise<Served> {
  const child = spawnAlloy(["serve", "--json", "--port", "0", "-m", "demo", ...args], env) as Served["child"];
  const reader = child.stdout.getReader();
  let text = "";
  // The announcement is one JSON document; it comes once the port is open.
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`serve ended: ${text}${await new Response(child.stderr).text()}`);
    text += new TextDecoder().decode(value);
    try {
      const { url, pid } = JSON.parse(text) as { url: string; pid: number };
      reader.releaseLock();
      return {
        url,
        pid,
        child,
        async stop() {
          child.kill("SIGTERM");
          return child.exited;
        },
      };
    } catch {
      // Not whole yet.
    }
  }
}

export const post = (url: string, body: unknown, signal?: AbortSignal): Promise<Response> =>
  fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: typeof body === "string" ? body : JSON.stringify(body),
    signal,
  });

/** The `data:` payloads of an SSE body, parsed; "[DONE]" left as text. */
export async function events(response: Response): Promise<unknown[]> {
  const text = await response.text();
  return text
    .split("\n")
    .filter((l) => l.startsWith("data: "))
    .map((l) => (l === "data: [DONE]" ? "[DONE]" : JSON.parse(l.slice(6))));
}
