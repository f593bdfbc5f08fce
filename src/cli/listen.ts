/** Where to listen, and how clients reach a listener. `OLLAMA_HOST` is read as Ollama reads it; `ALLOY_HOST` goes before it. */
import type { Io } from "./context.ts";

export const DEFAULT_PORT = 11434;

export interface Address {
  host: string;
  port: number;
}

/** Flags first, then ALLOY_HOST, then OLLAMA_HOST, then 127.0.0.1:11434. An unusable environment value warns and is passed over. */
export function listenAddress(flags: { host?: string; port?: number }, io: Io): Address {
  const fallback: Address = { host: "127.0.0.1", port: DEFAULT_PORT };
  let address = fallback;
  for (const name of ["ALLOY_HOST", "OLLAMA_HOST"]) {
    const value = io.env[name]?.trim().replace(/^(["'])(.*)\1$/, "$2");
    if (value === undefined || value === "") continue;
    const parsed = parseHost(value);
    if (parsed !== undefined) {
      address = parsed;
      break;
    }
    io.err(`alloy: ${name}="${value}" is not host:port; it is ignored\n`);
  }
  return { host: flags.host ?? address.host, port: flags.port ?? address.port };
}

/** `host`, `host:port`, `:port`, `[v6]:port`, `scheme://host[:port][/path]`. A scheme without a port means 80 or 443. */
export function parseHost(text: string): Address | undefined {
  const scheme = /^(https?):\/\//.exec(text)?.[1];
  const rest = text.replace(/^[a-z]+:\/\//, "").replace(/\/.*$/, "");
  const match = /^(?:\[([0-9a-fA-F:.%\w]+)\]|([^:\s[\]]*)|([0-9a-fA-F]*:[0-9a-fA-F:]+:[0-9a-fA-F:]*))(?::(\d+))?$/.exec(rest);
  if (match === null) return undefined;
  const schemePort = scheme === undefined ? DEFAULT_PORT : scheme === "http" ? 80 : 443;
  const port = match[4] === undefined ? schemePort : Number(match[4]);
  if (port > 65535) return undefined;
  return { host: match[1] || match[2] || match[3] || "127.0.0.1", port };
}

/** URL for a client on this machine: an address that only binds (0.0.0.0, ::) becomes loopback. */
export function clientUrl({ host, port }: Address): string {
  const reachable = host === "0.0.0.0" ? "127.0.0.1" : host === "::" || host === "[::]" ? "::1" : host;
  return `http://${reachable.includes(":") ? `[${reachable}]` : reachable}:${port}`;
}
