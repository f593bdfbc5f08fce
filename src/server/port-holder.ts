/** Who holds a TCP port, for the error that says why the server cannot start. */
import { readdir, readFile, readlink } from "node:fs/promises";
import { AlloyError } from "../support/errors.ts";
import { clientUrl, type ListenAddress } from "./listen.ts";

export interface PortHolder {
  pid: number;
  name: string;
}

/** The `port_in_use` error for an address: names the process where the system tells, and what kind of server it is. */
export async function portInUse(address: ListenAddress, cause?: unknown): Promise<AlloyError> {
  const [holder, server] = await Promise.all([portHolder(address.port), probe(address)]);
  const who = [holder ? `process ${holder.pid} (${holder.name})` : undefined, server].filter((t) => t !== undefined);
  const by = who.length > 0 ? ` by ${who.join(", ")}` : "";
  return new AlloyError("port_in_use", `port ${address.port} on ${address.host} is already in use${by}`, {
    hint: server?.includes("Alloy")
      ? "Use that server, stop it first, or choose another port with --port."
      : "Stop that program, or choose another port with --port.",
    data: { port: address.port, host: address.host, pid: holder?.pid ?? null, process: holder?.name ?? null },
    cause,
  });
}

/** The listening process, if the system lets us see it (another user's process may stay hidden). */
export async function portHolder(port: number): Promise<PortHolder | undefined> {
  try {
    return process.platform === "linux" ? await holderOnLinux(port) : await holderByLsof(port);
  } catch {
    // No /proc, no lsof, no permission: the error then names the port alone.
    return undefined;
  }
}

/** "an Alloy server (0.1.0)", "an Ollama server (0.20.0)", or undefined for anything else. */
async function probe(address: ListenAddress): Promise<string | undefined> {
  try {
    const response = await fetch(`${clientUrl(address)}/api/version`, { signal: AbortSignal.timeout(500) });
    const body = (await response.json()) as { version?: unknown; alloy_version?: unknown };
    if (typeof body.alloy_version === "string") return `another Alloy server (version ${body.alloy_version})`;
    if (typeof body.version === "string") return `an Ollama server (version ${body.version})`;
  } catch {
    // Not an HTTP server, or too slow to ask.
  }
  return undefined;
}

async function holderOnLinux(port: number): Promise<PortHolder | undefined> {
  const tables = await Promise.all(["tcp", "tcp6"].map((t) => readFile(`/proc/net/${t}`, "utf8").catch(() => "")));
  const inodes = new Set(tables.flatMap((t) => listeningInodes(t, port)).map((inode) => `socket:[${inode}]`));
  if (inodes.size === 0) return undefined;
  for (const pid of await readdir("/proc")) {
    if (!/^\d+$/.test(pid)) continue;
    const fds = await readdir(`/proc/${pid}/fd`).catch(() => []);
    for (const fd of fds) {
      const target = await readlink(`/proc/${pid}/fd/${fd}`).catch(() => "");
      if (inodes.has(target)) return { pid: Number(pid), name: (await readFile(`/proc/${pid}/comm`, "utf8")).trim() };
    }
  }
  return undefined;
}

/** Socket inodes in state LISTEN (0A) on a port, from the text of /proc/net/tcp (proc(5)). */
export function listeningInodes(table: string, port: number): string[] {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  return table
    .split("\n")
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter((f) => f.length > 9 && f[1].endsWith(suffix) && f[3] === "0A")
    .map((f) => f[9]);
}

async function holderByLsof(port: number): Promise<PortHolder | undefined> {
  const lsof = Bun.spawn(["lsof", "-nP", `-iTCP:${port}`, "-sTCP:LISTEN", "-Fpc"], { stdout: "pipe", stderr: "ignore" });
  return parseLsof(await new Response(lsof.stdout).text());
}

/** First process of `lsof -F pc` output. */
export function parseLsof(text: string): PortHolder | undefined {
  const pid = /^p(\d+)$/m.exec(text)?.[1];
  return pid === undefined ? undefined : { pid: Number(pid), name: /^c(.+)$/m.exec(text)?.[1] ?? "unknown" };
}
