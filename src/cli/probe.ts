/** Who listens on a port: another Alloy, an Ollama, something else, or nobody. */

export type Listener = { kind: "nobody" } | { kind: "alloy"; version: string } | { kind: "ollama"; version: string } | { kind: "other" };

/** Asks `/api/version`, which both Alloy and Ollama answer. Waits a second at most. */
export async function probe(url: string): Promise<Listener> {
  let response: Response;
  try {
    response = await fetch(`${url}/api/version`, { signal: AbortSignal.timeout(1000) });
  } catch (error) {
    const refused = /ConnectionRefused|ECONNREFUSED/.test(`${(error as { code?: string }).code} ${String(error)}`);
    return refused ? { kind: "nobody" } : { kind: "other" };
  }
  // A server that wants a key says so, and still who it is.
  const own = /^alloy\/(\S+)/.exec(response.headers.get("server") ?? "");
  if (own !== null) return { kind: "alloy", version: own[1] };
  try {
    const body = (await response.json()) as { version?: unknown; alloy_version?: unknown };
    if (typeof body.alloy_version === "string") return { kind: "alloy", version: body.alloy_version };
    if (typeof body.version === "string") return { kind: "ollama", version: body.version };
  } catch {
    return { kind: "other" };
  }
  return { kind: "other" };
}
