/** `alloy ps`. */
import { isObject } from "../../formats/json.ts";
import { clientUrl, listenAddress } from "../../server/listen.ts";
import { AlloyError } from "../../support/errors.ts";
import { formatBytes } from "../../support/format.ts";
import { printJson, table, type Context, type Io } from "../context.ts";
import { strictCommand } from "../strict.ts";

/** Kept this long it is kept for ever, whatever date a server gives for that. */
const FOR_EVER_MS = 50 * 365 * 24 * 3600_000;

export default strictCommand({
  name: "ps",
  summary: "list the models that a running server has loaded",
  description: `Asks the server at ALLOY_HOST, OLLAMA_HOST or 127.0.0.1:11434, with the first key of ALLOY_API_KEY if that is set.`,
  args: {},
  examples: [["alloy ps", "names, memory, context, and how long they stay"]],
  async run(_, { io, json }: Context) {
    const models = await loadedModels(clientUrl(listenAddress(io.env)), io);
    if (json) {
      printJson(io, { models });
      return;
    }
    const rows = models.map((m) => [m.name, formatBytes(m.size), String(m.context_length), until(m.expires_at)]);
    io.out(table(["NAME", "MEMORY", "CONTEXT", "UNTIL"], rows, [1, 2]));
  },
});

interface Loaded {
  name: string;
  /** Bytes. */
  size: number;
  /** Tokens. */
  context_length: number;
  expires_at: string;
}

async function loadedModels(url: string, io: Io): Promise<Loaded[]> {
  const key = io.env.ALLOY_API_KEY?.split(",")[0].trim();
  let response: Response;
  try {
    response = await fetch(`${url}/api/ps`, {
      headers: key ? { authorization: `Bearer ${key}` } : {},
      signal: AbortSignal.timeout(10_000),
    });
  } catch (cause) {
    throw new AlloyError("not_found", `no server answers at ${url}`, { hint: "start one with `alloy serve`, or set ALLOY_HOST", cause });
  }
  const body: unknown = await response.json().catch(() => undefined);
  if (response.ok && isObject(body) && Array.isArray(body.models)) return body.models as Loaded[];
  const hint = response.status === 401 ? "set ALLOY_API_KEY to one of the server's keys" : "is it an Alloy, or an Ollama?";
  throw new AlloyError("not_found", `the server at ${url} does not say what it has loaded (${response.status})`, { hint });
}

function until(expires: string): string {
  const ms = Date.parse(expires) - Date.now();
  if (!Number.isFinite(ms) || ms > FOR_EVER_MS) return "for ever";
  const minutes = Math.round(ms / 60_000);
  if (minutes < 1) return "less than a minute";
  return minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
}
