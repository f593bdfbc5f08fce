/** Where to listen: OLLAMA_HOST and ALLOY_HOST (spec 1.1). */

export interface ListenAddress {
  host: string;
  port: number;
}

export const DEFAULT_PORT = 11434;

/**
 * `host`, `host:port`, `scheme://host[:port][/path]`, `[v6]:port` or `:port`. A missing port is 11434, or the scheme's own with
 * http and https; a bad one falls back to that, and `warning` says so.
 */
export function parseHost(value: string | undefined): ListenAddress & { warning?: string } {
  const text = (value ?? "")
    .trim()
    .replace(/^["']|["']$/g, "")
    .trim();
  const [, scheme, rest] = /^(?:([a-z][a-z0-9+.-]*):\/\/)?(.*)$/is.exec(text)!;
  const fallback = scheme?.toLowerCase() === "http" ? 80 : scheme?.toLowerCase() === "https" ? 443 : DEFAULT_PORT;
  const authority = rest.split("/")[0];
  const v6 = /^\[([^\]]*)\](?::(.*))?$/.exec(authority);
  const bareV6 = !v6 && authority.split(":").length > 2;
  const [, host, port] = v6 ?? (bareV6 ? ["", authority, undefined] : /^([^:]*)(?::(.*))?$/.exec(authority)!);
  const address = { host: host || "127.0.0.1", port: fallback };
  if (port === undefined || port === "") return address;
  if (/^\d+$/.test(port) && Number(port) <= 65535) return { ...address, port: Number(port) };
  return { ...address, warning: `invalid port '${port}' in '${text}': using ${fallback}` };
}

/** ALLOY_HOST, else OLLAMA_HOST, else 127.0.0.1:11434. */
export function listenAddress(env: Record<string, string | undefined>): ListenAddress & { warning?: string } {
  return parseHost(env.ALLOY_HOST || env.OLLAMA_HOST);
}

/** Base URL under which a client on this machine reaches an address: bind-only addresses become loopback. */
export function clientUrl({ host, port }: ListenAddress): string {
  const reachable = host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host;
  return `http://${reachable.includes(":") ? `[${reachable}]` : reachable}:${port}`;
}
