/** Proxies as curl and most programs take them from the environment. */

type Env = Readonly<Record<string, string | undefined>>;

/** The proxy for a URL: `https_proxy` or `http_proxy` by its scheme, else `all_proxy`, in either case; undefined where NO_PROXY excepts the host. */
export function proxyFor(url: URL, env: Env): string | undefined {
  const read = (name: string) => env[name] || env[name.toUpperCase()];
  const proxy = read(url.protocol === "https:" ? "https_proxy" : "http_proxy") ?? read("all_proxy");
  if (!proxy || excepted(url, read("no_proxy") ?? "")) return undefined;
  return proxy.includes("://") ? proxy : `http://${proxy}`;
}

/** `*`, `host`, `host:port`, `.domain` and `domain` (with what is under it), separated by commas or blanks. */
function excepted(url: URL, list: string): boolean {
  const port = url.port || (url.protocol === "https:" ? "443" : "80");
  return list
    .toLowerCase()
    .split(/[\s,]+/)
    .filter((entry) => entry !== "")
    .some((entry) => {
      if (entry === "*") return true;
      const [, name, wantedPort] = /^(.*?)(?::(\d+))?$/.exec(entry)!;
      if (wantedPort !== undefined && wantedPort !== port) return false;
      const domain = name.replace(/^\*?\./, "");
      return url.hostname === domain || url.hostname.endsWith(`.${domain}`);
    });
}
